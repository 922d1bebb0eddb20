"""What every submission must satisfy, whichever door it came by. Refusals are `relay.core.errors`."""

import time
from collections import OrderedDict

from relay.core.clock import now
from relay.core.errors import NotAllowed, SenderNotAllowed, Unauthenticated
from relay.core.identity import Identity
from relay.store import accounts
from relay.store.database import Database


class Authenticator:
    """Turns a presented key into an `Identity`, remembering recent answers.

    A revoked key may go on working for `ttl` seconds in a process that has just seen it.
    """

    def __init__(self, database: Database, *, ttl: float = 5, size: int = 4096) -> None:
        self._database = database
        self._ttl = ttl
        self._size = size
        self._known: OrderedDict[str, tuple[float, Identity]] = OrderedDict()

    async def identify(self, secret: str) -> Identity:
        """Raises `Unauthenticated` for anything but a working key. Unknown keys cost a look-up each time."""
        key = accounts.digest(secret)
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            identity = known[1]
        else:
            found = await self._database.read(accounts.identify, key)
            if found is None:
                self._known.pop(key, None)
                raise Unauthenticated
            identity = found
            self._known[key] = (time.monotonic() + self._ttl, identity)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        if identity.expires_at is not None and identity.expires_at <= now():
            raise Unauthenticated
        return identity


def check_scope(identity: Identity, scope: str) -> None:
    """Raises `NotAllowed` when the key lacks `scope`."""
    if not identity.may(scope):
        raise NotAllowed(f"This key does not have the scope {scope}.")


def check_sender(identity: Identity, address: str) -> None:
    """Raises `SenderNotAllowed` unless the account may send as `address`."""
    if not identity.may_send_as(address):
        raise SenderNotAllowed(f"{address} is not a sender of this account.")
