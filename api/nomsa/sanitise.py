"""The HTML of a body as it goes out: the contract's tags and attributes, and nothing that runs.

Works on tags one by one and builds no tree, so that time is in proportion to length however deep a body is nested
(tree builders take minutes for a megabyte of open tags). That is safe because no tag that is kept changes how what
follows is read: what leaves here is text without angle brackets, and kept tags written anew with quoted values.
"""

import html
import re

_STYLED = frozenset({
    "span", "b", "strong", "i", "em", "u", "ins", "br", "p", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6",
    "a", "img", "table", "tr", "td", "th", "sup", "caption",
})  # fmt: skip
_PLAIN = frozenset({"div", "tbody", "mark"})
_ATTRIBUTES = {
    "ol": frozenset({"start", "type"}),
    "a": frozenset({"href", "title", "target"}),
    "img": frozenset({"src", "alt", "title", "width", "height", "data-link"}),
    "td": frozenset({"colspan", "rowspan"}),
}

#: the reference's list of CSS properties, by what they begin with where a whole family is allowed
_PROPERTIES = frozenset({
    "background", "background-attachment", "background-clip", "background-color", "background-image",
    "background-origin", "background-position", "background-repeat", "background-size",
    "border", "border-collapse", "border-color", "border-radius", "border-spacing", "border-style", "border-width",
    *(
        f"border-{side}{what}"
        for side in ("bottom", "left", "right", "top")
        for what in ("", "-color", "-style", "-width")
    ),
    *(f"border-{y}-{x}-radius" for y in ("bottom", "top") for x in ("left", "right")),
    *(f"border-image{what}" for what in ("", "-outset", "-repeat", "-slice", "-source", "-width")),
    "box-decoration-break", "box-shadow", "box-sizing", "box-snap", "box-suppress",
    "break-after", "break-before", "break-inside", "clear", "color",
    "display", "display-inside", "display-list", "display-outside",
    "font", "font-family", "font-feature-settings", "font-kerning", "font-language-override", "font-size",
    "font-size-adjust", "font-stretch", "font-style", "font-synthesis", "font-variant", "font-variant-alternates",
    "font-variant-caps", "font-variant-east-asian", "font-variant-ligatures", "font-variant-numeric",
    "font-variant-position", "font-weight", "letter-spacing", "lighting-color",
    "list-style", "list-style-image", "list-style-position", "list-style-type",
    *(f"{box}{side}" for box in ("margin", "padding") for side in ("", "-bottom", "-left", "-right", "-top")),
    "max-height", "max-width", "min-height", "min-width",
    "text-align", "text-align-last", "text-combine-upright", "text-decoration", "text-decoration-color",
    "text-decoration-line", "text-decoration-skip", "text-decoration-style", "text-emphasis",
    "text-emphasis-color", "text-emphasis-position", "text-emphasis-style", "text-height", "text-indent",
    "text-justify", "text-orientation", "text-overflow", "text-shadow", "text-space-collapse", "text-transform",
    "text-underline-position", "text-wrap", "white-space", "width", "word-break", "word-spacing", "word-wrap",
})  # fmt: skip


_KEPT = {
    tag: _ATTRIBUTES.get(tag, frozenset()) | ({"style"} if tag in _STYLED else frozenset())
    for tag in _STYLED | _PLAIN
}
_SCHEMES = frozenset({"http", "https", "mailto", "tel", "sms", "ftp"})

# Every alternative runs to its end or to that of the text: what did not match is never looked at again from each of
# its characters.
_MARKUP = re.compile(
    r"""
    (?P<comment><!--.*?(?:-->|\Z)|<[!?][^>]*(?:>|\Z))
    |<(?P<end>/?)(?P<tag>[a-z][a-z0-9:-]*+)(?P<attributes>(?:[^<>"']++|"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))*+)(?P<close>>|\Z)
    |[<>]
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(
    r"""([^\s"'<>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?""", re.IGNORECASE
)
_DECLARATION = re.compile(
    r"""\s*+([a-z-]++)\s*+:\s*+((?:[^;"'(]++|"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|\([^)]*+(?:\)|\Z))*+)|[^;]++""",
    re.IGNORECASE,
)
_UNSAFE_CSS = re.compile(r"javascript\s*:|vbscript\s*:|expression\s*\(|\\|@import", re.IGNORECASE)
_BLANKS = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028\u2029\ufeff]+")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)


def sanitise(body: str) -> str:
    """What goes out for a body. Tags that are not kept go and leave their text, scripts' too."""
    return _MARKUP.sub(_markup, body) if "<" in body or ">" in body else body


def _markup(found: re.Match[str]) -> str:
    tag = found["tag"]
    if tag is None:
        return "" if found["comment"] else html.escape(found[0])
    if not found["close"]:
        return html.escape(found[0], quote=False)
    tag = tag.lower()
    kept = _KEPT.get(tag)
    if kept is None:
        return ""
    if found["end"]:
        return f"</{tag}>"
    written = found["attributes"]
    closing = " />" if written.endswith("/") else ">"
    if not kept or not written:
        return f"<{tag}{closing}"
    attributes: dict[str, str] = {}
    for one in _ATTRIBUTE.finditer(written):
        name = one[1].lower()
        if name in kept and name not in attributes:
            value = _value(tag, name, html.unescape(one[2] or one[3] or one[4] or ""))
            if value is not None:
                attributes[name] = f' {name}="{html.escape(value)}"'
    return f"<{tag}{''.join(attributes.values())}{closing}"


def _value(tag: str, name: str, value: str) -> str | None:
    if name == "style":
        return _style(value) or None
    if name in {"href", "src"}:
        # Readers skip blanks and control characters inside of a scheme.
        scheme = _SCHEME.match(_BLANKS.sub("", value))
        if scheme is None or scheme[1].lower() in _SCHEMES:
            return value
        # Pictures come in these ways; a link would lead to a page of the sender's own making.
        address = _BLANKS.sub("", value).lower()
        return value if tag == "img" and address.startswith(("cid:", "data:image/")) else None
    return value


def _style(value: str) -> str:
    kept = [
        f"{one[1].lower()}:{one[2].strip()}"
        for one in _DECLARATION.finditer(value)
        if one[1] and one[1].lower() in _PROPERTIES and one[2].strip() and not _UNSAFE_CSS.search(one[2])
    ]
    return "; ".join(kept)
