"""What Mailtrap's answers mean. https://api-docs.mailtrap.io/docs/mailtrap-api-docs/67f1d70aeb62c-send-email"""

from collections.abc import Mapping, Sequence
from typing import Any

from providers import outcomes
from providers.api import all_alike
from providers.http import Answer
from relay.core.provider import Outcome, Outgoing, Receipt


def judge(answer: Answer) -> Outcome:
    if answer.status == 200 and answer.table.get("success") is True:
        return _taken(answer.table)
    return outcomes.by_status(answer, _words(answer.table))


def judge_batch(answer: Answer, mails: Sequence[Outgoing]) -> list[Receipt]:
    """200 with a list in the order of the mails, each a success or not."""
    each = answer.table.get("responses")
    if answer.status == 200 and isinstance(each, list) and len(each) == len(mails):
        return [(_one(said if isinstance(said, dict) else {}),) for said in each]
    return all_alike(outcomes.by_status(answer, _words(answer.table)), mails)


def _one(said: Mapping[str, Any]) -> Outcome:
    if said.get("success") is True:
        return _taken(said)
    if said.get("success") is False:
        return outcomes.rejected(_words(said) or "refused")
    return outcomes.ambiguous("an answer that cannot be read")


def _taken(said: Mapping[str, Any]) -> Outcome:
    ids = said.get("message_ids")
    return outcomes.accepted(str(ids[0]) if isinstance(ids, list) and ids else None)


def _words(said: Mapping[str, Any]) -> str | None:
    errors = said.get("errors")
    if isinstance(errors, list):
        return "; ".join(str(one) for one in errors) or None
    return str(errors) if errors else None
