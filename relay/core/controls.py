"""What a mail asks of us in its own header: our fields, and those of services that programs were written for.

Every field read here is removed before the mail is sent on. Ours are taken strictly, so that a typo does not turn
into a silent default; and where ours and an alias speak of the same thing, ours counts.

Sources: Postmark "Sending with SMTP", Amazon SES "Specifying a configuration set" and "Message tags", Mailgun
"Sending via SMTP", SendGrid "Building an X-SMTPAPI header", Resend "Idempotency keys".
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from relay.core import mime
from relay.core.clock import now
from relay.core.errors import BadMessage
from relay.core.mime import Field
from relay.core.status import Classification
from relay.core.timing import fault

ByName = Mapping[bytes, Sequence[Field]]

_OWN = b"x-pillarbox-"
_OWN_METADATA = b"x-pillarbox-metadata-"
_PM_METADATA = b"x-pm-metadata-"

_MAX_TAG = 255  # characters, as the record has them
_MAX_KEY = 255
_MAX_ITEMS = 50  # of metadata
_MAX_ITEM_NAME = 64
_MAX_ITEM = 500

_YES = {"yes": True, "true": True, "1": True, "on": True, "htmlonly": True}
_NO = {"no": False, "false": False, "0": False, "off": False, "none": False}
#: what Postmark's X-PM-TrackLinks may say
_LINKS = {"htmlandtext": True, "htmlonly": True, "textonly": True, "none": False}


@dataclass(slots=True)
class Controls:
    """What was asked for. `options` goes to the record as it is."""

    tag: str | None = None
    classification: Classification | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    send_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    providers: frozenset[str] = frozenset()

    def add_metadata(self, items: Mapping[str, Any], where: str) -> None:
        """Raises `BadMessage` for more or longer items than are kept."""
        for name, value in items.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if not name or len(name) > _MAX_ITEM_NAME or len(text) > _MAX_ITEM:
                raise BadMessage(
                    f"{where}: a name has up to {_MAX_ITEM_NAME} characters and a value up to {_MAX_ITEM}."
                )
            self.metadata[_clean(name)] = _clean(text)
        if len(self.metadata) > _MAX_ITEMS:
            raise BadMessage(f"{where}: more than {_MAX_ITEMS} items of metadata.")

    def track(self, what: str, wanted: bool) -> None:
        self.options.setdefault("track", {})[what] = wanted


NONE = Controls()

Reading = Callable[[Controls, list[str], str], None]


def fields(by_name: ByName) -> frozenset[bytes]:
    """The control fields among those of a mail, to be read and removed."""
    return frozenset(filter(_is_control, by_name))


@lru_cache(maxsize=2048)
def _is_control(name: bytes) -> bool:
    # Mails have the same few fields over and over.
    return name in _ALIASES or name in _SILENT or name.startswith((_OWN, _PM_METADATA))


def read(head: bytes, by_name: ByName, *, providers: frozenset[str]) -> Controls:
    """What the control fields say. Raises `BadMessage` for a field that cannot be understood."""
    controls = Controls(providers=providers)
    for name in by_name:
        if name.startswith(_PM_METADATA):
            controls.add_metadata(_item(head, by_name, name, _PM_METADATA), _written(name))
    # Aliases first, so that ours, read afterwards, count.
    for table in (_ALIASES, _FIELDS):
        for name, reading in table.items():
            if name in by_name:
                values = [mime.text_value(head, (one,), name).strip() for one in by_name[name]]
                reading(controls, values, _written(name))
    for name in by_name:
        if name.startswith(_OWN_METADATA):
            controls.add_metadata(_item(head, by_name, name, _OWN_METADATA), _written(name))
        elif name.startswith(_OWN) and name not in _FIELDS:
            raise BadMessage(f"{_written(name)} is not a field that this server knows.")
    if controls.send_at is not None or controls.expires_at is not None:
        _check_times(controls)
    return controls


def _item(head: bytes, by_name: ByName, name: bytes, prefix: bytes) -> dict[str, str]:
    return {name.removeprefix(prefix).decode(): mime.text_value(head, by_name[name], name)}


def _written(name: bytes) -> str:
    return name.decode().title()


def _clean(text: str) -> str:
    """Text as a database takes it."""
    return "".join(c if c.isprintable() else " " for c in text)


# Our fields.


def _tag(controls: Controls, values: list[str], _where: str) -> None:
    controls.tag = _clean(values[0])[:_MAX_TAG] or None


def _classification(controls: Controls, values: list[str], where: str) -> None:
    try:
        controls.classification = Classification(values[0].upper())
    except ValueError:
        raise BadMessage(f"{where} must be one of {', '.join(Classification)}.") from None


def _metadata(controls: Controls, values: list[str], where: str) -> None:
    for text in values:
        controls.add_metadata(_object(text, where), where)


def _send_at(controls: Controls, values: list[str], where: str) -> None:
    controls.send_at = _moment(values[0], where)


def _expires_at(controls: Controls, values: list[str], where: str) -> None:
    controls.expires_at = _moment(values[0], where)


def _check_times(controls: Controls) -> None:
    """A time to be sent that has come already is none; anything else that cannot be is refused."""
    moment = now()
    if controls.send_at is not None and controls.send_at <= moment:
        controls.send_at = None
    wrong = fault(controls.send_at, controls.expires_at, moment)
    if wrong is not None:
        raise BadMessage(f"X-Pillarbox-{wrong[0].replace('_', '-').title()} {wrong[1]}.")


def _idempotency(controls: Controls, values: list[str], where: str) -> None:
    key = values[0]
    if not key or len(key) > _MAX_KEY or not key.isprintable():
        raise BadMessage(f"{where} must have 1 to {_MAX_KEY} printable characters.")
    controls.idempotency_key = key


def _track(controls: Controls, values: list[str], where: str) -> None:
    """`opens`, `clicks`, both, or `none`."""
    words = set(re.split(r"[,\s]+", values[0].lower())) - {""}
    if not words or not words <= {"opens", "clicks", "none"} or ("none" in words and len(words) > 1):
        raise BadMessage(f"{where} must be none, or opens, clicks or both.")
    controls.track("opens", "opens" in words)
    controls.track("clicks", "clicks" in words)


def _provider(controls: Controls, values: list[str], where: str) -> None:
    if values[0] not in controls.providers:
        raise BadMessage(f"{where} names a provider that is not configured.")
    controls.options["provider"] = values[0]


def _stream(controls: Controls, values: list[str], _where: str) -> None:
    controls.options["stream"] = _clean(values[0])[:_MAX_TAG]


_FIELDS: dict[bytes, Reading] = {
    b"x-pillarbox-tag": _tag,
    b"x-pillarbox-classification": _classification,
    b"x-pillarbox-metadata": _metadata,
    b"x-pillarbox-send-at": _send_at,
    b"x-pillarbox-expires-at": _expires_at,
    b"x-pillarbox-idempotency-key": _idempotency,
    b"x-pillarbox-track": _track,
    b"x-pillarbox-provider": _provider,
    b"x-pillarbox-stream": _stream,
}


# Other services' fields.


def _tags(controls: Controls, values: list[str], _where: str) -> None:
    """Several fields, or several tags in one: the first is the tag, and all are kept."""
    tags = [_clean(tag)[:_MAX_TAG] for tag in values if tag][:_MAX_ITEMS]
    if tags:
        controls.tag = tags[0]
    if len(tags) > 1:
        controls.options["tags"] = tags


def _postmark_stream(controls: Controls, values: list[str], where: str) -> None:
    """The two streams that every Postmark server has are those that are always here."""
    _stream(controls, values, where)
    name = controls.options["stream"]
    controls.options["stream"] = {"outbound": "transactional", "broadcast": "bulk"}.get(name, name)


def _ses_tags(controls: Controls, values: list[str], where: str) -> None:
    """`name=value, name2=value2`."""
    for part in values[0].split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise BadMessage(f"{where} must have the form name=value, name=value.")
        controls.add_metadata({name.strip(): value.strip()}, where)


def _switch(what: str, also: Mapping[str, bool] | None = None) -> Reading:
    known = {**_YES, **_NO, **(also or {})}

    def reading(controls: Controls, values: list[str], where: str) -> None:
        wanted = known.get(values[0].lower())
        if wanted is None:
            raise BadMessage(f"{where} must be yes or no.")
        for one in what.split():
            controls.track(one, wanted)

    return reading


def _smtpapi(controls: Controls, values: list[str], where: str) -> None:
    asked = _object(values[0], where)
    # With these SendGrid makes another mail of it, for other people; doing less in silence would lose mail.
    for name in ("to", "sub", "section"):
        if asked.get(name):
            raise BadMessage(f"{where}: {name} is not supported; send one mail for each recipient.")
    categories = asked.get("category", [])
    if not isinstance(categories, list):
        categories = [categories]
    _tags(controls, [str(one) for one in categories], where)
    arguments = asked.get("unique_args", {})
    if not isinstance(arguments, dict):
        raise BadMessage(f"{where}: unique_args must be an object.")
    controls.add_metadata(arguments, where)
    if "send_at" in asked:
        controls.send_at = _moment(str(asked["send_at"]), where)
    filters = asked.get("filters", {})
    for name, what in (("opentrack", "opens"), ("clicktrack", "clicks")):
        try:
            controls.track(what, bool(int(filters[name]["settings"]["enable"])))
        except KeyError:
            continue
        except (TypeError, ValueError, OverflowError):
            raise BadMessage(f"{where}: filters.{name}.settings.enable must be 0 or 1.") from None


_ALIASES: dict[bytes, Reading] = {
    b"x-pm-tag": _tag,
    b"x-pm-message-stream": _postmark_stream,
    b"x-pm-trackopens": _switch("opens"),
    b"x-pm-tracklinks": _switch("clicks", _LINKS),
    b"x-ses-message-tags": _ses_tags,
    b"x-mailgun-tag": _tags,
    b"x-mailgun-variables": _metadata,
    b"x-mailgun-deliver-by": _send_at,
    b"x-mailgun-track": _switch("opens clicks"),
    b"x-mailgun-track-opens": _switch("opens"),
    b"x-mailgun-track-clicks": _switch("clicks"),
    b"x-smtpapi": _smtpapi,
    b"resend-idempotency-key": _idempotency,
}

#: fields that mean something to their service only, and must not reach a recipient
_SILENT = frozenset(
    {
        b"x-ses-configuration-set",
        b"x-ses-source-arn",
        b"x-ses-from-arn",
        b"x-ses-return-path-arn",
        b"x-ses-list-management-options",
        b"x-mailgun-dkim",
        b"x-mailgun-require-tls",
        b"x-mailgun-skip-verification",
        b"x-mailgun-native-send",
    }
)


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadMessage(f"{where} must be a JSON object.")
    return found


def _moment(text: str, where: str) -> datetime:
    """RFC 3339, RFC 5322 or seconds since 1970, with its zone."""
    try:
        if text.isascii() and text.isdigit():
            moment = datetime.fromtimestamp(int(text), UTC)
        elif text[:4].isdigit():
            moment = datetime.fromisoformat(text)
        else:
            moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        raise BadMessage(
            f"{where} must be a time with its zone, such as 2030-01-31T12:00:00Z, or seconds since 1970."
        ) from None
