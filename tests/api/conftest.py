"""The REST door as its clients see it: HTTP on the real application, on both databases."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import httpx2
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from starlette.types import ASGIApp, Message

from api.main import build
from relay.config import Settings
from relay.core.identity import Identity
from relay.process import Context
from relay.queue import NoQueue
from relay.sections import DatabaseSettings, LimitSettings
from relay.store import accounts
from relay.store.database import Database, open_database

P = ParamSpec("P")
T = TypeVar("T")

EMAILS = "/v1/transactional/email"


class Life:
    """What a server tells an application of its beginning and its end, so that it closes what it has opened."""

    def __init__(self, app: ASGIApp) -> None:
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.create_task(app(scope, self._told.get, self._answers.put))

    @classmethod
    async def begin(cls, app: ASGIApp) -> "Life":
        life = cls(app)
        await life._tell("startup")
        return life

    async def end(self) -> None:
        await self._tell("shutdown")
        await self.task

    async def _tell(self, what: str) -> None:
        await self._told.put({"type": f"lifespan.{what}"})
        answer = await asyncio.wait_for(self._answers.get(), 60)
        assert answer == {"type": f"lifespan.{what}.complete"}


class Door:
    """A running door with one account, `acme`, that may send as `acme.example`."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self.settings = settings
        self.database: Database = open_database(settings.database_url)
        self.stop = self._runner.run(self._event())
        self._open()
        self.key = self.new_account("acme", email="ops@acme.example", senders=["acme.example"])
        self.account_id = self.identity(self.key).account_id

    def _open(self) -> None:
        self.context = Context(
            self.settings, self.database, cast("Any", None), cast("Any", NoQueue()), self.stop, lambda: None
        )
        app = build(self.context)
        self._life = self._runner.run(Life.begin(app))
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://door.example")

    def reopen(self, settings: Settings) -> None:
        """Another process on the same record, with these settings."""
        self._runner.run(self._shut())
        self.settings = settings
        self._open()

    async def _event(self) -> asyncio.Event:
        return asyncio.Event()

    def close(self) -> None:
        self._runner.run(self._finish())
        self._runner.run(self._shut())
        self._runner.run(self.database.close())
        self._runner.close()

    async def _shut(self) -> None:
        await self._client.aclose()
        await self._life.end()

    async def _finish(self) -> None:
        """Let the door's own tasks end, such as a note of when keys were used, as its process would."""
        others = asyncio.all_tasks() - {asyncio.current_task(), self._life.task}
        if others:
            await asyncio.wait(others, timeout=10)

    def work(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._runner.run(self.database.write(work, *args, **kwargs))

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def new_account(self, name: str, *, scopes: tuple[str, ...] = ("send", "read"), **account: Any) -> str:
        def make(connection: sa.Connection) -> str:
            accounts.create_account(connection, name, **account)
            return accounts.create_key(connection, name, scopes=scopes).secret

        return self.work(make)

    def identity(self, key: str) -> Identity:
        identity = self.work(accounts.identify, accounts.digest(key))
        assert identity is not None
        return identity

    def request(
        self, method: str, path: str, *, key: str | None = "", headers: Any = None, **rest: Any
    ) -> httpx2.Response:
        """A request with the account's key; with `key=None` without any."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        return cast("httpx2.Response", self.run(self._client.request(method, path, headers=sent, **rest)))

    def get(self, path: str, **rest: Any) -> httpx2.Response:
        return self.request("GET", path, **rest)

    def post(self, fields: Any, **rest: Any) -> httpx2.Response:
        """POST send with exactly these JSON fields."""
        return self.request("POST", f"{EMAILS}/send", json=fields, **rest)

    def send(self, **fields: Any) -> httpx2.Response:
        """POST send with the fields a send cannot do without, and these."""
        return self.post(
            {
                "recipient": "recipient@example.com",
                "subject": "One time OTP",
                "body": "It is 145863",
                **fields,
            }
        )

    def sent(self, **fields: Any) -> dict[str, Any]:
        answer = self.send(**fields)
        assert answer.status_code == 201, answer.text
        return cast("dict[str, Any]", answer.json())


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def shared_door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A door for tests that store nothing; making one for each would be most of their time."""
    directory = tmp_path_factory.mktemp("shared-door")
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            shutil.copy(request.getfixturevalue("sqlite_template"), directory / "pillarbox.db")
            url = f"sqlite:///{directory / 'pillarbox.db'}"
        else:
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
        opened = Door(
            Settings(
                data_dir=directory,
                database=DatabaseSettings(url=SecretStr(url)),
                limits=LimitSettings(sends_per_second=0),
            )
        )
        stack.callback(opened.close)
        yield opened


@pytest.fixture(scope="session")
def shared_sqlite_door(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """`shared_door` for what does not depend on the database."""
    directory = tmp_path_factory.mktemp("shared-sqlite-door")
    shutil.copy(sqlite_template, directory / "pillarbox.db")
    opened = Door(Settings(data_dir=directory, limits=LimitSettings(sends_per_second=0)))
    yield opened
    opened.close()


@pytest.fixture
def sqlite_door(sqlite_url: str, settings: Callable[..., Settings]) -> Iterator[Door]:
    """`door` for what does not depend on the database."""
    opened = Door(settings(database={"url": sqlite_url}, limits={"sends_per_second": 0}))
    yield opened
    opened.close()


@pytest.fixture
def door(database_url: str, settings: Callable[..., Settings]) -> Iterator[Door]:
    opened = Door(settings(database={"url": database_url}, limits={"sends_per_second": 0}))
    try:
        yield opened
    finally:
        opened.close()


def refused(answer: httpx2.Response, status: int, code: str, message: str | None = None) -> str:
    """Asserts an error answer of exactly two fields; returns its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"
    body = answer.json()
    assert set(body) == {"code", "message"}
    assert body["code"] == code, body
    if message is not None:
        assert body["message"] == message
    assert isinstance(body["message"], str)
    assert body["message"]
    return cast("str", body["message"])
