"""Return paths that say whose bounce comes home (VERP), and that nobody else can make.

`b+<token>@bounce.example.org`: message, recipient and end of life, with a signature over them. Without it anyone
could tell us that mail has bounced and have addresses suppressed. Base32, because servers on the way back may fold
the case of a local part; 47 of its 64 octets (RFC 5321 4.5.3.1.1).
"""

import base64
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relay.core import seal

#: how long bounces may take: servers try for five days, and notices lie in queues of their own
LIFETIME = timedelta(days=14)

_PURPOSE = "return-path"
_BODY = struct.Struct(">QQH")
_MAC = 10  # octets
_LENGTH = 45  # characters of base32 for both
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_TOKEN = re.compile(rf"b[+=-]([a-z2-7]{{{_LENGTH}}})@([a-z0-9.-]{{1,253}})", re.IGNORECASE | re.ASCII)
#: returned mail that is looked through for return paths; there are one or two
_MOST_FOUND = 50


class NotOurs(ValueError):
    """No return path of this installation: of another form, for another domain, or signed by somebody else."""


class TooOld(ValueError):
    """A return path of ours whose time is over."""


@dataclass(frozen=True, slots=True)
class Home:
    """Whose bounce it is. `recipient_id` is 0 where the mail went to several at once."""

    message_id: int
    recipient_id: int
    expires_at: datetime

    @property
    def token(self) -> str:
        """The token of `relay.core.provider.Outgoing`."""
        return f"{self.message_id}.{self.recipient_id}" if self.recipient_id else str(self.message_id)


class ReturnPaths:
    """Makes and reads the return paths of one installation."""

    def __init__(self, secret: bytes, domain: str, lifetime: timedelta = LIFETIME) -> None:
        self.domain = domain.lower()
        self._key = seal.derive(secret, _PURPOSE)
        self._lifetime = lifetime

    def make(self, message_id: int, recipient_id: int, at: datetime) -> str:
        """The return path of a mail sent at `at`."""
        return f"b+{self.seal(message_id, recipient_id, at)}@{self.domain}"

    def seal(self, message_id: int, recipient_id: int, at: datetime) -> str:
        """The token by itself, for fields that come back with a bounce, such as ENVID (RFC 3461 4.4)."""
        day = -((_EPOCH - at - self._lifetime) // _DAY)  # rounded up
        body = _BODY.pack(message_id, recipient_id, day)
        return base64.b32encode(body + seal.sign(self._key, body, _MAC)).decode().lower().rstrip("=")

    def owns(self, address: str) -> bool:
        """Whether the address is in the domain where bounces come home."""
        return address.rpartition("@")[2].lower() == self.domain

    def read(self, address: str, at: datetime) -> Home:
        """Whose return path this is, at `at`. Raises `NotOurs` or `TooOld`."""
        found = _TOKEN.fullmatch(address)
        if found is None or found[2].lower() != self.domain:
            raise NotOurs(address)
        return self.unseal(found[1], at)

    def unseal(self, token: str, at: datetime) -> Home:
        """Whose token this is, at `at`. Raises `NotOurs` or `TooOld`."""
        home = self._open(token)
        if home.expires_at <= at:
            raise TooOld(token)
        return home

    def find(self, text: str, at: datetime) -> Iterator[Home]:
        """The return paths of ours that stand anywhere in `text` and are good at `at`."""
        for number, found in enumerate(_TOKEN.finditer(text)):
            if number == _MOST_FOUND:
                return
            try:
                yield self.read(found[0], at)
            except ValueError:
                continue

    def _open(self, token: str) -> Home:
        try:
            data = base64.b32decode(token.upper() + "=" * (-_LENGTH % 8))
        except ValueError:
            raise NotOurs(token) from None
        body, signature = data[: _BODY.size], data[_BODY.size :]
        if len(signature) != _MAC or not seal.verify(self._key, body, signature):
            raise NotOurs(token)
        message_id, recipient_id, day = _BODY.unpack(body)
        return Home(message_id, recipient_id, _EPOCH + day * _DAY)
