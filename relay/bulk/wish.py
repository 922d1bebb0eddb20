"""What the owner of a list wants done with it."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from relay.bulk.listfile import DELIMITERS, ENCODINGS, RECIPIENT
from relay.core.address import InvalidAddress, parse_mailbox
from relay.core.stream import is_name
from relay.templates import BadTemplate, Source, load
from relay.templates import render as templates


def _mailbox(written: str) -> str:
    try:
        box = parse_mailbox(written)
    except InvalidAddress as error:
        raise ValueError(str(error)) from None
    if not box.name.isprintable():
        raise ValueError("the display name has control characters")
    return written


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def _stream(written: str) -> str:
    if not is_name(written):
        raise ValueError("must be the name of a stream")
    return written


def _object(given: Any) -> Any:
    if isinstance(given, str):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            raise ValueError("must be an object as JSON") from None
    return given


def _columns(given: dict[str, str]) -> dict[str, str]:
    for variable in given:
        if variable != RECIPIENT and not templates.is_name(variable):
            raise ValueError(f"{variable[:64]!r} is no name for a variable")
    if len(set(given.values())) != len(given):
        raise ValueError("a column is named twice")
    return given


def _subject(written: str) -> str:
    try:
        load(Source(written, text="x"))
    except BadTemplate as error:
        raise ValueError(error.message) from None
    return written


def _delimiter(written: str) -> str:
    given = {"tab": "\t", "comma": ",", "semicolon": ";"}.get(written, written)
    if given not in DELIMITERS:
        raise ValueError("must be a comma, a semicolon, a tab or a bar")
    return given


def _moment(given: Any) -> Any:
    """A time with its zone, from a request's words or from the record."""
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            given = None
    if given is not None and (not isinstance(given, datetime) or given.tzinfo is None):
        given = None
    if given is None:
        raise ValueError("must be a time with its zone, such as 2030-01-31T12:00:00Z")
    return given.astimezone(UTC)


def _encoding(written: str) -> str:
    if written.lower() not in ENCODINGS:
        raise ValueError(f"must be one of {', '.join(ENCODINGS)}")
    return written.lower()


class Wish(BaseModel):
    """As a form's fields say it; kept with the batch."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)

    from_: Annotated[str, Field(alias="from", max_length=1000), AfterValidator(_mailbox)]
    reply_to: Annotated[str, Field(max_length=1000), AfterValidator(_mailbox)] | None = None
    #: instead of the template's; variables have their places here as well
    subject: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_subject)] | None = None
    stream: Annotated[str, AfterValidator(_stream)] = "bulk"
    tag: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_one_line)] | None = None
    #: columns of the list by the variable that they are, where they are called otherwise
    columns: Annotated[dict[str, str], BeforeValidator(_object), AfterValidator(_columns)] = Field(
        default_factory=dict
    )
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    #: whether an address gets one mail, however often it is in the list
    unique: bool = True
    validate_only: bool = False
    start: Literal["auto", "manual"] = "auto"
    disable_tracking: bool = False
    #: when a list that starts by itself does so; a time that has come is at once
    send_at: Annotated[datetime | None, BeforeValidator(_moment)] = None
    #: when its mail is of no use any more: what has not gone by then is dropped
    expires_at: Annotated[datetime | None, BeforeValidator(_moment)] = None

    @model_validator(mode="after")
    def _starts_once(self) -> "Wish":
        if self.send_at is not None and (self.start == "manual" or self.validate_only):
            raise ValueError("send_at is for a list that starts by itself")
        return self
