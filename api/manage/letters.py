"""POST /v1/messages as JSON: fields in, a mail out, for any number of recipients."""

import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from api.manage.asking import BOX_PATTERN, Asked, Line, Moment, described
from api.manage.describe import inlined
from api.nomsa import attachments, extras
from api.nomsa.request import HEADERS, METADATA, TEMPLATED, file_schema
from api.nomsa.spool import Spool
from relay import policy
from relay.core.address import InvalidAddress, normalise, parse_mailbox
from relay.core.clock import now
from relay.core.compose import Letter, compose
from relay.core.errors import Refused
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient, RecipientKind, Submission
from relay.core.status import Classification, Door
from relay.core.stream import is_name
from relay.core.timing import LATEST, fault
from relay.sections import ApiSettings, AttachmentSettings

MAX_RECIPIENTS = 100
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}\Z")


def _mailbox(written: str) -> str:
    try:
        box = parse_mailbox(written)
    except InvalidAddress as error:
        raise ValueError(str(error)) from None
    if not box.name.isprintable():
        raise ValueError("the display name has control characters")
    return written


def _content_id(written: str) -> str:
    if not _CONTENT_ID.match(written):
        raise ValueError("must be 1 to 200 characters of a message id, without angle brackets")
    return written


def _stream(written: str) -> str:
    if not is_name(written):
        raise ValueError("must be the name of a stream")
    return written


