"""What Gmail's answers mean. https://developers.google.com/workspace/gmail/api/guides/handle-errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_PACE = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_DAILY = frozenset({"dailyLimitExceeded", "quotaExceeded"})
#: seconds until a day's spent limit is looked at again
_DAILY_WAIT = 3_600.0


def judge(answer: Answer) -> Outcome:
    """The reason is in the list of errors; a 403 is a matter of pace as often as of permission."""
    said = answer.table
    if answer.status == 200 and isinstance(said.get("id"), str):
        return outcomes.accepted(said["id"])
    error = said.get("error")
    details = error if isinstance(error, dict) else {}
    errors = details.get("errors")
    reasons = (
        {str(one.get("reason")) for one in errors if isinstance(one, dict)}
        if isinstance(errors, list)
        else set()
    )
    words = " ".join((*sorted(reasons), str(details.get("message") or ""))).strip() or None
    after = outcomes.retry_after(answer.headers)
    if reasons & _DAILY:
        return outcomes.throttled(
            f"{answer.status} {words}", _DAILY_WAIT if after is None else after, "quota"
        )
    if reasons & _PACE:
        return outcomes.throttled(f"{answer.status} {words}", after)
    return outcomes.by_status(answer, words)
