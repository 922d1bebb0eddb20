"""Reading commands: paths and parameters of MAIL and RCPT (RFC 5321 4.1.2, 4.1.1.11), strictly.

Blanks after the colon are taken because old clients send them; anything else off the grammar is refused, since
what two programs read differently is what gets abused.
"""

import re
from dataclasses import dataclass

from relay.core.address import InvalidAddress, normalise
from relay.core.message import EnvelopeRecipient
from relay.smtp import replies
from relay.smtp.replies import Rejected

_PATH = r'<((?:[^<>"\\ ]|"(?:[^"\\]|\\.)*")*)>(?: +(\S.*))?\Z'
_MAIL = re.compile(r"FROM: *" + _PATH, re.IGNORECASE)
_RCPT = re.compile(r"TO: *" + _PATH, re.IGNORECASE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\s=]+))?\Z")
_ROUTED = re.compile(r'[^"]*[%!]')
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")  # RFC 3461 4
_ATOM = re.compile(r"[A-Za-z0-9-]{1,40}\Z")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_BDAT = re.compile(r"(\d{1,20})(?: +(LAST))?\Z", re.IGNORECASE | re.ASCII)
_MAX_DIGITS = 20  # of SIZE, RFC 1870 3
_MAX_ENVID = 100  # characters, RFC 3461 5.4
_MAX_ORCPT = 500  # characters, RFC 3461 5.4


@dataclass(slots=True)
class Mail:
    """What MAIL said; `sender` is normalised, empty for the null sender."""

    sender: str
    size: int = 0
    eight_bit: bool = False
    smtputf8: bool = False
    ret: str | None = None  #: RFC 3461 4.3: FULL or HDRS
    envid: str | None = None  #: RFC 3461 4.4, in xtext


def mail(argument: str, *, extended: bool) -> Mail:
    """Raises `Rejected`. Parameters exist only after EHLO."""
    found = _MAIL.match(argument)
    if found is None:
        raise Rejected(replies.BAD_MAIL)
    path, rest = found.groups()
    result = Mail("")
    if rest:
        _mail_parameters(result, _parameters(rest, extended=extended))
    if path:
        result.sender = _address(path, replies.BAD_SENDER, smtputf8=result.smtputf8)
    return result


def _mail_parameters(result: Mail, given: dict[str, str | None]) -> None:
    for keyword, value in given.items():
        if keyword == "SIZE":
            if value is None or not (value.isascii() and value.isdigit()) or len(value) > _MAX_DIGITS:
                raise Rejected(replies.BAD_PARAMETER)
            result.size = int(value)
        elif keyword == "BODY":
            kind = (value or "").upper()
            if kind not in {"7BIT", "8BITMIME"}:
                raise Rejected(replies.BAD_PARAMETER)
            result.eight_bit = kind == "8BITMIME"
        elif keyword == "SMTPUTF8":
            if value is not None:
                raise Rejected(replies.BAD_PARAMETER)
            result.smtputf8 = True
        elif keyword == "RET":
            result.ret = (value or "").upper()
            if result.ret not in {"FULL", "HDRS"}:
                raise Rejected(replies.BAD_PARAMETER)
        elif keyword == "ENVID":
            if value is None or len(value) > _MAX_ENVID or not _XTEXT.match(value):
                raise Rejected(replies.BAD_PARAMETER)
            result.envid = value
        elif keyword == "AUTH":
            # RFC 4954 5: whom we trust with a name for the original submitter is nobody.
            if value is None:
                raise Rejected(replies.BAD_PARAMETER)
        else:
            raise Rejected(replies.UNKNOWN_PARAMETER)


def rcpt(argument: str, *, extended: bool, smtputf8: bool) -> EnvelopeRecipient:
    """The recipient, normalised; raises `Rejected`."""
    found = _RCPT.match(argument)
    if found is None:
        raise Rejected(replies.BAD_RCPT)
    path, rest = found.groups()
    given = _parameters(rest, extended=extended) if rest else {}
    if not path:
        raise Rejected(replies.NULL_RECIPIENT)
    address = _address(path, replies.BAD_RECIPIENT, smtputf8=smtputf8)
    if _ROUTED.match(address.rpartition("@")[0]):
        raise Rejected(replies.ROUTED_RECIPIENT)
    recipient = EnvelopeRecipient(address)
    if given:
        _rcpt_parameters(recipient, given)
    return recipient


def _rcpt_parameters(recipient: EnvelopeRecipient, given: dict[str, str | None]) -> None:
    """NOTIFY and ORCPT, RFC 3461 4.1 and 4.2."""
    for keyword, value in given.items():
        if keyword == "NOTIFY":
            wanted = (value or "").upper().split(",")
            if wanted != ["NEVER"] and (not _NOTIFY.issuperset(wanted) or len(set(wanted)) < len(wanted)):
                raise Rejected(replies.BAD_PARAMETER)
            recipient.notify = ",".join(wanted)
        elif keyword == "ORCPT":
            kind, _, original = (value or "").partition(";")
            if (
                not (_ATOM.match(kind) and original and _XTEXT.match(original))
                or len(value or "") > _MAX_ORCPT
            ):
                raise Rejected(replies.BAD_PARAMETER)
            recipient.orcpt = value
        else:
            raise Rejected(replies.UNKNOWN_PARAMETER)


def bdat(argument: str) -> tuple[int, bool]:
    """How many octets follow, and whether they are the last (RFC 3030 2); raises `Rejected`."""
    found = _BDAT.match(argument)
    if found is None:
        raise Rejected(replies.BAD_BDAT)
    return int(found[1]), found[2] is not None


def _address(path: str, malformed: bytes, *, smtputf8: bool) -> str:
    if not path.isascii() and not smtputf8:
        raise Rejected(replies.NEEDS_SMTPUTF8)
    try:
        return normalise(path)
    except InvalidAddress:
        raise Rejected(malformed) from None


def _parameters(text: str, *, extended: bool) -> dict[str, str | None]:
    if not extended:
        raise Rejected(replies.UNKNOWN_PARAMETER)
    given: dict[str, str | None] = {}
    for word in text.split(" "):
        if not word:
            continue
        found = _PARAMETER.match(word)
        if found is None or found[1].upper() in given:
            raise Rejected(replies.BAD_PARAMETER)
        given[found[1].upper()] = found[2]
    return given
