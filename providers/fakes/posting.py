"""Webhooks of the fakes: what is told of a mail by its recipient, and the posting of it."""

import asyncio
import base64
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import orjson

from providers.http import Answer, Call, Http, HttpOptions, NoAnswer
from relay.core.clock import now

if TYPE_CHECKING:
    from providers.fakes.wire import Kept, Vendor


class Step(StrEnum):
    """What can happen to a mail that was taken."""

    SENT = "sent"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    HARD = "bounce-hard"
    SOFT = "bounce-soft"
    BLOCKED = "bounce-block"
    DROPPED = "dropped"  #: suppressed by the vendor, never sent
    COMPLAINED = "complaint"
    OPENED = "open"
    CLICKED = "click"
    UNSUBSCRIBED = "unsubscribe"


_ARRIVED = (Step.SENT, Step.DELIVERED)
#: what happens to a mail by the local part of its recipient, in this order
FATES: Mapping[str, tuple[Step, ...]] = {
    "delivered": _ARRIVED,
    "deferred": (Step.SENT, Step.DEFERRED, Step.DELIVERED),
    "bounce-hard": (Step.SENT, Step.HARD),
    "bounce-soft": (Step.SENT, Step.SOFT),
    "bounce-block": (Step.SENT, Step.BLOCKED),
    "bounce-late": (*_ARRIVED, Step.HARD),
    "dropped": (Step.DROPPED,),
    "complaint": (*_ARRIVED, Step.COMPLAINED),
    "open": (*_ARRIVED, Step.OPENED),
    "click": (*_ARRIVED, Step.OPENED, Step.CLICKED),
    "unsubscribe": (*_ARRIVED, Step.OPENED, Step.UNSUBSCRIBED),
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the recipient's server said."""

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


_WORDS = {
    Step.DELIVERED: Words(250, "2.0.0", "OK: queued as 4F2A9C"),
    Step.DEFERRED: Words(451, "4.7.1", "Greylisted, please try again later"),
    Step.HARD: Words(550, "5.1.1", "User unknown in virtual mailbox table"),
    Step.SOFT: Words(552, "5.2.2", "The mailbox is full"),
    Step.BLOCKED: Words(554, "5.7.1", "Message blocked: it looks like spam"),
    Step.DROPPED: Words(550, "5.1.1", "Not sent: the address bounced before"),
}
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
READER = "203.0.113.7"
LINK = "https://www.example.com/offer?a=1"


def words_of(step: Step) -> Words:
    return _WORDS.get(step, _WORDS[Step.DELIVERED])


@dataclass(frozen=True, slots=True)
class Post:
    """One call of a webhook."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def json_post(body: Any, headers: Mapping[str, str] | None = None) -> Post:
    return Post(orjson.dumps(body), {"content-type": "application/json", **(headers or {})})


class Order(StrEnum):
    """In which order events are posted."""

    HAPPENED = "happened"
    SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a fake posts its events. A user name and a password in the URL are sent as basic authentication."""

    url: str
    secret: str | None = None  #: what is signed with; None for the fake's own
    copies: int = 1  #: how many times each post is made
    order: Order = Order.HAPPENED
    delay: float = 0.0  #: seconds before each post

    def target(self) -> tuple[str, dict[str, str]]:
        """The URL to call, and the headers that its user-info stands for."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return self.url, {}
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return bare, {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


@dataclass(frozen=True, slots=True)
class Posted:
    """One post that was made, and the status it was answered; None when nobody answered."""

    vendor: str
    url: str
    body: bytes
    status: int | None


#: seconds between tries of a post that was not answered with a 2xx
_AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0)


class Poster:
    """Posts what becomes of mail to the hooks there are; belongs to the loop that the fakes are served on."""

    def __init__(self) -> None:
        self.hooks: dict[str, Hook] = {}
        self.posted: deque[Posted] = deque(maxlen=10_000)
        self._tasks: set[asyncio.Task[None]] = set()
        self._welcome: dict[str, asyncio.Task[None]] = {}
        self._http: Http | None = None

    def hook(self, vendor: "Vendor", hook: Hook) -> None:
        """From now on this vendor posts there; first what it posts to a new URL, where it has a way to ask."""
        self.hooks[vendor.name] = hook
        greeting = vendor.greeting(hook)
        if greeting is not None:
            self._welcome[vendor.name] = self._start(self._greet(vendor, hook, greeting))

    def unhook(self, name: str) -> None:
        self.hooks.pop(name, None)
        self._welcome.pop(name, None)

    def took(self, vendor: "Vendor", kept: Sequence["Kept"]) -> None:
        hook = self.hooks.get(vendor.name)
        if hook is not None and kept:
            self._start(self._tell(vendor, hook, kept))

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _greet(self, vendor: "Vendor", hook: Hook, greeting: Post) -> None:
        answer = await self._post(vendor, hook, greeting)
        if answer is None or not vendor.greeted(answer):
            self.unhook(vendor.name)

    async def _tell(self, vendor: "Vendor", hook: Hook, kept: Sequence["Kept"]) -> None:
        if vendor.name in self._welcome:
            await asyncio.wait([self._welcome[vendor.name]])
            if self.hooks.get(vendor.name) != hook:
                return
        for post in _posts(vendor, hook, kept):
            await asyncio.sleep(hook.delay)
            await self._post(vendor, hook, post)

    async def _post(self, vendor: "Vendor", hook: Hook, post: Post) -> Answer | None:
        if self._http is None:
            self._http = Http(HttpOptions("http://127.0.0.1", 10, 5, 50, None, None))
        url, headers = hook.target()
        answer: Answer | None = None
        for wait in (*_AGAIN, None):
            try:
                answer = await self._http.call(Call(url, post.body, {**post.headers, **headers}))
            except NoAnswer:
                answer = None
            self.posted.append(
                Posted(vendor.name, hook.url, post.body, answer.status if answer is not None else None)
            )
            if answer is not None and answer.status < 300:
                return answer
            if wait is not None:
                await asyncio.sleep(wait)
        return answer


def _posts(vendor: "Vendor", hook: Hook, kept: Sequence["Kept"]) -> list[Post]:
    """Everything to post about these mails: `copies` of each post, in the order asked for."""
    start = now()
    told: list[Any] = []
    for one in kept:
        for place, step in enumerate(FATES[one.fate]):
            event = vendor.told(one, step, start + timedelta(milliseconds=10 * place))
            if event is not None:
                told.append(event)
    shuffled = hook.order is Order.SHUFFLED
    if shuffled:
        random.shuffle(told)
    posts = [post for post in vendor.posts(told, hook) for _ in range(hook.copies)]
    if shuffled:
        random.shuffle(posts)
    return posts


def unix(at: datetime) -> int:
    return int(at.timestamp())


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
