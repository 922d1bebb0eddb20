"""The fields of a send, checked in the contract's order and refused in its words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import orjson

from api.nomsa import extras
from api.nomsa.spool import Upload
from relay.core.address import InvalidAddress, Mailbox, normalise
from relay.core.errors import Refused, TooManyRecipients
from relay.core.status import Classification

#: cc and bcc together; with the primary recipient they make fifty
MAX_COPIES = 49
MAX_TAG = 255
MAX_FROM = 255
#: characters of a subject. The contract names no limit, but servers end a header block long before this.
MAX_SUBJECT = 65_536
#: copies looked at before the count alone is answered
_MAX_CHECKED = 1000

_KNOWN = frozenset({
    "recipient", "subject", "body", "from", "reply_to", "attachments", "classification", "tag", "cc", "bcc",
    "disable_tracking", "text", "metadata", "headers", "stream", "track",
    "send_at", "expires_at",
})  # fmt: skip
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fields:
    """A send as it was asked for. Addresses are in lower case; texts are as they came."""

    recipient: str
    subject: str
    body: str
    from_: Mailbox | None
    reply_to: str | None
    classification: Classification | None
    tag: str | None
    cc: list[str]
    bcc: list[str]
    disable_tracking: bool
    text: str | None
    metadata: dict[str, Any] | None
    headers: dict[str, str]
    stream: str | None
    track: dict[str, bool] | None
    send_at: datetime | None
    expires_at: datetime | None
    #: files of a form, or the objects of JSON
    attachments: list[Any]


def check(given: Mapping[str, Any], *, max_body: int) -> Fields:
    """Raises `Refused` at the first fault; fields nobody knows are told of last."""
    fields = Fields(
        recipient=_recipient(given),
        subject=_subject(given),
        body=_body(given, max_body),
        from_=_from(given),
        reply_to=_reply_to(given),
        **_labels(given),
        cc=_copies(given, "cc"),
        bcc=_copies(given, "bcc"),
        disable_tracking=_flag(given, "disable_tracking"),
        text=extras.text(given, max_body),
        metadata=extras.metadata(given),
        headers=extras.headers(given),
        stream=extras.stream(given),
        track=extras.track(given),
        send_at=(times := extras.times(given))[0],
        expires_at=times[1],
    )
    for name in given:
        if name not in _KNOWN:
            _refuse(name, "is not allowed")
    return fields


def check_count(fields: Fields) -> None:
    """Raises `TooManyRecipients`; told of after everything about the files."""
    if len(fields.cc) + len(fields.bcc) > MAX_COPIES:
        raise TooManyRecipients(f"Maximum of {MAX_COPIES + 1} recipients allowed")


def _refuse(name: str, reason: str) -> NoReturn:
    # A client's own field name is repeated to it, but not at any length.
    raise Refused(f'"{name[:100]}" {reason}')


def _text(given: Mapping[str, Any], name: str, *, trim: bool = False) -> str:
    value = given[name]
    if not isinstance(value, str):
        _refuse(name, "must be a string")
    if trim:
        value = value.strip()
    if not value:
        _refuse(name, "is not allowed to be empty")
    return value


def _address(name: str, value: str) -> str:
    try:
        return normalise(value.lower())
    except InvalidAddress:
        _refuse(name, "must be a valid email")


def _one_line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value or "\0" in value:
        _refuse(name, "must not contain line breaks or NUL")
    return value


def _recipient(given: Mapping[str, Any]) -> str:
    if "recipient" not in given:
        _refuse("recipient", "is required")
    return _address("recipient", _text(given, "recipient"))


def _subject(given: Mapping[str, Any]) -> str:
    if "subject" not in given:
        _refuse("subject", "is required")
    subject = _text(given, "subject")
    if "\0" in subject:
        _refuse("subject", "must not contain NUL")
    if len(subject) > MAX_SUBJECT:
        _refuse("subject", f"length must be less than or equal to {MAX_SUBJECT} characters long")
    return subject


def _body(given: Mapping[str, Any], max_body: int) -> str:
    body = given.get("body")
    if (
        not isinstance(body, str)
        or not body
        or len(body) > max_body
        or (not body.isascii() and len(body.encode()) > max_body)
    ):
        raise Refused(
            "body is a required string whose size must be less than or equal to "
            f"{max_body / _MIB:g}MB in UTF-8 encoding"
        )
    if "\0" in body:
        _refuse("body", "must not contain NUL")
    return body


def _from(given: Mapping[str, Any]) -> Mailbox | None:
    if "from" not in given:
        return None
    value = _one_line("from", _text(given, "from", trim=True))
    if len(value) > MAX_FROM:
        _refuse("from", f"length must be less than or equal to {MAX_FROM} characters long")
    if not value.endswith(">"):
        return Mailbox("", _address("from", value))
    # The name is free text, commas and brackets included; it is quoted when it is written into the mail.
    name, _, address = value[:-1].rpartition("<")
    name = name.strip()
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('\\"', '"').strip()
    return Mailbox(name, _address("from", address.strip()))


def _reply_to(given: Mapping[str, Any]) -> str | None:
    if "reply_to" not in given:
        return None
    return _address("reply_to", _text(given, "reply_to", trim=True))


def _labels(given: Mapping[str, Any]) -> dict[str, Any]:
    attachments = _attachments(given)
    classification: Classification | None = None
    if "classification" in given:
        value = given["classification"]
        word = value.upper() if isinstance(value, str) else ""
        if word not in Classification.__members__:
            _refuse("classification", f"must be one of [{', '.join(Classification)}]")
        classification = Classification(word)
    tag: str | None = None
    if "tag" in given:
        tag = _one_line("tag", _text(given, "tag"))
        if len(tag) > MAX_TAG:
            _refuse("tag", f"length must be less than or equal to {MAX_TAG} characters long")
    return {"attachments": attachments, "classification": classification, "tag": tag}


def _attachments(given: Mapping[str, Any]) -> list[Any]:
    """Only the shape is a matter of this order; the files themselves are told of after all fields."""
    if "attachments" not in given:
        return []
    files = given["attachments"]
    if not isinstance(files, list):
        _refuse("attachments", "must be an array")
    if not files:
        _refuse("attachments", "must contain at least 1 items")
    for index, item in enumerate(files):
        if not isinstance(item, dict | Upload):
            _refuse(f"attachments[{index}]", "must be of type object")
    return files


def _copies(given: Mapping[str, Any], name: str) -> list[str]:
    if name not in given:
        return []
    value = given[name]
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, list):
        _refuse(name, f"failed custom validation because {name} must be a valid array or stringified array.")
    if len(value) > _MAX_CHECKED:
        raise TooManyRecipients(f"Maximum of {MAX_COPIES + 1} recipients allowed")
    addresses: list[str] = []
    for index, item in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(item, str):
            _refuse(place, "must be a string")
        addresses.append(_address(place, item.strip()))
    seen: set[str] = set()
    for index, address in enumerate(addresses):
        if address in seen:
            _refuse(f"{name}[{index}]", "contains a duplicate value")
        seen.add(address)
    return addresses


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        _refuse(name, "must be a boolean")
    return value
