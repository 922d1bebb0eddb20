"""What SparkPost's answers mean. https://developers.sparkpost.com/api/#header-errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_UNVERIFIED_DOMAIN = "7001"
#: seconds until a spent allowance of a day or month is looked at again
_ALLOWANCE_WAIT = 3_600.0
#: seconds, of the one to five that SparkPost advises
_PACE_WAIT = 5.0


def judge(answer: Answer) -> Outcome:
    said = answer.table
    results = said.get("results")
    if answer.status == 200 and isinstance(results, dict) and results.get("id"):
        if results.get("total_accepted_recipients") == 0:
            return outcomes.rejected("the recipient was not accepted", "5.1.1")
        return outcomes.accepted(str(results["id"]))
    errors = said.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = str(first.get("code") or "")
    words = " ".join(str(first[key]) for key in ("code", "message", "description") if first.get(key)) or None
    if code == _UNVERIFIED_DOMAIN:
        return outcomes.config(words or "")
    if answer.status == 420:
        wait = outcomes.retry_after(answer.headers) or _ALLOWANCE_WAIT
        return outcomes.throttled(f"420 {words or ''}", wait, scope="quota")
    if answer.status == 429:
        after = outcomes.retry_after(answer.headers)
        return outcomes.throttled(f"429 {words or ''}", _PACE_WAIT if after is None else after)
    return outcomes.by_status(answer, words)
