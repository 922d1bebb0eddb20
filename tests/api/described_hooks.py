"""What schemathesis cannot know from a description: which files are allowed, and which times lie ahead."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st

_ALLOWED = (b"", b"%PDF-1.4\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a\1\0\1\0", b"{\\rtf1}")

# Octets that are recognisably of no other type: those that are may be refused by what they are.
schemathesis.openapi.format(
    "binary",
    st.one_of(st.sampled_from(_ALLOWED), st.binary(max_size=200).map(lambda octets: b"note " + octets)),
)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    _ahead(case.body)
    _in_order(case.body)


def _ahead(body: Any) -> None:
    """Times that a description can call times, but not future ones."""
    if isinstance(body, dict):
        for name in ("expires_at", "send_at"):
            if isinstance(body.get(name), str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:", body[name]):
                body[name] = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def _in_order(body: Any) -> None:
    """The bounds of a time, which no description can say the order of."""
    if isinstance(body, dict) and all(
        isinstance(body.get(name), str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:", body[name])
        for name in ("from", "before")
    ):
        end = datetime.now(UTC)
        body["from"], body["before"] = (end - timedelta(hours=1)).isoformat(), end.isoformat()
