"""Outcomes from the answers of HTTP APIs, in words and codes of mail."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply

_LONGEST = 300


class HttpAnswer(Protocol):
    """What this module wants to know of an answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def text(self) -> str: ...


def line(text: str) -> str:
    """One line, without what databases and terminals take amiss."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 10 * _LONGEST])
    return " ".join(printable.split())[:_LONGEST]


def accepted(ref: str | None, text: str = "taken") -> Outcome:
    return Outcome(
        OutcomeKind.ACCEPTED, Reply(250, "2.0.0", line(f"{text} as {ref}" if ref else text)), ref=ref
    )


def rejected(text: str, enhanced: str = "5.6.0") -> Outcome:
    return Outcome(
        OutcomeKind.REJECTED, Reply(550 if enhanced.startswith("5.1") else 554, enhanced, line(text))
    )


def retry(text: str, after: float | None = None) -> Outcome:
    return Outcome(OutcomeKind.RETRY, Reply(451, "4.4.1", line(text)), retry_after=after)


def throttled(text: str, after: float | None = None, scope: str = "account") -> Outcome:
    return Outcome(OutcomeKind.THROTTLED, Reply(451, "4.7.1", line(text)), retry_after=after, scope=scope)


def config(text: str, enhanced: str = "5.7.0") -> Outcome:
    return Outcome(OutcomeKind.CONFIG, Reply(554, enhanced, line(text)))


def ambiguous(text: str) -> Outcome:
    return Outcome(OutcomeKind.AMBIGUOUS, Reply(451, "4.4.2", line(text)))


#: answered after `aclose`
SHUT = Outcome(OutcomeKind.RETRY, Reply(451, "4.3.2", "the provider is being shut down"))


def by_status(answer: HttpAnswer, words: str | None = None) -> Outcome:
    """What a status means where the vendor's own code says nothing more exact (RFC 9110 15).

    A 2xx that the adapter could not read ends here as well: something took the mail, perhaps.
    """
    status = answer.status
    said = f"{status} {words or answer.text}".strip()
    if status == 429:
        return throttled(said, retry_after(answer.headers))
    if status in {408, 421, 425} or status >= 500:
        return retry(said, retry_after(answer.headers))
    if status in {401, 407}:
        return config(said, "5.7.8")
    if status in {402, 403, 404, 405, 406} or 300 <= status < 400:
        return config(said)
    if status == 413:
        return rejected(said, "5.3.4")
    if 200 <= status < 300:
        return ambiguous(f"an answer that cannot be read: {said}")
    return rejected(said)


# In the order of trust; the vendor's own names come after the standard's.
_WHEN = (
    "retry-after",
    "ratelimit-reset",
    "x-ratelimit-reset",
    "x-sib-ratelimit-reset",
    "x-apiquota-reset",
    "retry-after-ms",
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now, from whichever header says: a number of seconds, a moment since 1970, or a date."""
    for name in _WHEN:
        written = headers.get(name)
        if written:
            seconds = _seconds(written.strip())
            if seconds is not None:
                return seconds / 1000 if name.endswith("-ms") else seconds
    return None


def date_in(text: str) -> float | None:
    """Seconds until an RFC 5322 date somewhere in the words, as Mailgun has it."""
    found = re.search(r"(?:\w{3}, )?\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d (?:[+-]\d{4}|[A-Z]{3,4})", text)
    return _seconds(found[0]) if found else None


def _seconds(written: str) -> float | None:
    try:
        number = float(written)
    except ValueError:
        return _until(written)
    if number > 1e12:
        number /= 1000
    if number > 1e9:
        number -= time.time()
    return max(number, 0.0) if number < 1e9 else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        try:
            moment = datetime.fromisoformat(date)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
