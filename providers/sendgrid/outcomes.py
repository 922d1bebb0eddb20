"""What SendGrid's answers mean. https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome


def judge(answer: Answer) -> Outcome:
    """202 with nothing in it; 200 is the sandbox, which sends nothing."""
    if answer.status in {200, 202}:
        return outcomes.accepted(answer.headers.get("x-message-id"))
    errors = answer.table.get("errors")
    words = None
    if isinstance(errors, list):
        words = "; ".join(str(one.get("message")) for one in errors if isinstance(one, dict)) or None
    return outcomes.by_status(answer, words)
