"""What Brevo's answers mean. https://developers.brevo.com/docs/how-it-works#error-codes"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_CONFIG = frozenset({"unauthorized", "permission_denied", "not_enough_credits", "account_under_validation"})


def judge(answer: Answer) -> Outcome:
    said = answer.table
    code = str(said.get("code") or "")
    words = f"{code} {said.get('message') or ''}".strip() or None
    if answer.status in {200, 201, 202} and isinstance(said.get("messageId"), str):
        return outcomes.accepted(said["messageId"].strip("<>"))
    if code in _CONFIG:
        return outcomes.config(f"{answer.status} {words}", "5.7.8" if code == "unauthorized" else "5.7.0")
    return outcomes.by_status(answer, words)
