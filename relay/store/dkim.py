"""Keys for outgoing DKIM signatures. The private halves are encrypted with a passphrase that is not kept here."""

from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, NotFound
from relay.core.ids import new_id
from relay.store import tables as t


def add(connection: sa.Connection, domain: str, selector: str, private_key: str, record: str) -> int:
    """Keep a key (encrypted PEM) and the DNS record of its public half. Raises `Conflict` where there is one."""
    k = t.dkim_key.c
    same = sa.select(k.id).where(k.domain == domain, k.selector == selector)
    if connection.execute(same).first():
        raise Conflict(f"There is a key {selector} of {domain} already.")
    identifier = new_id()
    row = {"id": identifier, "domain": domain, "selector": selector, "private_key": private_key}
    connection.execute(t.dkim_key.insert(), {**row, "record": record, "created_at": now()})
    return identifier


def keys(connection: sa.Connection) -> list[dict[str, Any]]:
    """Every key, oldest first."""
    return [
        dict(row) for row in connection.execute(sa.select(t.dkim_key).order_by(t.dkim_key.c.id)).mappings()
    ]


def remove(connection: sa.Connection, domain: str, selector: str) -> None:
    """Doors sign with it for a minute more at most. Raises `NotFound`."""
    k = t.dkim_key.c
    statement = t.dkim_key.delete().where(k.domain == domain, k.selector == selector)
    if connection.execute(statement).rowcount == 0:
        raise NotFound(f"There is no key {selector} of {domain}.")
