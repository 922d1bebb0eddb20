"""What Postmark's answers mean. https://postmarkapp.com/developer/api/overview#error-codes"""

from collections.abc import Mapping, Sequence
from typing import Any

from providers import outcomes
from providers.api import all_alike
from providers.http import Answer
from relay.core.provider import Outcome, Outgoing, Receipt

_CONFIG = frozenset({10, 400, 401, 405, 412, 413})  # token, sender signature, credits, account
_INACTIVE = 406
_BAD_ADDRESS = 300
_MAINTENANCE = 100


def judge(answer: Answer) -> Outcome:
    """The answer to a single mail."""
    said = answer.table
    if "ErrorCode" in said and (answer.status in {200, 422} or said["ErrorCode"] == 10):
        return _by_code(said)
    return outcomes.by_status(answer, str(said.get("Message") or "") or None)


def judge_batch(answer: Answer, mails: Sequence[Outgoing]) -> list[Receipt]:
    """200 with a list in the order of the mails, each with a code of its own."""
    said = answer.data
    if answer.status == 200 and isinstance(said, list) and len(said) == len(mails):
        return [(_by_code(one if isinstance(one, dict) else {}),) for one in said]
    return all_alike(judge(answer), mails)


def _by_code(said: Mapping[str, Any]) -> Outcome:
    given = said.get("ErrorCode")
    code = given if isinstance(given, int) else None
    words = f"{code} {said.get('Message') or ''}".strip()
    if code == 0:
        return outcomes.accepted(str(said.get("MessageID") or "") or None, str(said.get("Message") or "OK"))
    if code in _CONFIG:
        return outcomes.config(words)
    if code == _MAINTENANCE:
        return outcomes.retry(words)
    if code == _INACTIVE:
        return outcomes.rejected(words, "5.1.1")
    if code == _BAD_ADDRESS:
        return outcomes.rejected(words, "5.1.3")
    if code is None:
        return outcomes.ambiguous("an answer without an error code")
    return outcomes.rejected(words)
