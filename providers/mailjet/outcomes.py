"""What Mailjet's answers mean. https://dev.mailjet.com/email/guides/send-api-v31/#send-api-errors"""

from collections.abc import Mapping, Sequence
from typing import Any

from providers import outcomes
from providers.api import all_alike
from providers.http import Answer
from relay.core.provider import Outcome, Outgoing, Receipt

#: key suspended, not allowed; sender not allowed or not validated
_CONFIG = frozenset({"mj-0001", "mj-0015", "send-0006", "send-0007", "send-0008"})


def judge(answer: Answer, mails: Sequence[Outgoing]) -> list[Receipt]:
    """A list in the order of the mails, some of it errors whatever the status of the whole."""
    said = answer.table
    each = said.get("Messages")
    if isinstance(each, list) and len(each) == len(mails):
        return [(_one(answer, one if isinstance(one, dict) else {}),) for one in each]
    return all_alike(_failed(answer, said), mails)


def _one(answer: Answer, said: Mapping[str, Any]) -> Outcome:
    if said.get("Status") == "success":
        to = said.get("To")
        ref = to[0].get("MessageID") if isinstance(to, list) and to and isinstance(to[0], dict) else None
        return outcomes.accepted(str(ref) if ref is not None else None)
    errors = said.get("Errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return _failed(answer, errors[0])
    return outcomes.by_status(answer)


def _failed(answer: Answer, error: Mapping[str, Any]) -> Outcome:
    code = str(error.get("ErrorCode") or "")
    words = f"{code} {error.get('ErrorMessage') or ''}".strip() or None
    given = error.get("StatusCode")
    status = given if isinstance(given, int) else None
    if code in _CONFIG or (status in {401, 403} and code):
        return outcomes.config(words or "", "5.7.8" if status == 401 else "5.7.0")
    if status is not None and status >= 500:
        return outcomes.retry(words or str(status))
    if status == 429:
        return outcomes.throttled(words or "", outcomes.retry_after(answer.headers))
    if status is not None and 400 <= status < 500 and status not in {401, 403}:
        return outcomes.rejected(words or str(status))
    return outcomes.by_status(answer, words)
