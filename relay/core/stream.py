"""Streams: kinds of mail that are kept apart, so that leaving one of them does not cost a receipt or a password.

Two are always there. An account may give either other settings, and have further ones of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from relay.core.status import Lane
from relay.core.timing import QuietHours

#: the stream of mail that names none
DEFAULT = "transactional"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


class Track(NamedTuple):
    """Whether opens and clicks are looked for; None where that is for others to say."""

    opens: bool | None = None
    clicks: bool | None = None

    def over(self, other: "Track") -> "Track":
        """What this one says, and what the other does where this one says nothing."""
        if other == UNSAID:
            return self
        return Track(*(theirs if mine is None else mine for mine, theirs in zip(self, other, strict=True)))


class Leaving(StrEnum):
    """What somebody who unsubscribes, or complains, gets no more of."""

    STREAM = "stream"  #: mail of this stream
    ACCOUNT = "account"  #: any mail of the account


UNSAID = Track()


@dataclass(frozen=True, slots=True)
class Stream:
    """How mail of one kind is treated."""

    name: str
    lane: Lane = Lane.NORMAL  #: urgent mail takes the urgent lane all the same
    track: Track = UNSAID
    #: mail to one recipient gets List-Unsubscribe and List-Unsubscribe-Post (RFC 8058) where it has neither
    unsubscribe: bool = False
    unsubscribe_from: Leaving = Leaving.STREAM
    #: what somebody who calls a mail of it spam gets no more of
    complaint_from: Leaving = Leaving.ACCOUNT
    title: str | None = None  #: what recipients read when they leave
    #: in which its mail waits; URGENT mail does not
    quiet: QuietHours | None = None
    #: by which its mail rather goes, where its route has that one and the mail names none itself
    provider: str | None = None


BUILT_IN: Mapping[str, Stream] = MappingProxyType(
    {
        DEFAULT: Stream(DEFAULT),
        "bulk": Stream("bulk", Lane.BULK, unsubscribe=True),
    }
)


def is_name(text: str) -> bool:
    """Whether a stream may be called that: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or digit."""
    return _NAME.match(text) is not None
