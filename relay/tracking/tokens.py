"""What pixels, links and unsubscribe pages carry: whose mail it was, signed, so that nobody can make one up.

Every token ends with 128 bits of an HMAC, and each kind has a key of its own. A click's token holds its target, and
an unsubscribing one all that is needed to act on it, so that both work for as long as the mail is read, whatever has
been removed from the record in the meantime.
"""

import base64
import binascii
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.core import seal

_MAC = 16
_MAIL = struct.Struct(">QQ")
_LEAVER = struct.Struct(">QQQ")
#: characters of a token that is looked at; no token of ours is longer
MAX_TOKEN = 8192


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail that was opened, and to whom it went where it had one recipient."""

    message_id: int
    recipient_id: int | None

    @property
    def token(self) -> str:
        """As `relay.core.provider.Report` has it."""
        return f"{self.message_id}.{self.recipient_id}" if self.recipient_id else str(self.message_id)


@dataclass(frozen=True, slots=True)
class Leaver:
    """Who unsubscribes, from what."""

    account_id: int
    mail: Mail
    stream: str
    address: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes and reads tokens. What is not ours reads as None."""

    _open: bytes
    _click: bytes
    _leave: bytes

    @classmethod
    def of(cls, secret: bytes) -> "Tokens":
        return cls(*(seal.derive(secret, purpose) for purpose in ("open", "click", "unsubscribe")))

    def open(self, mail: Mail) -> str:
        return _sealed(self._open, _packed(mail))

    def click(self, mail: Mail, target: str) -> str:
        return _sealed(self._click, _packed(mail) + target.encode("ascii"))

    def leave(self, leaver: Leaver) -> str:
        mail = leaver.mail
        packed = _LEAVER.pack(leaver.account_id, mail.message_id, mail.recipient_id or 0)
        return _sealed(self._leave, packed + leaver.stream.encode() + b"\0" + leaver.address.encode())

    def opened(self, token: str) -> Mail | None:
        data = _unsealed(self._open, token)
        return _unpacked(data) if data is not None and len(data) == _MAIL.size else None

    def clicked(self, token: str) -> tuple[Mail, str] | None:
        """The mail and the target, which was http or https when it was signed."""
        data = _unsealed(self._click, token)
        if data is None or len(data) <= _MAIL.size:
            return None
        return _unpacked(data), data[_MAIL.size :].decode("ascii")

    def left(self, token: str) -> Leaver | None:
        data = _unsealed(self._leave, token)
        if data is None or len(data) <= _LEAVER.size:
            return None
        account_id, message_id, recipient_id = _LEAVER.unpack_from(data)
        stream, _, address = data[_LEAVER.size :].decode().partition("\0")
        return Leaver(account_id, Mail(message_id, recipient_id or None), stream, address)


class TokenSource:
    """`Tokens` for whoever needs them later: the secret is read once, at the first use."""

    def __init__(self, secret: Callable[[], Awaitable[bytes]]) -> None:
        self._secret = secret
        self._tokens: Tokens | None = None

    async def get(self) -> Tokens:
        """Raises `Unavailable` while the record cannot be read and the secret is not known yet."""
        if self._tokens is None:
            self._tokens = Tokens.of(await self._secret())
        return self._tokens


def _packed(mail: Mail) -> bytes:
    return _MAIL.pack(mail.message_id, mail.recipient_id or 0)


def _unpacked(data: bytes) -> Mail:
    message_id, recipient_id = _MAIL.unpack_from(data)
    return Mail(message_id, recipient_id or None)


def _sealed(key: bytes, data: bytes) -> str:
    return base64.urlsafe_b64encode(data + seal.sign(key, data, _MAC)).rstrip(b"=").decode()


def _unsealed(key: bytes, token: str) -> bytes | None:
    if len(token) > MAX_TOKEN or not token.isascii():
        return None
    try:
        data = binascii.a2b_base64(
            token.translate(_STANDARD).encode() + b"=" * (-len(token) % 4), strict_mode=True
        )
    except binascii.Error:
        return None
    signed, mac = data[:-_MAC], data[-_MAC:]
    return signed if len(mac) == _MAC and seal.verify(key, signed, mac) else None


_STANDARD = str.maketrans("-_", "+/")
