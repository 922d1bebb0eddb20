"""What the operator's own server answers. `providers/webhook/README.md`"""

from collections.abc import Mapping
from typing import Any

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome, Outgoing, Receipt


def judge(answer: Answer, mail: Outgoing) -> Receipt:
    """One outcome for all by status, or one for each by `results`."""
    results = answer.table.get("results")
    if 200 <= answer.status < 300 and isinstance(results, list) and len(results) == len(mail.recipients):
        return tuple(_one(one if isinstance(one, dict) else {}) for one in results)
    return (_whole(answer),) * len(mail.recipients)


def _whole(answer: Answer) -> Outcome:
    said = answer.table
    words = str(said.get("text") or "") or None
    if 200 <= answer.status < 300:
        ref = said.get("ref")
        return outcomes.accepted(str(ref) if ref else None, words or "taken")
    return outcomes.by_status(answer, words)


def _one(said: Mapping[str, Any]) -> Outcome:
    text = str(said.get("text") or "")
    after = said.get("retry_after")
    wait = float(after) if isinstance(after, int | float) and after >= 0 else None
    ref = said.get("ref")
    match said.get("outcome"):
        case "accepted":
            return outcomes.accepted(str(ref) if ref else None, text or "taken")
        case "rejected":
            return outcomes.rejected(text or "refused", "5.1.1")
        case "retry":
            return outcomes.retry(text or "not now", wait)
        case "throttled":
            return outcomes.throttled(text or "too fast", wait)
        case "config":
            return outcomes.config(text or "not served")
        case _:
            return outcomes.ambiguous(f"an outcome that does not exist: {said.get('outcome')!r}")
