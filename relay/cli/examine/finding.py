"""What was found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  #: works, but not as well as it could, or not for long
    FAIL = "fail"  #: does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `todo` is empty where there is nothing to do."""

    area: str
    subject: str
    level: Level
    says: str
    todo: str = ""


def ok(area: str, subject: str, says: str) -> Finding:
    return Finding(area, subject, Level.OK, says)


def warn(area: str, subject: str, says: str, todo: str) -> Finding:
    return Finding(area, subject, Level.WARN, says, todo)


def fail(area: str, subject: str, says: str, todo: str) -> Finding:
    return Finding(area, subject, Level.FAIL, says, todo)
