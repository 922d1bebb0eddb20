"""What Azure's answers mean. https://learn.microsoft.com/en-us/azure/communication-services/concepts/email/email-error-codes"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome


def judge(answer: Answer) -> Outcome:
    said = answer.table
    error = said.get("error")
    details = error if isinstance(error, dict) else {}
    words = f"{details.get('code') or ''} {details.get('message') or ''}".strip() or None
    if answer.status == 202 and isinstance(said.get("id"), str):
        if said.get("status") in {"Failed", "Canceled"}:
            return outcomes.rejected(words or str(said["status"]))
        return outcomes.accepted(said["id"])
    return outcomes.by_status(answer, words)
