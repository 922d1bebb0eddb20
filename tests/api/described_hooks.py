"""What schemathesis cannot know from a description: names of files in forms, and which times lie ahead."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    _ahead(case.body)
    files = kwargs.get("files")
    if isinstance(files, dict):
        files = list(files.items())
    if isinstance(files, list):
        kwargs["files"] = [_named(*one) for one in files]


def _named(name: str, content: Any) -> tuple[str, Any]:
    if name != "attachments":
        return name, content
    if isinstance(content, tuple):
        return name, ("note.txt", _plain(content[1]), *content[2:])
    return name, ("note.txt", _plain(content))


def _plain(content: Any) -> Any:
    """Octets that are recognisably of no other type: those that are may be refused by what they are."""
    if isinstance(content, bytes):
        return b"note " + content
    return f"note {content}" if isinstance(content, str) else content


def _ahead(body: Any) -> None:
    """Times that a description can call times, but not future ones."""
    if isinstance(body, dict):
        for name in ("expires_at", "send_at"):
            if isinstance(body.get(name), str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:", body[name]):
                body[name] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