def _many(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


Box = Annotated[
    str,
    Field(max_length=1000, examples=["Ada <ada@example.org>"]),
    AfterValidator(_mailbox),
    described(BOX_PATTERN),
]
Boxes = Annotated[list[Box], Field(max_length=MAX_RECIPIENTS), BeforeValidator(_many)]
Body = Annotated[str, Field(min_length=1), AfterValidator(_no_nul), described(r"^[^\u0000]+$")]


class NewFile(Asked):
    filename: Annotated[Line, Field(min_length=1, max_length=255)]
    content: Annotated[str, Field(description="base64")]
    content_type: Annotated[
        Line | None, Field(max_length=255, description="Ignored: the name decides what readers are told.")
    ] = None
    content_id: Annotated[
        Annotated[str, AfterValidator(_content_id), described("^[A-Za-z0-9.@_+-]{1,200}$")] | None,
        Field(description="For `cid:` in the HTML."),
    ] = None


def described_files(settings: AttachmentSettings) -> dict[str, dict[str, Any]]:
    """What a description has to say of files, which depends on the settings."""
    file = file_schema(settings)
    beyond = inlined(NewFile)["properties"]
    file["properties"] |= {name: beyond[name] for name in ("content_type", "content_id")}
    return {NewFile.__name__: file}


class Track(Asked):
    """What is tracked, whatever the stream and the key say; either may be left out."""

    opens: bool | None = None
    clicks: bool | None = None


def _or_from_a_template(schema: dict[str, Any]) -> None:
    """`api.filling` puts what a template says in its place, so the model itself has no such fields."""
    written = {**schema, "anyOf": [_with(name) for name in ("html", "text")]}
    filled = {
        **schema,
        "properties": TEMPLATED
        | {
            name: one for name, one in schema["properties"].items() if name not in {"subject", "html", "text"}
        },
        "required": ["template", *(name for name in schema["required"] if name != "subject")],
        "description": "The same mail, made from a template.",
    }
    schema.clear()
    schema["anyOf"] = [written, filled]


def _with(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string"}}}


class NewMessage(Asked):
    """A mail for everybody in `to`, `cc` and `bcc`, each of whom has a state of their own."""

    model_config = ConfigDict(json_schema_extra=_or_from_a_template)

    from_: Annotated[Box, Field(alias="from")]
    to: Annotated[Boxes, Field(min_length=1)]
    cc: Boxes = Field(default_factory=list)
    bcc: Boxes = Field(default_factory=list)
    reply_to: Box | None = None
    subject: Annotated[Line, Field(max_length=2000)]
    html: Body | None = None
    text: Body | None = None
    attachments: Annotated[list[NewFile], Field(max_length=100)] = Field(default_factory=list)
    headers: Annotated[dict[str, str], WithJsonSchema(HEADERS)] = Field(default_factory=dict)
    metadata: Annotated[dict[str, Any], WithJsonSchema(METADATA)] = Field(default_factory=dict)
    tag: Annotated[Line | None, Field(min_length=1, max_length=255)] = None
    classification: Annotated[Classification | None, Field(strict=False)] = None
    send_at: Annotated[Moment | None, Field(description=f"At most {LATEST.days} days ahead.")] = None
    expires_at: Annotated[
        Moment | None, Field(description="What has not gone by then is dropped, UNSENT, and not sent late.")
    ] = None
    disable_tracking: bool = False
    track: Track | None = None
    stream: Annotated[
        Annotated[str, AfterValidator(_stream), described("^transactional$|^bulk$")] | None,
        Field(description="The kind of mail, also one of the account's own; left out: transactional."),
    ] = None

    @model_validator(mode="after")
    def _has_a_body(self) -> "NewMessage":
        if self.html is None and self.text is None:
            raise ValueError('one of "html" and "text" is required')
        return self


def described_parts(settings: AttachmentSettings) -> dict[str, dict[str, Any]]:
    """The same for messages that are parts of a batch: a wrong one does not make the whole wrong."""
    good = inlined(NewMessage, described_files(settings))
    return {
        NewMessage.__name__: {
            "anyOf": [good, {"description": "Refused by itself, in its place among the results."}],
        }
    }


def build(asked: NewMessage, identity: Identity, spool: Spool, settings: ApiSettings) -> Submission:
    """What is asked for as a mail. Raises a `Refused` that names the field; files are put into `spool`."""
    author = parse_mailbox(asked.from_)
    policy.check_sender(identity, author.address)
    for name in ("html", "text"):
        body = getattr(asked, name)
        if body is not None and len(body.encode("utf-8", "replace")) > settings.max_body:
            _refuse(name, f"must be at most {settings.max_body} bytes in UTF-8 encoding")
    send_at = due(asked.send_at, asked.expires_at)
    recipients = _envelope(asked)
    given = asked.model_dump(include={"headers", "metadata"}, exclude_defaults=True)
    headers, metadata = extras.headers(given), extras.metadata(given)
    items = [one.model_dump(include={"filename", "content"}) for one in asked.attachments]
    uploads = attachments.decode(items, spool, settings.attachments)
    attachments.check_size(uploads, settings.attachments)
    attachments.check_type(uploads, settings.attachments)
    files = [
        replace(file, content_id=one.content_id)
        for file, one in zip(attachments.files(uploads), asked.attachments, strict=True)
    ]
    cc = [parse_mailbox(written) for written in asked.cc]
    reply_to = parse_mailbox(asked.reply_to).address if asked.reply_to else None
    try:
        head, tail = compose(
            Letter(
                from_=author,
                to=[parse_mailbox(written) for written in asked.to],
                subject=asked.subject,
                html=asked.html,
                cc=cc,
                reply_to=reply_to,
                text=asked.text,
                headers=headers,
                files=files,
            ),
            now(),
        )
    except (ValueError, binascii.Error) as error:
        raise Refused(str(error)) from None
    return Submission(
        account_id=identity.account_id,
        key_id=identity.key_id,
        track=identity.track,
        door=Door.REST,
        sender=author.address,
        recipients=recipients,
        head=head,
        tail=tail,
        from_=str(author),
        subject=asked.subject,
        reply_to=reply_to,
        tag=asked.tag,
        classification=asked.classification,
        metadata=metadata,
        attachments=attachments.metadata(uploads),
        smtputf8=not (head.isascii() and all(one.address.isascii() for one in recipients)),
        send_at=send_at,
        expires_at=asked.expires_at,
        options=extras.options(
            stream=asked.stream,
            track=asked.track.model_dump(exclude_none=True) if asked.track else None,
            disable_tracking=asked.disable_tracking,
        ),
    )


def due(send_at: datetime | None, expires_at: datetime | None) -> datetime | None:
    """When to send; None for at once. Raises `Refused` for times that cannot be."""
    moment = now()
    if send_at is not None and send_at <= moment:
        send_at = None
    wrong = fault(send_at, expires_at, moment)
    if wrong is not None:
        _refuse(*wrong)
    return send_at


def envelope(kinds: Iterable[tuple[RecipientKind, Sequence[str]]]) -> list[EnvelopeRecipient]:
    """Every address once, whatever it was named as. Raises `Refused` for too many."""
    found: dict[str, EnvelopeRecipient] = {}
    for kind, addresses in kinds:
        for address in addresses:
            found.setdefault(normalise(address), EnvelopeRecipient(normalise(address), kind))
    if len(found) > MAX_RECIPIENTS:
        raise Refused(f"A message has at most {MAX_RECIPIENTS} recipients; send the rest in another one")
    return list(found.values())


def _envelope(asked: NewMessage) -> list[EnvelopeRecipient]:
    return envelope(
        (kind, [parse_mailbox(written).address for written in boxes])
        for kind, boxes in (
            (RecipientKind.TO, asked.to),
            (RecipientKind.CC, asked.cc),
            (RecipientKind.BCC, asked.bcc),
        )
    )


def _refuse(name: str, reason: str) -> NoReturn:
    raise Refused(f'"{name}" {reason}')
