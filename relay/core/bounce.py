"""Why mail did not arrive: classes and reasons from closed lists, whoever reported it and in whatever words."""

from dataclasses import dataclass
from enum import StrEnum


class BounceClass(StrEnum):
    """What a bounce says about writing to the address again."""

    HARD = "hard"  #: there is no such mailbox; it is suppressed
    SOFT = "soft"  #: this mail did not arrive; another may
    BLOCK = "block"  #: the sender, its address or the content was refused, not the recipient


class BounceReason(StrEnum):
    """What was wrong, as far as it can be told."""

    NO_SUCH_USER = "no_such_user"  #: no such mailbox
    NO_SUCH_DOMAIN = "no_such_domain"  #: the domain does not exist, or takes no mail
    INACTIVE = "inactive"  #: the mailbox is disabled or abandoned
    MAILBOX_FULL = "mailbox_full"  #: over its quota
    TOO_LARGE = "too_large"  #: larger than the recipient's server takes
    SPAM = "spam"  #: the content looked like spam, or carried something forbidden
    REPUTATION = "reputation"  #: the sending address, domain or network is on a list
    AUTHENTICATION = "authentication"  #: SPF, DKIM, DMARC, reverse DNS
    POLICY = "policy"  #: refused by a rule of the recipient's
    RATE = "rate"  #: too much at once
    RELAYING = "relaying"  #: the server does not take mail for the recipient
    UNREACHABLE = "unreachable"  #: no connection, no answer, no route
    EXPIRED = "expired"  #: tried for long enough
    LOOP = "loop"  #: too many hops, or back where it came from
    PROTOCOL = "protocol"  #: the servers did not understand one another
    SUPPRESSED = "suppressed"  #: the provider does not write to this address any more
    OTHER = "other"  #: not said, or none of these


@dataclass(frozen=True, slots=True)
class Bounce:
    """The class and reason of one bounce."""

    kind: BounceClass
    reason: BounceReason = BounceReason.OTHER
