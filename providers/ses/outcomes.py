"""What SES's answers mean. https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#API_SendEmail_Errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_CONFIG = (
    "AccessDenied",
    "AccountSuspended",
    "ExpiredToken",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignature",
    "MailFromDomainNotVerified",
    "MissingAuthenticationToken",
    "NotFound",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SendingPaused",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
)
_THROTTLED = ("TooManyRequests", "LimitExceeded", "Throttling", "Throttled")
_LATER = ("InternalFailure", "InternalServer", "ServiceUnavailable")
#: seconds between tries once the day's quota is spent, as Amazon advises
_DAILY = 600.0


def judge(answer: Answer) -> Outcome:
    """The error's type is in a header or in the body, sometimes with a namespace before it or a URL after."""
    said = answer.table
    if answer.status == 200 and isinstance(said.get("MessageId"), str):
        return outcomes.accepted(said["MessageId"])
    kind = str(answer.headers.get("x-amzn-errortype") or said.get("__type") or "")
    kind = kind.partition(":")[0].rpartition("#")[2]
    message = str(said.get("message") or said.get("Message") or "")
    words = f"{kind} {message}".strip() or None
    if kind.startswith(_THROTTLED):
        daily = "daily" in message.lower()
        after = outcomes.retry_after(answer.headers)
        return outcomes.throttled(
            words or "", _DAILY if daily and after is None else after, "quota" if daily else "account"
        )
    if kind.startswith(_CONFIG) or (kind == "MessageRejected" and "not verified" in message.lower()):
        return outcomes.config(words or "", "5.7.8" if "Signature" in kind or "Token" in kind else "5.7.0")
    if kind.startswith(_LATER):
        return outcomes.retry(words or "")
    if kind in {"MessageRejected", "BadRequestException"}:
        return outcomes.rejected(words or "")
    return outcomes.by_status(answer, words)


def quota(answer: Answer, region: str) -> str:
    """One line about the account. https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html"""
    said = answer.table
    limits = said.get("SendQuota") or {}
    day = limits.get("Max24HourSend", 0)
    most = "any number" if day == -1 else f"{day:g}"
    used, rate = limits.get("SentLast24Hours", 0), limits.get("MaxSendRate", 0)
    words = [f"{region}: {used:g} sent of {most} a day, {rate:g} a second"]
    if not said.get("SendingEnabled", True):
        words.append("sending is paused")
    if not said.get("ProductionAccessEnabled", True):
        words.append("in the sandbox: verified recipients only")
    return ", ".join(words)
