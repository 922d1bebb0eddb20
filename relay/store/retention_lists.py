"""What is kept of recipient lists once they have ended.

Rows that went out go with their mail (`relay.store.retention`); those that never became one go here, and in the end
the whole list. A walk goes over the lists in the order of their age, some rows of one list at each step.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.ids import floor_at
from relay.store import tables as t
from relay.store.batches import BatchState
from relay.store.retention import GONE, NOBODY, Part, Rules, Swept, secure

#: of a list that names none
_STREAM = "bulk"
_ENDED = (BatchState.DONE, BatchState.CANCELLED, BatchState.FAILED)
_B, _R = t.batch.c, t.batch_row.c
_HAS: dict[Part, sa.ColumnElement[bool]] = {
    Part.BODY: _R.variables.is_not(None),
    Part.PARAMS: _R.variables.is_not(None),
    Part.ADDRESSES: _R.address != GONE,
    Part.MESSAGES: sa.true(),
}
#: the parts that lists have
PARTS = tuple(_HAS)


def sweep(
    connection: sa.Connection,
    part: Part,
    known: Rules,
    *,
    now: datetime,
    limit: int,
    position: int,
    dry_run: bool = False,
) -> Swept:
    """One step of a walk: up to `limit` rows of the first list behind the list `position` whose time has come.

    Its `messages` are rows; `unsent` is 1 for a list that has not ended.
    """
    bound = floor_at(now - timedelta(days=known.shortest(part)))
    if not known.shortest(part):
        return Swept()
    wanted = sa.select(_B.id, _B.account_id, _B.options, _B.state).where(_B.id > position, _B.id < bound)
    row = connection.execute(wanted.order_by(_B.id).limit(1)).first()
    if row is None:
        return Swept()
    days = known.days(part, row.account_id, row.options.get("stream") or _STREAM)
    if not days or row.id >= floor_at(now - timedelta(days=days)):
        return Swept(position=row.id)
    if row.state not in _ENDED:
        return Swept(unsent=1, position=row.id)
    mine = sa.and_(_R.batch_id == row.id, _HAS[part])
    if dry_run:
        counted = sa.select(sa.func.count()).select_from(t.batch_row).where(mine)
        return Swept(int(connection.execute(counted).scalar_one()), 0, row.id)
    numbers = list(
        connection.execute(sa.select(_R.number).where(mine).order_by(_R.number).limit(limit)).scalars()
    )
    ended = len(numbers) < limit
    secure(connection)
    _RULES[part](connection, row.id, numbers, ended)
    return Swept(len(numbers), 0, row.id if ended else position)


def _set(values: dict[str, Any]) -> Callable[[sa.Connection, int, Sequence[int], bool], None]:
    def work(connection: sa.Connection, identifier: int, numbers: Sequence[int], _ended: bool) -> None:
        mine = sa.and_(_R.batch_id == identifier, _R.number.in_(numbers))
        connection.execute(t.batch_row.update().where(mine).values(**values))

    return work


def _remove(connection: sa.Connection, identifier: int, numbers: Sequence[int], ended: bool) -> None:
    connection.execute(t.batch_row.delete().where(_R.batch_id == identifier, _R.number.in_(numbers)))
    if ended:
        connection.execute(t.batch_part.delete().where(t.batch_part.c.batch_id == identifier))
        connection.execute(t.batch.delete().where(_B.id == identifier))


_RULES: dict[Part, Callable[[sa.Connection, int, Sequence[int], bool], None]] = {
    Part.BODY: _set({"variables": sa.null()}),
    Part.PARAMS: _set({"variables": sa.null()}),
    Part.ADDRESSES: _set(NOBODY),
    Part.MESSAGES: _remove,
}
