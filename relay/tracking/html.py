"""HTML edited in place: links replaced, a pixel added, everything else left as it was written.

Tags are found as the HTML standard's tokenizer finds them, without building a tree. What it would have to repair is
left alone.
"""

import html
import re
from collections.abc import Callable
from urllib.parse import quote, urlsplit

#: characters of a link that is replaced; longer ones are left alone
_MAX_TARGET = 2000
#: who would rather not have a link replaced says so at the tag
_OPT_OUT = "data-pb-no-track"
_RAW_TEXT = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})

# Possessive throughout: what does not match is given up at once, however long and broken the text.
_TAG = re.compile(
    r"""<(/?[a-zA-Z][^\s/><]*+)"""
    r"""((?:[\s/]++|[^\s/>=<]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'<][^\s><]*+))?+)*+)>"""
)
_ATTRIBUTES = re.compile(r"""([^\s/>=<]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"'<][^\s><]*+)))?+""")
_OPENING = re.compile(r"<(?=[a-zA-Z/!?])")
_BREAKS = re.compile(r"[\x00-\x20\x7f]")

Edit = tuple[int, int, str]


def edits(
    text: str, link: Callable[[str], str | None], pixel: str | None, *, breaks: bool = False
) -> list[Edit]:
    """What to replace by what, in order, none within another.

    `link` is given what each link says and answers what stands in for it, if anything; see `target_of`. `pixel` goes
    to the end of the body. With `breaks` every replaced link starts on a line of its own.
    """
    found: list[Edit] = []
    body_end: int | None = None
    document_end: int | None = None
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        start = opening.start()
        if text.startswith("<!--", start):
            # The standard ends a comment at `-->`, even one that has begun just before it.
            end = text.find("-->", start + 2)
            if end < 0:
                break
            position = end + 3
            continue
        tag = _TAG.match(text, start)
        if tag is None:
            position = start + 1
            continue
        name, position = tag[1].lower(), tag.end()
        if name in {"a", "area"}:
            found += _link(text, tag.start(2), tag.end(2), link, breaks=breaks)
        elif name == "/body":
            body_end = start
        elif name == "/html":
            document_end = start
        elif name in _RAW_TEXT:
            closing = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(text, position)
            if closing is None:
                break
            position = closing.start()
    if pixel is not None:
        place = body_end if body_end is not None else document_end
        if place is None:
            place = len(text)
            pixel = f"{pixel}\r\n" if text.endswith("\n") else f"\r\n{pixel}"
        found.append((place, place, pixel))
        found.sort()
    return found


def applied(text: str, found: list[Edit]) -> str:
    pieces: list[str] = []
    position = 0
    for start, end, replacement in found:
        pieces += (text[position:start], replacement)
        position = end
    pieces.append(text[position:])
    return "".join(pieces)


def _link(text: str, start: int, end: int, link: Callable[[str], str | None], *, breaks: bool) -> list[Edit]:
    target: Edit | None = None
    for attribute in _ATTRIBUTES.finditer(text, start, end):
        name = attribute[1].lower()
        if name == _OPT_OUT:
            return []
        if name == "href" and target is None:
            group = attribute.lastindex or 1
            if group == 1:
                return []
            replacement = link(attribute[group])
            if replacement is None:
                return []
            if breaks:
                whole = text[attribute.start() : attribute.start(group)]
                target = (attribute.start(), attribute.end(group), f"\r\n{whole}{replacement}")
            else:
                target = (attribute.start(group), attribute.end(group), replacement)
    return [target] if target is not None else []


def target_of(written: str) -> str | None:
    """Where a link leads that says `written`, as ASCII; None for what is not http(s) or may be read in two ways."""
    url = html.unescape(written).strip(" \t\r\n\f")
    if len(url) > _MAX_TARGET or _BREAKS.search(url) or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
            return None
        if url.isascii():
            return url
        _, _, rest = url.partition("://")
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if not host.isascii():
            if host != parts.hostname:
                return None
            ascii_host = host.encode("idna").decode()
        else:
            ascii_host = host
    except (ValueError, UnicodeError):
        return None
    whole = f"{parts.scheme}://{ascii_host}{quote(rest[len(host) :], safe=_SAFE)}"
    return whole if len(whole) <= _MAX_TARGET else None


#: everything of ASCII stays as it is, escapes that are there already above all
_SAFE = "".join(map(chr, range(0x21, 0x7F)))
