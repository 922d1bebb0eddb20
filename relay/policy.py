"""What every submission must satisfy, whichever door it came by. Refusals are `relay.core.errors`."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from relay.core.clock import now
from relay.core.errors import (
    NoSuchStream,
    NotAllowed,
    SenderNotAllowed,
    Suppressed,
    Unauthenticated,
    Unavailable,
)
from relay.core.identity import Identity
from relay.core.stream import Stream
from relay.observe import facts
from relay.store import accounts, streams, suppressions
from relay.store.database import Database

K = TypeVar("K")
V = TypeVar("V")

#: keys looked up in one query
_AT_ONCE = 200
#: seconds between two notes of when keys were used
_NOTE_EVERY = 60.0


class Authenticator:
    """Turns a presented key into an `Identity`, remembering recent answers.

    A key that was changed or revoked may go on as it was for `ttl` seconds in a process that has just seen it. Keys
    are found by their hash, so the time a look-up takes tells nothing about any key. One look-up is under way at a
    time, with everybody who came meanwhile in the next: a flood of made-up keys costs a query now and then.
    """

    def __init__(self, database: Database, *, ttl: float = 5, size: int = 4096) -> None:
        self._database = database
        self._ttl = ttl
        self._size = size
        self._known: OrderedDict[str, tuple[float, Identity]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[Identity | None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._used: dict[int, datetime] = {}
        self._noted = float("-inf")
        self._noting: asyncio.Task[None] | None = None

    async def identify(self, secret: str, peer: str | None = None) -> Identity:
        """Who presents `secret` from the IP address `peer`.

        Raises `Unauthenticated` for anything but a working key, and `NotAllowed` for one that may not be used from
        there.
        """
        key = accounts.digest(secret)
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            identity = known[1]
        else:
            identity = await self._refresh(key)
        if identity.expires_at is not None and identity.expires_at <= now():
            raise Unauthenticated
        if not identity.may_come_from(peer):
            raise NotAllowed("This key may not be used from this address.")
        return identity

    async def account(self, name: str) -> Identity:
        """The account of clients that are known by their address. Raises `Unauthenticated` where there is none."""
        found = await self._database.read(accounts.identify_account, name)
        if found is None:
            raise Unauthenticated(f"There is no working account named {name}.")
        return found

    async def close(self) -> None:
        """Note the last uses."""
        if self._noting is not None:
            await self._noting
        await self._note()

    async def _refresh(self, key: str) -> Identity:
        if self._unknown.get(key, 0.0) > time.monotonic():
            raise Unauthenticated
        found = await self._look_up(key)
        until = time.monotonic() + self._ttl
        if found is None:
            self._known.pop(key, None)
            _remember(self._unknown, key, until, self._size)
            raise Unauthenticated
        _remember(self._known, key, (until, found), self._size)
        self._use(found)
        return found

    async def _look_up(self, key: str) -> Identity | None:
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
        # Several may wait for one answer; one who leaves must not take it from the others.
        return await asyncio.shield(future)

    async def _look(self) -> None:
        try:
            while self._waiting:
                group = {key: self._waiting[key] for key in islice(self._waiting, _AT_ONCE)}
                try:
                    found = await self._database.read(accounts.identify_all, list(group))
                except Exception as error:
                    self._settle(group)
                    for future in group.values():
                        future.set_exception(error)
                else:
                    self._settle(group)
                    for future, identity in zip(group.values(), found, strict=True):
                        future.set_result(identity)
        finally:
            self._looking = None

    def _settle(self, group: Collection[str]) -> None:
        for key in group:
            del self._waiting[key]

    def _use(self, identity: Identity) -> None:
        self._used[identity.key_id] = now()
        if self._noting is None and time.monotonic() - self._noted >= _NOTE_EVERY:
            self._noted = time.monotonic()
            self._noting = asyncio.create_task(self._note())

    async def _note(self) -> None:
        used, self._used = self._used, {}
        try:
            if used:
                await self._database.write(accounts.note_use, used)
        except Unavailable as error:
            facts.fault("last use of keys", error)
        finally:
            self._noting = None


def check_scope(identity: Identity, scope: str) -> None:
    """Raises `NotAllowed` when the key lacks `scope`."""
    if not identity.may(scope):
        raise NotAllowed(f"This key does not have the scope {scope}.")


def check_sender(identity: Identity, address: str) -> None:
    """Raises `SenderNotAllowed` unless the account may send as `address`."""
    if not identity.may_send_as(address):
        raise SenderNotAllowed(f"{address} is not a sender of this account.")


class Suppressions:
    """Whether addresses may be written to, for a door that is asked about one at a time, thousands of times a second.

    Accounts' lists are kept for `ttl` seconds, as long as they are not larger than `most`; larger ones are asked in
    the record each time. What is suppressed meanwhile is noticed again before a mail is sent.
    """

    def __init__(self, database: Database, *, ttl: float = 5, most: int = 10_000, size: int = 256) -> None:
        self._database = database
        self._ttl = ttl
        self._most = most
        self._size = size
        self._lists: OrderedDict[int, tuple[float, frozenset[tuple[str, str]] | None]] = OrderedDict()

    def knows(self, account_id: int) -> bool:
        """Whether `check_known` can answer."""
        known = self._lists.get(account_id)
        return known is not None and known[1] is not None and known[0] > time.monotonic()

    def check_known(self, account_id: int, address: str) -> None:
        """Raises `Suppressed` for an address that gets no mail of any stream; to be called while `knows`."""
        listed = self._lists[account_id][1]
        if listed and (address.lower(), "") in listed:
            raise Suppressed

    async def check(self, account_id: int, address: str) -> None:
        """Raises `Suppressed` where the account, or nobody, may write to the address, in whatever stream."""
        if await self.among(account_id, (address,)):
            raise Suppressed

    async def among(self, account_id: int, addresses: Sequence[str], stream: str = "") -> Collection[str]:
        """Those of `addresses` that mail of a stream may not go to."""
        known = self._lists.get(account_id)
        if known is None or known[0] <= time.monotonic():
            found = await self._database.read(suppressions.addresses, account_id, limit=self._most + 1)
            listed = frozenset(found) if len(found) <= self._most else None
            known = (time.monotonic() + self._ttl, listed)
            _remember(self._lists, account_id, known, self._size)
        listed = known[1]
        if listed is None:
            return await self._database.read(suppressions.suppressed, account_id, addresses, stream)
        if not listed:
            return ()
        return [
            address
            for address in addresses
            if (address.lower(), "") in listed or (address.lower(), stream) in listed
        ]


class Streams:
    """The streams of accounts, each account's remembered for `ttl` seconds."""

    def __init__(self, database: Database, *, ttl: float = 5, size: int = 4096) -> None:
        self._database = database
        self._ttl = ttl
        self._size = size
        self._known: OrderedDict[int, tuple[float, Mapping[str, Stream]]] = OrderedDict()

    def known(self, account_id: int, name: str) -> Stream | None:
        """The stream, where it is remembered."""
        known = self._known.get(account_id)
        return known[1].get(name) if known is not None and known[0] > time.monotonic() else None

    async def get(self, account_id: int, name: str) -> Stream:
        """Raises `NoSuchStream`. A stream that was not there a moment ago is looked for again, as it may be new."""
        stream = self.known(account_id, name)
        if stream is None:
            found = await self._database.read(streams.of_account, account_id)
            _remember(self._known, account_id, (time.monotonic() + self._ttl, found), self._size)
            stream = found.get(name)
        if stream is None:
            raise NoSuchStream(f"There is no stream named {name[:64]}.")
        return stream


def _remember(where: OrderedDict[K, V], key: K, value: V, size: int) -> None:
    where[key] = value
    where.move_to_end(key)
    while len(where) > size:
        where.popitem(last=False)
