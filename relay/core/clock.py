"""The time, in one place, so that a test can hold it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time: aware, UTC."""
    return datetime.now(UTC)


def wire_time(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and `Z`, the way the REST contract writes times."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
