"""A send's body as OpenAPI describes it: JSON and both forms, with patterns as narrow as what is really taken."""

from typing import Any

from api.nomsa.extras import MAX_HEADER, MAX_HEADERS, MAX_METADATA_KEYS
from api.nomsa.fields import MAX_COPIES, MAX_FROM, MAX_SUBJECT, MAX_TAG
from relay.core.status import Classification
from relay.sections import AttachmentSettings

# International and quoted addresses are taken too; a pattern with all of them would say less to a reader.
_ATOM = "[A-Za-z0-9_+=-]{1,20}"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM}){{0,2}}@[A-Za-z0-9]{{1,20}}(?:\.[A-Za-z0-9]{{1,20}}){{0,4}}"
_LINE = r"[^\r\n\u0000]*"

ADDRESS = {
    "type": "string",
    "pattern": f"^{_ADDRESS}$",
    "maxLength": 254,
    "description": "A bare address; international and quoted ones are taken too.",
    "examples": ["recipient@example.com"],
}


def _text(pattern: str, most: int | None, description: str, **more: Any) -> dict[str, Any]:
    """A bound of many thousands is said in words: readers of descriptions choke on it together with a pattern."""
    return {
        "type": "string",
        "minLength": 1,
        **({} if most is None else {"maxLength": most}),
        "pattern": pattern,
        "description": description,
        **more,
    }


_SOME = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_COPIES = {
    "type": "array",
    "items": ADDRESS,
    "maxItems": MAX_COPIES,
    "uniqueItems": True,
    "description": f"With the other copies at most {MAX_COPIES} addresses. Suppressed ones are left out.",
}
_FORM_COPIES = {
    "anyOf": [
        {
            "type": "string",
            "contentMediaType": "application/json",
            "pattern": r'^\[(?:"[a-z0-9]{1,20}@[a-z0-9]{1,20}\.example")?\]$',
            "description": "An array as JSON.",
        },
        {**_COPIES, "minItems": 2},
    ],
    "description": "The field repeated, or once with an array as JSON text.",
}
_SCALAR = {
    "anyOf": [
        {"type": "string", "maxLength": 500, "pattern": r"^[^\u0000]*$"},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
    ]
}
METADATA = {
    "type": "object",
    "maxProperties": MAX_METADATA_KEYS,
    "propertyNames": {"pattern": r"^[^\u0000-\u001f\u007f]{1,64}$"},
    "additionalProperties": _SCALAR,
    "description": "Kept with the message and shown by `GET /v1/messages/{id}`; 4 KiB as JSON at most.",
}
_PLAIN_HEADER = {
    "type": "string",
    "pattern": r"^[^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*$",
    "maxLength": MAX_HEADER,
}
_STRUCTURED_HEADER = {"type": "string", "pattern": r"^[!-~](?:[ !-~]*[!-~])?$", "maxLength": 900}
_NAMES = "Auto-Submitted|Precedence|Importance|Priority|Feedback-ID|Organization|Comments|Keywords"
HEADERS = {
    "type": "object",
    "maxProperties": MAX_HEADERS,
    "patternProperties": {
        r"^X-[A-Za-z0-9-]{1,70}$": _PLAIN_HEADER,
        f"^(?:{_NAMES})$": _PLAIN_HEADER,
        r"^(?:List-[A-Za-z0-9-]{1,70}|References|In-Reply-To)$": _STRUCTURED_HEADER,
    },
    "additionalProperties": False,
    "description": "Further header fields; not such as providers take orders from.",
    "examples": [{"X-Order": "145863", "List-Unsubscribe": "<https://example.com/leave>"}],
}
STREAM = {
    "type": "string",
    "pattern": "^transactional$|^bulk$",
    "description": "The kind of mail: `transactional`, `bulk` or a stream of the account's own.",
}
_MOMENT = {"type": "string", "format": "date-time"}
TRACK = {
    "type": "object",
    "properties": {"opens": {"type": "boolean"}, "clicks": {"type": "boolean"}},
    "additionalProperties": False,
    "description": "What is tracked, whatever stream and key say.",
}


#: instead of what the mail says
TEMPLATED: dict[str, dict[str, Any]] = {
    "template": {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "x-typical": "^[a-z][a-z0-9._-]{0,63}$",
        "description": "The id or the name of a template of the account's.",
    },
    "variables": {
        "type": "object",
        "maxProperties": 200,
        "propertyNames": {"x-typical": "^[A-Za-km-z][A-Za-z0-9_]{0,63}$"},
        "description": "What the template is filled with, by name; values of any kind.",
    },
}
#: what stands in its place
_SAID = ("subject", "body", "text")


def _json_text(schema: dict[str, Any], pattern: str) -> dict[str, Any]:
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": schema,
        "pattern": pattern,
        "description": f"An object as JSON. {schema['description']}",
    }


