"""What schemathesis cannot know from a description: which files are allowed, and which times lie ahead."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
_ALLOWED = (b"", b"%PDF-1.4\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a\1\0\1\0", b"{\\rtf1}")

# Octets that are recognisably of no other type: those that are may be refused by what they are.
schemathesis.openapi.format(
    "binary",
    st.one_of(st.sampled_from(_ALLOWED), st.binary(max_size=200).map(lambda octets: b"note " + octets)),
)


#: patterns of what is typical, and the names of what has one
_TYPICAL: set[str] = set()
_NAMES: set[str] = set()


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    _take_typical(raw_schema, "")


def _take_typical(node: Any, name: str) -> None:
    """Have what is typical made, as if nothing else were allowed."""
    if isinstance(node, list):
        for inner in node:
            _take_typical(inner, name)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("x-typical"), str):
        node["pattern"] = node.pop("x-typical")
        _TYPICAL.add(node["pattern"])
        _NAMES.add(name)
    for key, inner in node.items():
        if key == "properties":
            for one, schema in inner.items():
                _take_typical(schema, one)
        else:
            _take_typical(inner, str(node.get("name", name)) if key == "schema" else name)


#: what another call has done, and what no schema can rule out at any depth
_REFUSED = (
    "Recipient email is blacklisted",
    "Variables must not contain NUL.",
    "There is no template ",
    "there is no provider ",
)


#: How schemathesis describes what it made without a fault. Where `before_call` has put a time into a form, it judges
#: the form once more, finds files where the description has text, and takes it for one with a fault.
_GOOD = "Positive test case"


@schemathesis.hook
def filter_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether it is one: what is not typical may be taken, and some of what is described refused."""
    if isinstance(failure, RejectedPositiveData):
        return not any(words in response.text for words in _REFUSED)
    if not isinstance(failure, AcceptedNegativeData):
        return True
    made = case.meta.phase.data
    if made.description == _GOOD:
        return False
    mutations = getattr(made, "mutations", ())
    if not mutations:
        return not any(one in (made.description or "") for one in _TYPICAL)
    return not all(
        "pattern" in one.keywords and _NAMES & {one.parameter, *one.schema_pointer.split("/")}
        for one in mutations
    )


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    _ahead(case.body)
    _in_order(case.body)
    _in_order(case.query)
    _awake(case.body)
    if case.path.startswith("/v1/queue/"):
        _of_someone(case.body)
    if case.path == "/v1/templates/{id}/test":
        _there(case.body)


def _is_time(written: Any) -> bool:
    """Whether it is one of RFC 3339: one that is broken on purpose stays so."""
    if not isinstance(written, str) or not _TIME.match(written):
        return False
    try:
        datetime.fromisoformat(written)
    except ValueError:
        return False
    return True


def _ahead(body: Any) -> None:
    """Times that a description can call times, but not future ones."""
    if isinstance(body, dict):
        for days, name in enumerate(("send_at", "expires_at"), 1):
            if _is_time(body.get(name)):
                body[name] = (datetime.now(UTC) + timedelta(days=days)).isoformat()


def _in_order(asked: Any) -> None:
    """The bounds of a time, which no description can say the order of, nor how far apart they may be."""
    if isinstance(asked, dict) and _is_time(asked.get("from")):
        end = datetime.now(UTC)
        if _is_time(asked.get("before")):
            asked["before"] = end.isoformat()
        asked["from"] = (end - timedelta(hours=1)).isoformat()


def _awake(body: Any) -> None:
    """Quiet hours that end when they begin would be a whole day or none, and are refused."""
    quiet = body.get("quiet") if isinstance(body, dict) else None
    if isinstance(quiet, dict) and "to" in quiet and quiet.get("from") == quiet["to"]:
        quiet["to"] = "07:00" if quiet["to"] != "07:00" else "08:00"


def _there(body: Any) -> None:
    """A template's version: a number says nothing of whether there is one, and a new template has the first alone."""
    if isinstance(body, dict) and type(body.get("version")) is int and body["version"] > 1:
        body["version"] = 1


def _of_someone(body: Any) -> None:
    """Whom an action is about, where it says nobody: that is refused, and nulls in a filter say nothing either."""
    if isinstance(body, dict):
        asked = body.get("filter")
        conditions = [*asked.values()] if isinstance(asked, dict) else [asked]
        names = [body.get(name, []) for name in ("message_ids", "recipient_ids")]
        if names == [[], []] and not any(one is not None for one in conditions):
            body["message_ids"] = ["1"]
