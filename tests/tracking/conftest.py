"""The REST door of `tests.api.conftest`, reachable from outside, and the ways of those who get its mail."""

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

import httpx2
import pytest

from relay.config import Settings
from relay.core.inbox import InboxKind
from relay.sections import IngestSettings
from relay.store import messages
from tests.api.conftest import Door
from workers.ingest import Ingest, reports_reader

URL = "https://door.example"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


class Post(Door):
    """A door whose mail can be looked at, and the visits it brings be made."""

    def raw(self, identifier: str) -> bytes:
        return self.work(messages.raw, int(identifier))

    def mail(self, identifier: str) -> EmailMessage:
        parsed = email.message_from_bytes(self.raw(identifier), policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def html(self, identifier: str) -> str:
        return self.mail(identifier).get_body(("html",)).get_content()

    def write(self, raw: bytes, **headers: str) -> str:
        """Hand in a mail that is written already; returns its id."""
        answer = self.request(
            "POST", "/v1/messages", content=raw, headers={"Content-Type": "message/rfc822", **headers}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def visit(
        self, url: str, method: str = "GET", agent: str | None = BROWSER, **headers: str
    ) -> httpx2.Response:
        assert url.startswith(URL + "/"), url
        sent = {**headers, **({"User-Agent": agent} if agent is not None else {"User-Agent": ""})}
        return self.request(method, url.removeprefix(URL), key=None, headers=sent)

    def record(self) -> None:
        """What a worker does with what has been told."""

        async def once() -> None:
            await Ingest(self.database, {InboxKind.REPORTS: reports_reader}, IngestSettings()).once()

        self.run(once())

    def events(self, identifier: str, *kinds: str) -> list[dict[str, Any]]:
        self.record()
        found = self.get(f"/v1/messages/{identifier}").json()["events"]
        return [one for one in found if one["kind"] in kinds]

    def status(self, identifier: str) -> str:
        self.record()
        return str(self.get(f"/v1/messages/{identifier}").json()["status"])


def pixel_of(html: str) -> str:
    (found,) = re.findall(r'<img src="([^"]+\.gif)" width="1"', html)
    return str(found)


def links_of(html: str) -> list[str]:
    return re.findall(rf"{URL}/t/c/[A-Za-z0-9_-]+", html)


@pytest.fixture
def open_post(database_url: str, settings: Callable[..., Settings]) -> Iterator[Callable[..., Post]]:
    opened: list[Post] = []

    def opening(**tables: Any) -> Post:
        made = Post(
            settings(
                **{
                    "database": {"url": database_url},
                    "limits": {"sends_per_second": 0},
                    "public_url": URL,
                    **tables,
                }
            )
        )
        opened.append(made)
        return made

    yield opening
    for one in opened:
        one.close()


@pytest.fixture
def post(open_post: Callable[..., Post]) -> Post:
    return open_post()


@pytest.fixture
def sqlite_post(sqlite_url: str, settings: Callable[..., Settings]) -> Iterator[Post]:
    """`post` for what does not depend on the database."""
    made = Post(settings(database={"url": sqlite_url}, limits={"sends_per_second": 0}, public_url=URL))
    yield made
    made.close()
