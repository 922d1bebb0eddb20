"""SES's words for bounces, which others have taken over. https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types"""

from relay.core.bounce import Bounce, BounceClass, BounceReason

_SUBTYPES = {
    "noemail": Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
    "suppressed": Bounce(BounceClass.HARD, BounceReason.SUPPRESSED),
    "onaccountsuppressionlist": Bounce(BounceClass.HARD, BounceReason.SUPPRESSED),
    "unsubscribedrecipient": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "mailboxfull": Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL),
    "messagetoolarge": Bounce(BounceClass.SOFT, BounceReason.TOO_LARGE),
    "contentrejected": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "attachmentrejected": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
}


def bounce_of(kind: str | None, subtype: str | None) -> Bounce:
    known = _SUBTYPES.get((subtype or "").lower())
    if known is not None:
        return known
    return Bounce(BounceClass.HARD if (kind or "").lower() == "permanent" else BounceClass.SOFT)
