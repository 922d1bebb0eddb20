"""Whose things a call is about: the key's own account's, or with an admin key any account's."""

from typing import Annotated

from pydantic import Field

from relay.core.errors import NotAllowed
from relay.core.identity import Identity
from relay.core.ids import MAX_ID

ID = r"^[0-9]{1,19}$"

#: in the query of a list
OneOrAll = Annotated[
    str | None,
    Field(
        pattern=r"^([0-9]{1,19}|all)$",
        description="Another account's, or those of `all`; needs an admin key.",
    ),
]


def account(identity: Identity, wanted: str | None) -> int:
    """The id of the account meant; raises `NotAllowed` for another's without an admin key."""
    if wanted is None or int(wanted) == identity.account_id:
        return identity.account_id
    if not identity.may("admin"):
        raise NotAllowed("Another account's things need a key with the scope admin.")
    return min(int(wanted), MAX_ID)


def accounts(identity: Identity, wanted: str | None) -> int | None:
    """`account`, or None where all are meant by `all`."""
    if wanted != "all":
        return account(identity, wanted)
    if not identity.may("admin"):
        raise NotAllowed("Everybody's things need a key with the scope admin.")
    return None


def readable(identity: Identity) -> int | None:
    """The account whose mail the key may ask for by id; None for everybody's, with an admin key."""
    return None if identity.may("admin") else identity.account_id
