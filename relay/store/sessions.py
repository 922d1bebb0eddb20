"""Sessions of the console: as long as somebody is there, and no longer than the key they signed in with."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.identity import Identity
from relay.core.ids import new_id
from relay.store import accounts
from relay.store import tables as t

#: how long a session lasts without a page being asked for, and in all
IDLE = timedelta(hours=1)
LONGEST = timedelta(hours=12)
#: a session that was seen this lately is not written to again
_SEEN = timedelta(minutes=1)

_s = t.console_session.c


@dataclass(frozen=True, slots=True)
class Session:
    """One that is good now."""

    id: int
    identity: Identity
    label: str  #: the key's
    last_five: str  #: of the key
    seen_at: datetime
    told: dict[str, Any] | None

    @property
    def stale(self) -> bool:
        """Whether `seen` should be noted again."""
        return now() - self.seen_at > _SEEN


def begin(connection: sa.Connection, token: str, key_id: int, address: str) -> int:
    """A session whose cookie is `token`; the ones that are over are dropped on the way."""
    moment = now()
    over = sa.or_(_s.expires_at <= moment, _s.seen_at <= moment - IDLE)
    connection.execute(t.console_session.delete().where(over))
    identifier = new_id()
    connection.execute(
        t.console_session.insert(),
        {
            "id": identifier,
            "digest": accounts.digest(token),
            "key_id": key_id,
            "address": address[:64],
            "created_at": moment,
            "seen_at": moment,
            "expires_at": moment + LONGEST,
        },
    )
    return identifier


def find(connection: sa.Connection, token: str) -> Session | None:
    """The session of a cookie; None once it has expired, or its key is revoked, expired, or no admin's any more."""
    row = connection.execute(
        sa.select(_s.id, _s.seen_at, _s.told, t.api_key.c.digest, t.api_key.c.label, t.api_key.c.last_five)
        .join(t.api_key, t.api_key.c.id == _s.key_id)
        .where(_s.digest == accounts.digest(token), _s.expires_at > now(), _s.seen_at > now() - IDLE)
    ).first()
    identity = accounts.identify(connection, row.digest) if row is not None else None
    if row is None or identity is None or not identity.may("admin"):
        return None
    return Session(row.id, identity, row.label, row.last_five, row.seen_at, row.told)


def seen(connection: sa.Connection, identifier: int) -> None:
    connection.execute(t.console_session.update().where(_s.id == identifier).values(seen_at=now()))


def tell(connection: sa.Connection, identifier: int, told: dict[str, Any] | None) -> None:
    """What the session's next page says; None once it has."""
    connection.execute(
        t.console_session.update().where(_s.id == identifier).values(told=sa.null() if told is None else told)
    )


def end(connection: sa.Connection, identifier: int) -> None:
    connection.execute(t.console_session.delete().where(_s.id == identifier))
