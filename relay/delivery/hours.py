"""When a claimed mail may go; see `relay.core.timing`."""

from dataclasses import replace
from datetime import datetime

from relay.core.timing import EXPIRES_AT, QUIET, Timing, timing_of
from relay.store.deliveries import ClaimedMail, HandBack


def timing(mail: ClaimedMail) -> Timing:
    """Since when it is tried, until when it is of use, and its stream's quiet hours as they were when it came."""
    return timing_of(mail.row["accepted_at"], mail.row["options"])


def quiet_until(mail: ClaimedMail, now: datetime) -> datetime | None:
    """When the mail may go, where it may not now."""
    options = mail.row["options"]
    if not options or QUIET not in options:
        return None
    due = timing(mail).due(now)
    return due if due > now else None


def bounded(mail: ClaimedMail, back: HandBack) -> HandBack:
    """Looked at again no later than it expires, so that its status says so in time."""
    options = mail.row["options"]
    if not options or EXPIRES_AT not in options:
        return back
    return replace(back, due_at=timing(mail).due(back.due_at))
