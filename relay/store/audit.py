"""The audit log: every change made through the API, the console or the command line, and who made it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.identity import Identity
from relay.core.ids import floor_at, new_id
from relay.store import tables as t

_a = t.audit.c
#: names of fields that may be secret; a URL may have a secret in it as well
_SECRET = re.compile(r"pass|secret|token|credential|authorization|url", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody did."""

    action: str
    subject: str
    door: str
    address: str
    detail: dict[str, Any] | None = None


def hidden(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as they may be kept: bounded, and nothing that may be secret."""
    return {
        name[:100]: "********" if _SECRET.search(name) and value else _short(value)
        for name, value in list(fields.items())[:50]
    }


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:500]
    if isinstance(value, dict):
        return hidden(value)
    if isinstance(value, list):
        return [_short(one) for one in value[:50]]
    return value


def add(connection: sa.Connection, by: Identity | str | None, change: Change) -> None:
    """`by` is a key, or a name where no key was used; None where nobody was known, as with a failed sign-in."""
    key = by if isinstance(by, Identity) else None
    label = None
    if key is not None:
        label = connection.execute(sa.select(t.api_key.c.label).where(t.api_key.c.id == key.key_id)).scalar()
    who = " / ".join(filter(None, (key.account, label))) if key else by or "nobody"
    connection.execute(
        t.audit.insert(),
        {
            "id": new_id(),
            "account_id": key.account_id if key else None,
            "key_id": key.key_id if key else None,
            "who": str(who)[:330],
            "door": change.door,
            "action": change.action[:100],
            "subject": change.subject[:330],
            "address": change.address[:64],
            "detail": change.detail,
        },
    )


def page(
    connection: sa.Connection,
    *,
    limit: int,
    before: int | None = None,
    key_id: int | None = None,
    subject: str | None = None,
    action: str | None = None,
    door: str | None = None,
) -> list[dict[str, Any]]:
    """Changes, newest first: by one key, of one subject, at one door, with `action` in what was done."""
    statement = sa.select(t.audit).order_by(_a.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(_a.id < before)
    if key_id is not None:
        statement = statement.where(_a.key_id == key_id)
    if subject is not None:
        statement = statement.where(_a.subject == subject)
    if action is not None:
        statement = statement.where(_a.action.icontains(action, autoescape=True))
    if door is not None:
        statement = statement.where(_a.door == door)
    return [dict(row) for row in connection.execute(statement).mappings()]


def any_before(connection: sa.Connection, moment: datetime) -> bool:
    oldest = connection.execute(sa.select(sa.func.min(_a.id))).scalar()
    return oldest is not None and oldest < floor_at(moment)


def prune(connection: sa.Connection, *, before: datetime, limit: int = 1000) -> int:
    """Delete some of the changes made before that time, oldest first; returns how many."""
    old = sa.select(_a.id).where(_a.id < floor_at(before)).order_by(_a.id).limit(limit)
    return int(connection.execute(t.audit.delete().where(_a.id.in_(old))).rowcount)
