"""What Graph's answers mean. https://learn.microsoft.com/en-us/graph/errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_CONFIG = frozenset(
    {
        "ErrorAccessDenied",
        "ErrorSendAsDenied",
        "ErrorInvalidUser",
        "MailboxNotEnabledForRESTAPI",
        "InvalidAuthenticationToken",
    }
)
_THROTTLED = frozenset({"ErrorQuotaExceeded", "ApplicationThrottled", "ErrorExceededMessageLimit"})


def judge(answer: Answer) -> Outcome:
    """202 with nothing in it, not even an id."""
    if answer.status == 202:
        return outcomes.accepted(None, "taken by Microsoft Graph")
    error = answer.table.get("error")
    said = error if isinstance(error, dict) else {}
    code = str(said.get("code") or "")
    words = f"{code} {said.get('message') or ''}".strip() or None
    if code in _CONFIG:
        return outcomes.config(f"{answer.status} {words}", "5.7.8" if answer.status == 401 else "5.7.0")
    if code in _THROTTLED:
        return outcomes.throttled(f"{answer.status} {words}", outcomes.retry_after(answer.headers))
    return outcomes.by_status(answer, words)
