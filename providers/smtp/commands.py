"""What is said for a mail: the commands, their parameters where the server offers them, and the stuffed body."""

import re

from providers.smtp.line import Offers
from relay.core import mime
from relay.core.provider import Outcome, OutcomeKind, Outgoing, OutgoingRecipient
from relay.core.reply import Reply

_ENVID = re.compile(r"[!-<>-~]{1,100}\Z")  # RFC 3461 4.4, less what would end the parameter
_ORCPT = re.compile(r"[A-Za-z0-9-]+;[!-<>-~]{1,500}\Z")  # RFC 3461 4.2
_NOTIFY = re.compile(r"NEVER\Z|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}\Z")


def _no(code: int, enhanced: str, words: str) -> Outcome:
    return Outcome(OutcomeKind.REJECTED, Reply(code, enhanced, words))


_NEEDS_UTF8 = _no(553, "5.6.7", "the mail needs SMTPUTF8, which the provider does not take")
_TOO_LARGE = _no(552, "5.3.4", "the mail is larger than the provider takes")
_BAD_RECIPIENT = _no(553, "5.1.3", "the recipient's address cannot be put on the wire")
_BAD_SENDER = _no(553, "5.1.7", "the return path cannot be put on the wire")
_STRAY = _no(554, "5.6.0", "the mail has line ends other than CR LF")


def impossible(mail: Outgoing, offers: Offers) -> Outcome | None:
    """Why the server need not be asked about this mail at all, if so."""
    if not offers.smtputf8 and (mail.smtputf8 or not mail.sender.isascii()):
        return _NEEDS_UTF8
    if offers.max_size and len(mail.raw) > offers.max_size:
        return _TOO_LARGE
    if not mail.sender.isprintable():
        return _BAD_SENDER
    # A lax server may take LF . LF for the end of data, and what follows for commands (CVE-2023-51764).
    return _STRAY if mime.has_bare_ends(mail.raw) else None


def unspeakable(recipient: OutgoingRecipient, offers: Offers) -> Outcome | None:
    """Why this recipient cannot be named to the server, if so."""
    if not recipient.address.isprintable():
        return _BAD_RECIPIENT
    return None if offers.smtputf8 or recipient.address.isascii() else _NEEDS_UTF8


def mail_from(mail: Outgoing, offers: Offers) -> bytes:
    """MAIL with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461).

    Without 8BITMIME at the far end, eight-bit mail goes as it is and unannounced: converting it would break its
    signatures, and servers that clear the eighth bit are gone. The envelope id is the client's, or else our
    token, so that delivery reports name the message.
    """
    words = [f"MAIL FROM:<{mail.sender}>"]
    if offers.size:
        words.append(f"SIZE={len(mail.raw)}")
    if offers.smtputf8 and (mail.smtputf8 or _names_utf8(mail)):
        words.append("BODY=8BITMIME SMTPUTF8" if offers.eight_bit else "SMTPUTF8")
    elif mail.eight_bit and offers.eight_bit:
        words.append("BODY=8BITMIME")
    if offers.dsn:
        if mail.ret in {"FULL", "HDRS"}:
            words.append(f"RET={mail.ret}")
        envid = mail.envid if mail.envid and _ENVID.match(mail.envid) else mail.token
        words.append(f"ENVID={envid}")
    return f"{' '.join(words)}\r\n".encode()


def rcpt_to(recipient: OutgoingRecipient, offers: Offers) -> bytes:
    """RCPT with NOTIFY and ORCPT (RFC 3461) as the client gave them."""
    if not offers.dsn or (recipient.notify is None and recipient.orcpt is None):
        return f"RCPT TO:<{recipient.address}>\r\n".encode()
    words = [f"RCPT TO:<{recipient.address}>"]
    if recipient.notify and _NOTIFY.match(recipient.notify):
        words.append(f"NOTIFY={recipient.notify}")
    if recipient.orcpt and _ORCPT.match(recipient.orcpt):
        words.append(f"ORCPT={recipient.orcpt}")
    return f"{' '.join(words)}\r\n".encode()


def stuffed(raw: bytes) -> bytes:
    """The mail as it goes after DATA, with its end (RFC 5321 4.5.2): untouched but for doubled leading dots."""
    body = raw.replace(b"\r\n.", b"\r\n..") if mime.has_dotted_line(raw) else raw
    if body.startswith(b"."):
        body = b"." + body
    return body + (b".\r\n" if body.endswith(b"\r\n") or not body else b"\r\n.\r\n")


def _names_utf8(mail: Outgoing) -> bool:
    return not (mail.sender.isascii() and all(one.address.isascii() for one in mail.recipients))
