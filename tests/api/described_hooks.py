"""What schemathesis cannot know from a description: a file in a form has a name, and the name an extension."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(_context: Any, _case: Any, kwargs: dict[str, Any]) -> None:
    files = kwargs.get("files")
    if isinstance(files, dict):
        files = list(files.items())
    if isinstance(files, list):
        kwargs["files"] = [_named(*one) for one in files]


def _named(name: str, content: Any) -> tuple[str, Any]:
    if name != "attachments":
        return name, content
    return name, ("note.txt", *content[1:]) if isinstance(content, tuple) else ("note.txt", content)
