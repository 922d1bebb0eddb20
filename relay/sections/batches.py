"""Settings of recipient-list sends."""

from typing import Annotated

from pydantic import Field

from relay.sections.base import MIB, Bytes, Section


class BatchSettings(Section):
    """Sends of one template to a list of recipients."""

    max_list: Bytes = 256 * MIB  #: octets of one list
    #: mails of one account that may wait in the bulk lane before its lists go on
    max_waiting: int = Field(default=5000, ge=1)
    group: Annotated[int, Field(ge=1, le=500)] = 100  #: rows made into mail in one transaction
    #: a list halts by itself once more than so many of its mails bounced for good …
    halt_after: int = Field(default=10, ge=0)
    #: … and these are more than this share of those of which something is known
    halt_share: float = Field(default=0.1, ge=0, le=1)
