"""What adapters share that are told of events by webhook. A vendor's `events.py` adds whose words mean what."""

import base64
import binascii
import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from providers.options import Options
from providers.signatures import WINDOW
from providers.told import Told, told_in
from relay.core.bounce import BounceReason
from relay.core.bounces import classify
from relay.core.errors import Misconfigured
from relay.core.event import EventKind
from relay.core.provider import NotAuthentic, Report, WebhookAnswer, WebhookRequest


class Reporting(ABC):
    """A `WebhookSource`: subclasses say who may speak (`_verify`) and what an event means (`_reports`)."""

    async def receive(self, request: WebhookRequest) -> WebhookAnswer | None:
        answer = self._greeting(request)
        if answer is None:
            self._verify(request)
            answer = self._handshake(request)
        return answer

    def read(self, request: WebhookRequest) -> Sequence[Report]:
        return read(request, self._reports)

    def _greeting(self, request: WebhookRequest) -> WebhookAnswer | None:
        """The answer to a call that asks for one before anybody can have the secret, and that tells nothing."""
        return None

    def _handshake(self, request: WebhookRequest) -> WebhookAnswer | None:
        """The answer to a verified call that is no event."""
        return None

    @abstractmethod
    def _verify(self, request: WebhookRequest) -> None:
        """Raises `NotAuthentic`."""

    @abstractmethod
    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        """What one JSON object of the request tells: nothing when it is about no mail."""


def read(
    request: WebhookRequest, reports: Callable[[Told, WebhookRequest], Iterable[Report]]
) -> list[Report]:
    """All that the request tells; what is no object is of unknown kind."""
    found: list[Report] = []
    for one in told_in(request.body):
        if isinstance(one, dict) and one:
            found += map(_settled, reports(Told(one), request))
        else:
            found.append(Report(EventKind.UNKNOWN, request.at, original={"told": one}))
    return found


def _settled(report: Report) -> Report:
    """With the bounce that the server's words tell of, as far as the vendor's own words leave it open."""
    if report.kind is not EventKind.BOUNCED or report.reply is None:
        return report
    if report.bounce is None:
        return replace(report, bounce=classify(report.reply))
    if report.bounce.reason is not BounceReason.OTHER:
        return report
    told = classify(report.reply)
    return replace(report, bounce=told) if told.kind is report.bounce.kind else report


def details(**given: Any) -> dict[str, Any]:
    """A report's detail: what there is of it."""
    return {name: value for name, value in given.items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class Keys:
    """What a vendor signs with; several while one takes the place of another."""

    keys: tuple[str, ...] = field(repr=False)
    max_age: float = WINDOW  #: seconds between signing and arrival

    def check(self, verify: Callable[[str], object]) -> None:
        """Passes when any of the keys verifies; otherwise raises what the last one said."""
        failure = NotAuthentic("webhook_key is not set for this provider, so nothing can be verified")
        for key in self.keys:
            try:
                verify(key)
            except NotAuthentic as error:
                failure = error
            else:
                return
        raise failure


def read_keys(read: Options, *, dated: bool = False, known: Callable[[str], object] | None = None) -> Keys:
    """Takes `webhook_key`: one, or several with blanks between; and `webhook_max_age` where signatures are `dated`.

    `known` raises ValueError for what cannot be a key of the vendor's.
    """
    keys = tuple((read.text("webhook_key") or "").split())
    for key in keys:
        try:
            if known is not None:
                known(key)
        except ValueError:
            raise Misconfigured("webhook_key is not a key as the vendor shows it") from None
    return Keys(keys, read.seconds("webhook_max_age", WINDOW) if dated else WINDOW)


@dataclass(frozen=True, slots=True)
class Login:
    """Basic authentication (RFC 7617) for vendors that sign nothing. Without one the URL's secret has to do."""

    user: str
    password: str = field(repr=False)

    def check(self, request: WebhookRequest) -> None:
        """Raises `NotAuthentic`."""
        if not self.password:
            return
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
        if scheme.lower() != "basic" or not hmac.compare_digest(
            given, f"{self.user}:{self.password}".encode()
        ):
            raise NotAuthentic("the user name or password of the webhook is missing or wrong")


def read_login(read: Options) -> Login:
    """Takes `webhook_user` and `webhook_password`: both or neither."""
    user, password = read.text("webhook_user"), read.text("webhook_password", secret=True)
    if bool(user) != bool(password):
        raise Misconfigured("webhook_user and webhook_password are needed together")
    return Login(user or "", password or "")
