"""What Resend's answers mean. https://resend.com/docs/api-reference/errors"""

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_QUOTA = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})
#: seconds until a spent quota is looked at again; Resend does not say when it is renewed
_QUOTA_WAIT = 3_600.0


def judge(answer: Answer) -> Outcome:
    said = answer.table
    name = str(said.get("name") or "")
    words = f"{name} {said.get('message') or ''}".strip() or None
    if answer.status == 200 and isinstance(said.get("id"), str):
        return outcomes.accepted(said["id"])
    if answer.status == 429 and name in _QUOTA:
        after = outcomes.retry_after(answer.headers) or _QUOTA_WAIT
        return outcomes.throttled(f"429 {words}", after, scope="quota")
    if answer.status == 409 and name == "concurrent_idempotent_requests":
        return outcomes.retry(f"409 {words}", 2)
    if answer.status == 409:
        # The key was used for other content: what was sent under it is not this mail, so this one was not sent.
        return outcomes.rejected(f"409 {words}")
    # 403 also carries `validation_error`, for a domain not verified: for the operator, unlike the 400 of that name.
    return outcomes.by_status(answer, words)
