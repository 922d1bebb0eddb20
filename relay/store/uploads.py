"""Lists on their way into the record, in pieces; nobody sees a batch before the last one is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import KeyReused
from relay.core.ids import new_id
from relay.store import tables as t
from relay.store.batches import BatchState
from relay.store.tables.batches import UPLOADING

_B, _P = t.batch.c, t.batch_part.c
_COUNTS = {"rows": 0, "valid": 0, "refused": 0, "queued": 0}


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What is uploaded."""

    account_id: int
    key_id: int | None
    name: str
    template_id: int
    version: int
    options: dict[str, Any]
    fingerprint: str
    size: int
    #: when it starts by itself; None is as soon as it is read
    send_at: datetime | None = None


def find_once(connection: sa.Connection, account_id: int, once: str, fingerprint: str) -> int | None:
    """The batch that an upload stands for already. Raises `KeyReused` where it was another list."""
    found = sa.select(_B.id, _B.fingerprint).where(_B.account_id == account_id, _B.once == once)
    row = connection.execute(found).first()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise KeyReused
    return int(row.id)


def begin(connection: sa.Connection, new: NewBatch) -> int:
    """A batch that nobody sees until `commit_upload`."""
    identifier = new_id()
    row = {
        "id": identifier,
        "account_id": new.account_id,
        "key_id": new.key_id,
        "name": new.name,
        "state": BatchState.UPLOADING.value,
        "template_id": new.template_id,
        "version": new.version,
        "options": new.options,
        "fingerprint": new.fingerprint,
        "size": new.size,
        "send_at": new.send_at,
        "offset": 0,
        "cursor": 0,
        **_COUNTS,
        "fed": False,
        "fence": 0,
        "forgiven": 0,
        "before": 0,
        "created_at": now(),
    }
    connection.execute(t.batch.insert(), row)
    return identifier


def put_part(connection: sa.Connection, identifier: int, part: int, data: bytes) -> None:
    connection.execute(t.batch_part.insert(), {"batch_id": identifier, "part": part, "data": data})


def commit_upload(
    connection: sa.Connection, identifier: int, account_id: int, once: str, fingerprint: str
) -> int:
    """The list is whole: from here on it will be read. Returns the batch, an earlier one where that has the list."""
    connection.execute(t.batch.update().where(_B.id == identifier).values(lease_until=now()))
    earlier = find_once(connection, account_id, once, fingerprint)
    if earlier is None:
        try:
            with connection.begin_nested():
                values = {"state": BatchState.READING.value, "once": once, "lease_until": None}
                connection.execute(t.batch.update().where(_B.id == identifier).values(**values))
            return identifier
        except sa.exc.IntegrityError:
            earlier = find_once(connection, account_id, once, fingerprint)
            assert earlier is not None
    _drop(connection, [identifier])
    return earlier


def any_stale(connection: sa.Connection, *, before: datetime) -> bool:
    """Whether `prune_uploads` has something to do."""
    return connection.execute(_stale(before).limit(1)).first() is not None


def _stale(before: datetime) -> sa.Select[Any]:
    return sa.select(_B.id).where(sa.text(UPLOADING), _B.created_at < before)


def prune_uploads(connection: sa.Connection, *, before: datetime) -> int:
    """Drop a few uploads that were cut short."""
    found = list(connection.execute(_stale(before).limit(10)).scalars())
    _drop(connection, found)
    return len(found)


def _drop(connection: sa.Connection, identifiers: Sequence[int]) -> None:
    if identifiers:
        connection.execute(t.batch_part.delete().where(_P.batch_id.in_(identifiers)))
        connection.execute(t.batch.delete().where(_B.id.in_(identifiers)))
