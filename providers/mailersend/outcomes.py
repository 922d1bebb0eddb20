"""What MailerSend's answers mean. https://developers.mailersend.com/general.html#errors"""

import re
from collections.abc import Mapping
from typing import Any

from providers import outcomes
from providers.http import Answer
from relay.core.provider import Outcome

_CODE = re.compile(r"#?(MS\d{5})")
_CONFIG = frozenset({"MS42207", "MS42222", "MS42225"})  # domain not verified, limits of a trial
_QUOTA = frozenset({"MS42204", "MS42901"})
#: seconds until a spent quota is looked at again where no header says when it is renewed
_QUOTA_WAIT = 3_600.0


def judge(answer: Answer) -> Outcome:
    """202 with nothing in it and the id in a header; a warning with no id means that all were suppressed."""
    said = answer.table
    if answer.status == 202:
        identifier = answer.headers.get("x-message-id")
        if identifier is None and _suppressed(said):
            return outcomes.rejected("the recipient is on the provider's suppression list", "5.1.1")
        return outcomes.accepted(identifier)
    words = _words(said)
    found = _CODE.search(words or "")
    code = found[1] if found else ""
    if code in _CONFIG:
        return outcomes.config(f"{answer.status} {words}")
    if code in _QUOTA:
        after = outcomes.retry_after(answer.headers)
        return outcomes.throttled(
            f"{answer.status} {words}", _QUOTA_WAIT if after is None else after, "quota"
        )
    return outcomes.by_status(answer, words)


def _suppressed(said: Mapping[str, Any]) -> bool:
    warnings = said.get("warnings")
    return isinstance(warnings, list) and any(
        isinstance(one, dict) and one.get("type") == "ALL_SUPPRESSED" for one in warnings
    )


def _words(said: Mapping[str, Any]) -> str | None:
    errors = said.get("errors")
    details: list[str] = []
    if isinstance(errors, dict):
        for field, faults in errors.items():
            details += [f"{field}: {fault}" for fault in (faults if isinstance(faults, list) else [faults])]
    return "; ".join(details) or str(said.get("message") or "") or None
