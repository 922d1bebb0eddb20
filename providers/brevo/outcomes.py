"""What Brevo's answers mean. https://developers.brevo.com/docs/how-it-works#error-codes"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_CONFIG = frozenset({"unauthorized", "permission_denied", "not_enough_credits", "account_under_validation"})
#: An idempotency key came a second time, which has the first mail stand. Ours names one mail to one recipient.
#: https://developers.brevo.com/docs/heterogenous-versions-batch-emails
_TAKEN_BEFORE = "duplicate_parameter"


def judge(answer: Answer) -> Outcome:
    said = answer.table
    code = str(said.get("code") or "")
    words = f"{code} {said.get('message') or ''}".strip() or None
    if answer.status in {200, 201, 202} and isinstance(said.get("messageId"), str):
        return outcomes.accepted(said["messageId"].strip("<>"))
    if code == _TAKEN_BEFORE:
        return outcomes.accepted(None, "taken at an earlier try")
    if code in _CONFIG:
        return outcomes.config(f"{answer.status} {words}", "5.7.8" if code == "unauthorized" else "5.7.0")
    return outcomes.by_status(answer, words)
