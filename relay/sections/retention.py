"""How long what is kept."""

from typing import Annotated

from pydantic import Field

from relay.sections.base import Section

#: 0 means for ever
Days = Annotated[int, Field(ge=0, le=36500)]


class RetentionSettings(Section):
    """How long what is kept, in days. What was not sent yet is never touched."""

    #: what a mail says: its bytes with all attachments, its subject, and what its sender gave with it
    body: Days = 0
    #: only its attachments: the mail stays readable, with a note where each of them was
    attachments: Days = 0
    #: only what a REST client gave (params, metadata); the mail itself stays readable
    params: Days = 0
    #: recipients' addresses, and the replies and reports that name them
    addresses: Days = 0
    #: the lines of timelines; the status stays
    events: Days = 0
    #: the message whole, with its status
    messages: Days = 0
    #: hourly statistics
    statistics: Days = 0
    #: lines of the audit log
    audit: Days = 400
