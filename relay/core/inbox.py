"""What was told and is not in the timelines yet: kinds, and how far it has come."""

from enum import StrEnum


class InboxKind(StrEnum):
    """What a row holds, which says who reads it."""

    WEBHOOK = "webhook"  #: the body of a provider's request; `source` is the provider's name
    MAIL = "mail"  #: a mail to a return path; the header `x-envelope-to` has its recipient
    REPORTS = "reports"  #: reports that need no reading; see `relay.tracking.inbox.encode_reports`


class InboxState(StrEnum):
    """How far a row has come."""

    NEW = "new"
    RETRY = "retry"  #: could not be read, and is read again
    EARLY = "early"  #: reports whose mail has not turned up yet
    FAILED = "failed"  #: could not be read, again and again
    ORPHAN = "orphan"  #: reports whose mail never turned up
