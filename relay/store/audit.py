"""The audit log: every change made through the API or the console, and who made it."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from relay.core.identity import Identity
from relay.core.ids import new_id
from relay.store import tables as t

_a = t.audit.c


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody did."""

    action: str
    subject: str
    door: str
    address: str
    detail: dict[str, Any] | None = None


def add(connection: sa.Connection, identity: Identity | None, change: Change) -> None:
    """`identity` is None where nobody was known, as with a failed sign-in."""
    label = None
    if identity is not None:
        label = connection.execute(
            sa.select(t.api_key.c.label).where(t.api_key.c.id == identity.key_id)
        ).scalar()
    connection.execute(
        t.audit.insert(),
        {
            "id": new_id(),
            "account_id": identity.account_id if identity else None,
            "key_id": identity.key_id if identity else None,
            "who": (" / ".join(filter(None, (identity.account, label))) if identity else "nobody")[:330],
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
) -> list[dict[str, Any]]:
    """Changes, newest first: by one key, about one subject, of calls whose name has `action` in it."""
    statement = sa.select(t.audit).order_by(_a.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(_a.id < before)
    if key_id is not None:
        statement = statement.where(_a.key_id == key_id)
    if subject is not None:
        statement = statement.where(_a.subject == subject)
    if action is not None:
        statement = statement.where(_a.action.icontains(action, autoescape=True))
    return [dict(row) for row in connection.execute(statement).mappings()]
