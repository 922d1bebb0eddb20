"""The contract's objects as OpenAPI describes them; the routes themselves write and check plain objects."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.nomsa.fields import MAX_COPIES, MAX_SUBJECT, MAX_TAG
from api.nomsa.listing import MAX_LIMIT, STATUSES

Address = Annotated[str, Field(max_length=254, examples=["recipient@example.com"])]
StatusWord = Literal["UNSENT", "ACCEPTED", "SENT", "BOUNCED", "DELIVERED", "OPENED", "COMPLAINT"]
ClassificationWord = Literal["URGENT", "FOR_ACTION", "FOR_INFO"]


class Problem(BaseModel):
    """Every error: branch on `code`."""

    code: str
    message: str


class SendEmail(BaseModel):
    """An email to send."""

    model_config = ConfigDict(extra="forbid")

    recipient: Address
    subject: Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT)]
    body: Annotated[str, Field(min_length=1, description="HTML or plain text, sent as HTML; at most 1 MiB.")]
    from_: Annotated[
        str, Field(alias="from", max_length=255, examples=["Ministry <noreply@example.com>"])
    ] = ""
    reply_to: Address = ""
    cc: Annotated[list[Address], Field(max_length=MAX_COPIES)] = []
    bcc: Annotated[list[Address], Field(max_length=MAX_COPIES)] = []
    classification: Annotated[ClassificationWord, Field(description="URGENT mail overtakes all other.")] = (
        "FOR_INFO"
    )
    tag: Annotated[str, Field(min_length=1, max_length=MAX_TAG)] = ""
    disable_tracking: bool = False


class Params(BaseModel):
    """What the client gave."""

    body: str
    from_: Annotated[str, Field(alias="from")]
    subject: str
    reply_to: str | None = None


class Attachment(BaseModel):
    hash: Annotated[str, Field(description="MD5, in hexadecimal")]
    file_name: Annotated[str, Field(alias="fileName")]
    file_size: Annotated[int, Field(alias="fileSize", description="octets")]


class Email(BaseModel):
    """An email and what became of it."""

    id: Annotated[str, Field(pattern="^[0-9]+$")]
    from_: Annotated[str, Field(alias="from")]
    recipient: str
    params: Annotated[Params | None, Field(description="Left out when `exclude_params` was asked for.")] = (
        None
    )
    attachments_metadata: list[Attachment] | None
    status: StatusWord
    error_code: str | None
    error_sub_type: str | None
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    opened_at: datetime | None
    created_at: datetime
    updated_at: datetime
    classification: str | None
    tag: str | None
    cc: list[str]
    bcc: list[str]


class EmailPage(BaseModel):
    has_more: bool
    data: list[Email]


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_ISO = {"type": "string", "format": "date-time"}

LIST_PARAMETERS = [
    _query(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 10}, "Emails per page."
    ),
    _query("offset", {"type": "integer", "minimum": 0, "default": 0}, "Emails to skip."),
    _query("status", {"type": "string", "enum": list(STATUSES)}, "In any letter case."),
    _query("tag", {"type": "string", "minLength": 1, "maxLength": MAX_TAG}, "Exactly this tag."),
    _query("created_at[gt]", _ISO, "Created after; UTC where no zone is given."),
    _query("created_at[gte]", _ISO, "Created at or after."),
    _query("created_at[lt]", _ISO, "Created before."),
    _query("created_at[lte]", _ISO, "Created at or before."),
    _query(
        "sort_by",
        {"type": "string", "pattern": "^[+-]?(created_at|updated_at)$", "default": "created_at"},
        "`+` for ascending, `-` or nothing for descending.",
    ),
    _query("exclude_params", {"type": "boolean", "default": False}, "Leave `params` out."),
]

ID_PARAMETER = {
    "name": "email_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}
