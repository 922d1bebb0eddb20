"""The contract's objects as OpenAPI describes them; the routes themselves write and check plain objects."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.nomsa.fields import MAX_TAG
from api.nomsa.listing import MAX_LIMIT, STATUSES

StatusWord = Literal["UNSENT", "ACCEPTED", "SENT", "BOUNCED", "DELIVERED", "OPENED", "COMPLAINT"]


class Problem(BaseModel):
    """Every error: branch on `code`."""

    code: Annotated[str, Field(examples=["api_validation"])]
    message: Annotated[str, Field(examples=['"recipient" is required'])]


#: the body of an answer that is one, by its name in the description
PROBLEM = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}


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


_ISO = {
    "type": "string",
    "pattern": (
        "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
        "(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9])?)?$"
    ),
    "description": "A date or a date and time in ISO 8601.",
    "examples": ["2023-10-05", "2023-10-05T07:18:07.143Z"],
}

LIST_PARAMETERS = [
    _query(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 10}, "Emails per page."
    ),
    _query(
        "offset", {"type": "integer", "minimum": 0, "maximum": 2**53 - 1, "default": 0}, "Emails to skip."
    ),
    _query("status", {"type": "string", "enum": list(STATUSES)}, "In any letter case."),
    _query(
        "tag",
        {"type": "string", "minLength": 1, "maxLength": MAX_TAG, "pattern": r"^[^\u0000]+$"},
        "Exactly this tag.",
    ),
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
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}

#: what a key may look like; blanks within it too
KEY_PATTERN = "^[!-~]([ -~]{0,254}[!-~])?$"

SENT_LINKS = {
    "get_email": {"operationId": "get_email", "parameters": {"email_id": "$response.body#/id"}},
}

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sends with the same key are one: the first one's answer is given again for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": KEY_PATTERN},
}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer"}}


#: on every answer to an authenticated send, where there is a limit
RATE_HEADERS = {
    "X-RateLimit-Limit": _header("Sends per second."),
    "X-RateLimit-Remaining": _header("How many of them are left."),
    "X-RateLimit-Reset": _header("When they are given anew, in seconds since 1970."),
    "RateLimit-Limit": _header("Sends per second."),
    "RateLimit-Remaining": _header("How many of them are left."),
    "RateLimit-Reset": _header("In how many seconds they are given anew."),
}
RETRY_AFTER = {"Retry-After": _header("Seconds after which trying again makes sense.")}
