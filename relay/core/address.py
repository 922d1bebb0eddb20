"""Addresses: of the envelope (RFC 5321 4.1.2) and of header fields (RFC 5322 3.4).

The standard library's parsers repair what they do not understand (CVE-2023-27043), which is how one sender
gets to look like another. These refuse instead.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_UTF8 = r"\u0080-\U0010ffff"
_LOCAL = re.compile(rf'(?:[{_UTF8}{_ATEXT}]+(?:\.[{_UTF8}{_ATEXT}]+)*|"(?:[ !#-\[\]-~{_UTF8}]|\\[ -~])*")\Z')
_LABEL = rf"[A-Za-z0-9_{_UTF8}](?:[A-Za-z0-9_{_UTF8}-]*[A-Za-z0-9_{_UTF8}])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
# The common case in one match: no quoted or international form, no hyphen in the domain to be checked.
_PLAIN = re.compile(r"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*@[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*\Z")

_MAX_LOCAL = 64  # octets, RFC 5321 4.5.3.1.1
_MAX_DOMAIN = 255  # octets, RFC 5321 4.5.3.1.2
_MAX_LABEL = 63  # octets, RFC 1035 2.3.4
_MAX_ADDRESS = 254  # octets: a path of 256 less its angle brackets, RFC 5321 4.5.3.1.3


class InvalidAddress(ValueError):
    """That is not a usable email address."""


def normalise(address: str) -> str:
    """An envelope address with its domain in lower case; the local part is the receiver's and stays as it is.

    Raises `InvalidAddress` for anything but `local@domain`: no display name, source route, address literal,
    percent trick with two at-signs, control character or blank around it.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        raise InvalidAddress("an email address needs a local part, an @ and a domain")
    if len(local) <= _MAX_LOCAL and len(domain) <= _MAX_LABEL and _PLAIN.match(address):
        return f"{local}@{domain.lower()}"
    try:
        octets = len(address.encode())
        local_octets = len(local.encode())
        domain_octets = len(domain.encode())
    except UnicodeEncodeError:
        raise InvalidAddress("the email address is not valid UTF-8") from None
    if octets > _MAX_ADDRESS or local_octets > _MAX_LOCAL or domain_octets > _MAX_DOMAIN:
        raise InvalidAddress("the email address is too long")
    if not _LOCAL.match(local):
        raise InvalidAddress("the local part of the email address is malformed")
    if not _DOMAIN.match(domain) or any(len(label.encode()) > _MAX_LABEL for label in domain.split(".")):
        raise InvalidAddress("the domain of the email address is malformed")
    if not address.isprintable():
        # Controls, line separators, changes of direction: nothing that a name is made of.
        raise InvalidAddress("the email address has a control character")
    return f"{local}@{domain.lower()}"


def domain_of(address: str) -> str:
    """The domain of a normalised address; empty for the null sender."""
    return address.rpartition("@")[2]


@lru_cache(maxsize=4096)
def mask(address: str) -> str:
    """An address as logs may show it: enough to recognise, not enough to write to."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}" if domain else "<>"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name (decoded, may be empty) and an address, from a header field."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


def parse_mailboxes(text: str) -> list[Mailbox]:
    """The mailboxes of an unfolded header value such as From, To or Reply-To.

    Raises `InvalidAddress` for what could be read in two ways: unbalanced quotes, comments or brackets, source
    routes, words after the closing bracket, an address without a domain. A group counts as its members.
    """
    return [_mailbox(part.strip()) for part in _split(text) if part.strip()]


def parse_mailbox(text: str) -> Mailbox:
    """Exactly one mailbox; raises `InvalidAddress` otherwise."""
    boxes = parse_mailboxes(text)
    if len(boxes) != 1:
        raise InvalidAddress("exactly one email address is expected")
    return boxes[0]


def _split(text: str) -> list[str]:
    """Cut at commas outside quotes, comments and angle brackets; drop comments and group names."""
    parts: list[str] = []
    current: list[str] = []
    depth = 0
    quoted = angled = grouped = False
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\" and (quoted or depth):
            if position + 1 >= len(text):
                raise InvalidAddress("the address ends in a backslash")
            if quoted:
                current.append(text[position : position + 2])
            position += 2
            continue
        if quoted:
            quoted = char != '"'
            current.append(char)
        elif char == "(":
            depth += 1
        elif depth:
            depth -= char == ")"
        elif char == ")":
            raise InvalidAddress("unbalanced comment in an address")
        elif char == '"':
            quoted = True
            current.append(char)
        elif char == "<":
            if angled:
                raise InvalidAddress("nested angle brackets in an address")
            angled = True
            current.append(char)
        elif char == ">":
            if not angled:
                raise InvalidAddress("unbalanced angle bracket in an address")
            angled = False
            current.append(char)
        elif char == ":" and not angled:
            if grouped:
                raise InvalidAddress("nested groups in an address list")
            grouped = True
            current = []
        elif char == "," and not angled:
            parts.append("".join(current))
            current = []
        elif char == ";" and grouped and not angled:
            parts.append("".join(current))
            current = []
            grouped = False
        else:
            current.append(char)
        position += 1
    if quoted or depth or angled or grouped:
        raise InvalidAddress("unbalanced quotes, comment or brackets in an address")
    parts.append("".join(current))
    return parts


def _mailbox(text: str) -> Mailbox:
    if "<" not in text:
        return Mailbox("", normalise(text))
    name, _, rest = text.partition("<")
    # A quoted display name may itself hold brackets.
    if name.count('"') % 2:
        end = text.rindex("<")
        name, rest = text[:end], text[end + 1 :]
    address, closing, after = rest.rpartition(">")
    if not closing or after.strip():
        raise InvalidAddress("words after the closing bracket of an address")
    return Mailbox(_display(name.strip()), normalise(address.strip()))


def _display(name: str) -> str:
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return decode_words(name) if "=?" in name else name


# Only the words themselves are decoded: the library would write other text beyond Latin-1 as escapes.
_WORDS = re.compile(r"=\?[^?\s]+\?[bq]\?[^?]*\?=(?:\s+=\?[^?\s]+\?[bq]\?[^?]*\?=)*", re.IGNORECASE)


def decode_words(text: str) -> str:
    """RFC 2047 encoded words, decoded; what cannot be decoded stays as it is written."""
    return _WORDS.sub(_decoded, text)


def _decoded(words: re.Match[str]) -> str:
    from email.errors import MessageError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(words[0])))
    except (MessageError, LookupError, ValueError):
        return words[0]
