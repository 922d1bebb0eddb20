"""Claimed mail whose time is over: it is dropped, and not sent late."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.timing import EXPIRES_AT, expiry_of
from relay.store import withholding
from relay.store.withholding import Ending

if TYPE_CHECKING:
    from relay.store.deliveries import Claim, ClaimedMail

ERROR_CODE = "Expired"
_ENDING = Ending(
    kind=EventKind.EXPIRED,
    why="expired",
    error_code=ERROR_CODE,
    reply="550 5.4.7 its time (expires_at) was over before it could be sent; it was not sent",
    unclear="its time (expires_at) is over, and an earlier try may have reached the recipient; it is not tried again",
)


def expire(connection: sa.Connection, mails: "Sequence[ClaimedMail]", *, now: datetime) -> None:
    """Take what has expired out of `mails` and end it UNSENT, in one transaction.

    Costs nothing where no mail has a time. What an earlier try may have sent is left to a human.
    """
    taken: list[Claim] = []
    for mail in mails:
        options = mail.row["options"]
        if not options or EXPIRES_AT not in options:
            continue
        end = expiry_of(options)
        if end is not None and end <= now and mail.claims:
            taken += mail.claims
            mail.withheld += len(mail.claims)
            mail.claims = []
    if taken:
        withholding.end(connection, taken, _ENDING, now=now)
