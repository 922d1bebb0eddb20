"""What every fake vendor is made of: a request, an answer, the mail it keeps, and the magic recipients."""

import base64
import itertools
import re
import secrets
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import parse_qs

import orjson

from providers.fakes.posting import FATES, Hook, Post, Step, json_post
from providers.http import Answer, json_of
from relay.core import mime
from relay.core.address import Mailbox, parse_mailboxes
from relay.core.parts import Parts


@dataclass(frozen=True, slots=True)
class Request:
    """A call to a vendor. `path` is without the vendor's prefix, `whole_path` as it stood on the wire."""

    method: str
    path: str
    whole_path: str
    query: str
    headers: Mapping[str, str]  #: names in lower case
    body: bytes

    @property
    def data(self) -> Any:
        return json_of(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    def basic(self) -> tuple[str, str]:
        """The user name and password of basic authentication; empty when there are none."""
        kind, _, encoded = self.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            return "", ""
        return (user, password) if kind.lower() == "basic" else ("", "")


class Line(StrEnum):
    """How an answer goes out."""

    WHOLE = "whole"
    HANG = "hang"  #: not at all; the connection stays open until the client gives up
    CUT = "cut"  #: its beginning, then the connection is closed


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, byte for byte."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    line: Line = Line.WHOLE


def reply(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, or nothing at all."""
    if body is None:
        return Response(status, b"", dict(headers or {}))
    given = {"content-type": "application/json; charset=utf-8", **(headers or {})}
    return Response(status, orjson.dumps(body), given)


@dataclass(frozen=True, slots=True)
class Kept:
    """One mail that a fake has taken."""

    vendor: str
    id: str
    recipients: tuple[str, ...]
    token: str | None  #: ours, from where the vendor returns it in events
    tag: str | None = None
    raw: bytes | None = None  #: where the vendor takes MIME
    parts: Parts | None = None  #: where it takes parts: what it was told, read back
    #: the vendor's own words of the request
    said: Mapping[str, Any] = field(default_factory=dict)
    #: what is to become of it, from the recipient: one of `FATES`
    fate: str = "delivered"


class Refusal(Exception):
    """The vendor's answer to a request it does not take."""

    def __init__(self, response: Response) -> None:
        super().__init__(str(response.status))
        self.response = response


_THROTTLED = re.compile(r"throttled(?:-(\d+))?\Z")


class Vendor(ABC):
    """A fake of one vendor. Local parts that it obeys, anywhere in the domain part's world:

    `refused@` is refused in the vendor's way, `busy@` gets its 5xx, `throttled@` its 429 (`throttled-3@` three
    times, then it passes), `suspended@` what an account gets that may not send, `timeout-after-accept@` is taken
    and never answered, `cut-after-accept@` is taken and answered by half. The names in `FATES`, such as
    `bounce-hard@` and `complaint@`, are taken, and what follows is told by webhook; any other mail is delivered.
    """

    name: ClassVar[str]
    #: what is posted is signed with this, unless the hook says otherwise; empty where nothing is signed
    signing_key: ClassVar[str] = ""
    #: events in one post at most
    batch: ClassVar[int] = 1
    #: where this fake is served
    here = ""

    def __init__(self, key: str = "fake-key") -> None:
        #: what the vendor takes for a valid credential
        self.key = key
        self.kept: list[Kept] = []
        #: every request that came, refused ones too
        self.requests: list[Request] = []
        self._tries: Counter[str] = Counter()
        self._serial = itertools.count(1)

    def reset(self) -> None:
        self.kept.clear()
        self.requests.clear()
        self._tries.clear()
        self.key = "fake-key"

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        try:
            return self.handle(request)
        except Refusal as refusal:
            return refusal.response

    @abstractmethod
    def handle(self, request: Request) -> Response:
        """The vendor's answer; may raise `Refusal`."""

    @abstractmethod
    def refused(self, recipient: str) -> Response: ...

    @abstractmethod
    def busy(self) -> Response: ...

    @abstractmethod
    def throttled(self) -> Response: ...

    @abstractmethod
    def suspended(self) -> Response: ...

    def obey(self, recipients: Sequence[str]) -> Response | None:
        """The answer that a magic recipient asks for instead of the usual one."""
        for recipient in recipients:
            local = recipient.partition("@")[0].lower()
            found = _THROTTLED.match(local)
            if local == "refused":
                return self.refused(recipient)
            if local == "busy":
                return self.busy()
            if local == "suspended":
                return self.suspended()
            if found and (found[1] is None or self._tries[recipient] < int(found[1])):
                self._tries[recipient] += 1
                return self.throttled()
        return None

    @property
    def believed(self) -> dict[str, str]:
        """What a provider's options must be to believe what this fake posts."""
        return {"webhook_key": self.signing_key} if self.signing_key else {}

    def keep(self, kept: Kept) -> None:
        self.kept.append(kept)

    def told(self, kept: Kept, step: Step, at: datetime) -> Any:
        """The event as the vendor tells it; None when it has no such kind."""
        return None

    def posts(self, told: Sequence[Any], hook: Hook) -> list[Post]:
        """The calls that tell these events: as many at once as the vendor does."""
        size = self.batch
        return [self.post(told[place : place + size], hook) for place in range(0, len(told), size)]

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        """One call; a vendor that signs overrides it."""
        return json_post(list(told) if self.batch > 1 else told[0])

    def greeting(self, hook: Hook) -> Post | None:
        """What a new URL is posted before anything else."""
        return None

    def greeted(self, answer: Answer) -> bool:
        """Whether that was answered as the vendor wants it."""
        return answer.status < 300

    def serial(self) -> int:
        return next(self._serial)


def fate(recipients: Sequence[str]) -> str:
    for recipient in recipients:
        local = recipient.partition("@")[0].lower()
        if local in FATES:
            return local
    return "delivered"


def sent(recipients: Sequence[str], response: Response) -> Response:
    """The answer to mail that was taken, as the recipients want it to go out."""
    local_parts = {recipient.partition("@")[0].lower() for recipient in recipients}
    line = Line.WHOLE
    if "timeout-after-accept" in local_parts:
        line = Line.HANG
    elif "cut-after-accept" in local_parts:
        line = Line.CUT
    return Response(response.status, response.body, response.headers, line)


def unknown(given: Mapping[str, Any], known: str) -> list[str]:
    """The keys that the vendor's documentation does not have; `known` has them with blanks between."""
    return sorted(set(given) - set(known.split()))


def uuid_like() -> str:
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def boxes(given: Sequence[Mapping[str, str]], key: str = "email", name: str = "name") -> tuple[Mailbox, ...]:
    """Mailboxes from a vendor's objects."""
    return tuple(Mailbox(one.get(name) or "", one[key]) for one in given)


def named_in(raw: bytes) -> tuple[list[str], str | None]:
    """For vendors that write to whom the header fields name: those addresses, and our token."""
    head = raw[: mime.split_head(raw)]
    fields = mime.scan(head)
    found: list[str] = []
    for name in (b"to", b"cc", b"bcc"):
        for text in mime.values(head, fields, name):
            found += [box.address for box in parse_mailboxes(text)]
    return found, mime.text_value(head, fields, b"x-pillarbox-token") or None
