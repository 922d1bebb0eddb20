"""Addresses that are not written to, by one account or by nobody."""

from collections.abc import Sequence

import sqlalchemy as sa

from relay.core.clock import now
from relay.store import tables as t
from relay.store.types import BigInt, Instant


def suppressed(connection: sa.Connection, account_id: int, addresses: Sequence[str]) -> set[str]:
    """Those of `addresses` that the account, or nobody, may write to now, as they are given here.

    Letter case makes no difference, in the local part neither: a suppression must not be got round by it.
    """
    if not addresses:
        return set()
    lowered = {address.lower() for address in addresses}
    found = set(
        connection.execute(
            _SUPPRESSED, {"b_account_id": account_id, "b_addresses": list(lowered), "b_now": now()}
        ).scalars()
    )
    return {address for address in addresses if address.lower() in found} if found else set()


_S = t.suppression.c
_ADDRESS = sa.select(_S.address).where(
    _S.address.in_(sa.bindparam("b_addresses", expanding=True)),
    sa.or_(_S.expires_at.is_(None), _S.expires_at > sa.bindparam("b_now", type_=Instant())),
)
# Two halves, so that each has an index of its own; an OR of both would have none.
_SUPPRESSED = sa.union_all(
    _ADDRESS.where(_S.account_id == sa.bindparam("b_account_id", type_=BigInt)),
    _ADDRESS.where(_S.account_id.is_(None)),
)
