"""What AUTH PLAIN (RFC 4616) and AUTH LOGIN carry, decoded. The password is an API key; the user name is free."""

import base64
import binascii

from relay.smtp import replies
from relay.smtp.replies import Rejected

MECHANISMS = ("PLAIN", "LOGIN")
#: octets of one AUTH command or response, RFC 4954 4
MAX_LINE = 12_288

ASK = b"334 \r\n"
ASK_USER = b"334 VXNlcm5hbWU6\r\n"
ASK_PASSWORD = b"334 UGFzc3dvcmQ6\r\n"


def decode(line: bytes) -> str:
    """The text of one response; raises `Rejected` for `*` (the client gives up) and for what is not base64."""
    if line == b"*":
        raise Rejected(replies.AUTH_ABORTED)
    try:
        return base64.b64decode(line, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Rejected(replies.AUTH_MALFORMED) from None


def plain(line: bytes) -> tuple[str, str]:
    """User name and password of a PLAIN response. Acting as somebody else is refused."""
    acting_as, first, rest = decode(line).partition("\0")
    user, second, password = rest.partition("\0")
    if not (first and second) or "\0" in password:
        raise Rejected(replies.AUTH_MALFORMED)
    if acting_as not in {"", user}:
        raise Rejected(replies.AUTH_FAILED)
    return user, password
