"""What Mailgun's answers mean. https://documentation.mailgun.com/docs/mailgun/api-reference/api-overview#errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome


def judge(answer: Answer) -> Outcome:
    """Errors are JSON with a message, but 401 is bare text; there is no Retry-After, the date is in the words."""
    said = answer.table
    words = str(said.get("message") or "") or None
    if answer.status == 200:
        if isinstance(said.get("id"), str):
            return outcomes.accepted(said["id"].strip("<>"))
        if "Magnificent" in answer.text:
            return outcomes.config("this address is Mailgun's, but not the one for sending")
    if answer.status == 400 and words and "not allowed to send" in words.lower():
        return outcomes.config(f"400 {words}")
    if answer.status == 402:
        return outcomes.retry(f"402 {words or answer.text}")
    if answer.status == 429:
        after = outcomes.retry_after(answer.headers)
        return outcomes.throttled(
            f"429 {words or answer.text}", outcomes.date_in(words or "") if after is None else after
        )
    return outcomes.by_status(answer, words)