_METADATA_TEXT = _json_text(
    METADATA, r'^\{(?:"[a-z]{1,20}":(?:"[A-Za-z0-9 ]{0,40}"|[1-9][0-9]{0,8}|true|false|null))?\}$'
)
_HEADERS_TEXT = _json_text(HEADERS, r'^\{(?:"X-[A-Z][a-z]{1,20}":"[A-Za-z0-9]{1,40}")?\}$')
_VARIABLES_TEXT = _json_text(
    TEMPLATED["variables"], r'^\{(?:"[a-k][a-z]{0,20}":(?:"[A-Za-z0-9 ]{0,40}"|[1-9][0-9]{0,8}))?\}$'
)
_TRACK_TEXT = _json_text(TRACK, r'^\{(?:"(?:opens|clicks)":(?:true|false))?\}$')

_AS_JSON = {
    name: {"contentType": "application/json"} for name in ("metadata", "headers", "track", "variables")
}
#: how the fields of a form are written that are no plain text
_ENCODINGS: dict[str, dict[str, Any]] = {
    "multipart/form-data": {
        "encoding": {
            **_AS_JSON,
            "attachments": {
                "headers": {
                    "Content-Disposition": {
                        "description": "The name decides what the file is taken for.",
                        "schema": {"type": "string"},
                        "example": 'form-data; name="attachments"; filename="note.txt"',
                    }
                }
            },
        }
    },
}


def _fields() -> dict[str, Any]:
    return {
        "recipient": ADDRESS,
        "subject": _text(
            _SOME, None, f"At most {MAX_SUBJECT} characters; line breaks become blanks in the mail."
        ),
        "body": _text(
            _SOME,
            None,
            "HTML or plain text, sent as HTML less what is not allowed; at most 1 MiB in UTF-8, and not empty "
            "once that is gone.",
        ),
        "from": _text(
            rf"^(?:[A-Za-z0-9 ]{{1,60}}<{_ADDRESS}>|{_ADDRESS})$",
            MAX_FROM,
            "`address` or `Name <address>`; an address of the account's. Left out: the account's first address, "
            "else the service's own.",
            examples=["Ministry <noreply@example.com>"],
        ),
        "reply_to": ADDRESS,
        "classification": {
            "type": "string",
            "enum": list(Classification),
            "description": "In any letter case. URGENT mail overtakes all other.",
        },
        "tag": _text(rf"^{_LINE}$", MAX_TAG, "For finding it again."),
        "cc": _COPIES,
        "bcc": _COPIES,
        "disable_tracking": {"type": "boolean", "default": False},
        "text": _text(r"^[^\u0000]+$", None, "The same in plain text, for readers that show no HTML."),
        "metadata": METADATA,
        "headers": HEADERS,
        "stream": STREAM,
        "track": TRACK,
        **TEMPLATED,
        "send_at": _MOMENT | {"description": "Not before then. A time that has come means at once."},
        "expires_at": _MOMENT | {"description": "What has not gone by then is dropped, UNSENT."},
    }


def request_body(settings: AttachmentSettings) -> dict[str, Any]:
    """The `requestBody` of the call."""
    limits = f"At most {settings.max_total} octets together" + (
        f", {settings.max_file} each" if settings.max_file else ""
    )
    count = {"maxItems": settings.max_count} if settings.max_count else {}
    as_json = {
        **_fields(),
        "attachments": {
            "type": "array",
            "items": file_schema(settings),
            "minItems": 1,
            **count,
            "description": f"{limits}. In the body, `cid:0`, `cid:1` … are they by their place.",
        },
    }
    form = {
        **_fields(),
        "cc": _FORM_COPIES,
        "bcc": _FORM_COPIES,
        "disable_tracking": {
            "type": "string",
            "enum": ["true", "false"],
            "description": "In any letter case.",
        },
    }
    attachments = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        **count,
        "description": f"The field repeated for each file. {limits}. Files under other names are ignored.",
    }
    contents = {
        "application/json": as_json,
        "multipart/form-data": {**form, "attachments": attachments},
        "application/x-www-form-urlencoded": {
            **form,
            "metadata": _METADATA_TEXT,
            "headers": _HEADERS_TEXT,
            "track": _TRACK_TEXT,
            "variables": _VARIABLES_TEXT,
        },
    }
    return {
        "required": True,
        "content": {
            kind: {"schema": _written_or_filled(properties), **_ENCODINGS.get(kind, {})}
            for kind, properties in contents.items()
        },
    }


def _written_or_filled(properties: dict[str, Any]) -> dict[str, Any]:
    """A mail in words of its own, or one that a template has the words for."""
    written = {name: one for name, one in properties.items() if name not in TEMPLATED}
    filled = {name: one for name, one in properties.items() if name not in _SAID}
    return {
        "anyOf": [
            _object(["recipient", "subject", "body"], written),
            _object(["recipient", "template"], filled) | {"description": "The same, made from a template."},
        ]
    }


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def file_schema(settings: AttachmentSettings) -> dict[str, Any]:
    """A file in JSON."""
    endings = "|".join(settings.types)
    return {
        "type": "object",
        "required": ["filename", "content"],
        "additionalProperties": False,
        "properties": {
            "filename": _text(rf"^[A-Za-z0-9 _-]{{1,60}}\.(?:{endings})$", 100, "With its extension."),
            "content": {
                "type": "string",
                "contentEncoding": "base64",
                "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            },
            "content_type": {"type": "string", "description": "Not used: the extension decides."},
        },
    }
