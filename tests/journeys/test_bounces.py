"""Mail goes out through a real server, which bounces some of it after it has taken it, and the bounces come home."""

import asyncio
import contextlib
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from providers import registry
from relay.config import Settings
from relay.core import routes
from relay.core.inbox import InboxKind
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.delivery.engine import Engine
from relay.delivery.ways import Setup
from relay.intake import Intake
from relay.policy import Authenticator, Suppressions
from relay.queue import NoQueue
from relay.routing import Router
from relay.sections import DeliverySettings, ProviderLimits
from relay.smtp.server import Server
from relay.store import accounts, messages, secrets
from relay.store.database import Database, open_database
from relay.tracking.inbox import Inbox
from tests.installation import Installation, wait_for
from tests.installation import free_port as new_port
from tests.journeys import exim, opensmtpd, postfix
from tests.sink import Sink
from workers.ingest import Ingest, mail_reader

_BOUNCE = b"""From: MAILER-DAEMON@mx.example.net
Subject: failure notice
Message-ID: <once@mx.example.net>

<gone@example.net>:
550 5.1.1 no such user here
"""


@dataclass
class Parts:
    database: Database
    engine: Engine
    account: int
    door: int

    async def send(self, *recipients: str, sender: str = "app@example.org", envid: str | None = None) -> int:
        mail = Submission(
            account_id=self.account,
            key_id=None,
            door=Door.SMTP,
            sender=sender,
            recipients=[EnvelopeRecipient(address) for address in recipients],
            head=b"From: app@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\n",
            tail=MemoryTail(b"hello\r\n"),
            from_="app@example.org",
            envid=envid,
        )
        (stored,) = await self.database.write(messages.insert, [mail])
        self.engine.wake("normal", [stored.id])
        return stored.id

    async def statuses(self, message_id: int) -> dict[str, str]:
        rows = await self.database.read(messages.recipients, message_id)
        return {row["address"]: row["status"] for row in rows}

    async def until(self, message_id: int, wanted: Mapping[str, str]) -> None:
        async with asyncio.timeout(120):
            while await self.statuses(message_id) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def those(self, message_id: int, kind: str) -> dict[str, Any]:
        """What the events of a kind say, by recipient."""
        names = {
            row["id"]: row["address"] for row in await self.database.read(messages.recipients, message_id)
        }
        lines = await self.database.read(messages.timeline, message_id)
        return {names[line["recipient_id"]]: line["detail"] for line in lines if line["kind"] == kind}

    async def bounces(self, message_id: int) -> dict[str, Any]:
        """Class and reason by recipient."""
        bounced = await self.those(message_id, "bounced")
        return {address: tuple(said["bounce"].values()) for address, said in bounced.items()}


@contextlib.asynccontextmanager
async def installation(settings: Settings, providers: Mapping[str, Mapping[str, Any]], **limits: Any):
    """Door, engine and reader of the inbox, in this event loop."""
    database = open_database(settings.database_url)
    inbox = Inbox(database, NoQueue())
    intake = Intake(database, NoQueue())
    server = Server(settings, intake, Authenticator(database), Suppressions(database))
    paths = settings.ingest.return_paths(await secrets.load(database))
    assert paths is not None
    setup = Setup(
        registry.build(providers),
        {name: ProviderLimits(**limits) for name in providers},
        Router([], routes.parse("out")),
        return_paths=paths,
    )
    delivery = DeliverySettings(retry={"delays": (0.2,), "jitter": 0})
    engine = Engine(database, setup, delivery)
    stop = asyncio.Event()
    reader = Ingest(database, {InboxKind.MAIL: mail_reader(lambda: paths)}, settings.ingest)
    server.take_bounces(paths, inbox)
    running: list[asyncio.Task[None]] = []
    try:
        await server.start()
        account = await database.write(accounts.create_account, "default", senders=["*"])
        running = [asyncio.create_task(engine.run(stop, drain=30)), asyncio.create_task(reader.run())]
        yield Parts(database, engine, account, server.addresses[0][1])
    finally:
        stop.set()
        if running:
            await running[0]
            running[1].cancel()
            await asyncio.gather(running[1], return_exceptions=True)
        await server.stop()
        await inbox.close()
        await intake.close()
        await engine.fleet.aclose()
        await database.close()


@pytest.fixture
def free_port():
    return new_port()


@pytest.fixture
def configured(settings, database_url, free_port):
    return settings(
        database={"url": database_url},
        smtp={"hostname": "mx.example.org", "listeners": [{"port": free_port}]},
        ingest={"bounce_domain": "bounce.example.org"},
    )


@pytest.mark.anyio
async def test_what_a_server_bounces_later_is_told_to_the_right_recipient(configured, free_port):
    with exim.running(home=free_port, refusing=free_port) as port:
        out = {"type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none"}
        async with installation(configured, {"out": out}) as ours:
            # The door refuses mail for refusing.example in the session: Exim makes a report of that.
            some = ["gone@example.net", "full@example.net", "there@example.net", "x@refusing.example"]
            first = await ours.send(*some)
            other = await ours.send("gone@example.com")

            await ours.until(
                first,
                {
                    "gone@example.net": "BOUNCED",
                    "full@example.net": "BOUNCED",
                    "there@example.net": "SENT",
                    "x@refusing.example": "BOUNCED",
                },
            )
            await ours.until(other, {"gone@example.com": "BOUNCED"})
            assert await ours.bounces(first) == {
                "gone@example.net": ("hard", "no_such_user"),
                "full@example.net": ("soft", "mailbox_full"),
                "x@refusing.example": ("block", "authentication"),
            }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("server", "given_up"),
    [
        (postfix, {"full@example.net": ("soft", "mailbox_full"), "busy@example.net": ("soft", "rate")}),
        # It does not say any more why it could not deliver.
        (opensmtpd, dict.fromkeys(["full@example.net", "busy@example.net"], ("soft", "expired"))),
    ],
    ids=["postfix", "opensmtpd"],
)
async def test_what_the_next_server_is_refused_or_cannot_deliver_in_time_comes_home(
    configured, free_port, server, given_up
):
    with Sink() as sink, server.running(home=free_port, further=sink.port) as port:
        out = {"type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none"}
        async with installation(configured, {"out": out}) as ours:
            # What the sink answers follows from the names: 550, 552, 452, 450, 554 to the content.
            refused = ["refuse@example.net", "oldfull@example.net", "spam@example.net"]
            message = await ours.send(*refused, *given_up, "there@example.net")

            await ours.until(
                message, {**dict.fromkeys([*refused, *given_up], "BOUNCED"), "there@example.net": "SENT"}
            )
            assert await ours.bounces(message) == {
                "refuse@example.net": ("hard", "no_such_user"),
                "oldfull@example.net": ("soft", "mailbox_full"),
                "spam@example.net": ("block", "spam"),
                **given_up,
            }
            # Both have warned that these are late, before they gave up; a warning may be overtaken on its way home.
            async with asyncio.timeout(60):
                while sorted(await ours.those(message, "deferred")) != sorted(given_up):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


@pytest.mark.anyio
async def test_a_forged_bounce_changes_nothing(configured, free_port):
    out = {"out": {"type": "memory"}}
    async with installation(configured, out) as ours:
        message = await ours.send("user@example.net")
        await ours.until(message, {"user@example.net": "SENT"})

        def forge() -> int:
            with smtplib.SMTP("127.0.0.1", ours.door, timeout=30) as client:
                client.ehlo("mx.example.net")
                client.mail("")
                guess = f"b+{'a' * 45}@bounce.example.org"
                return client.rcpt(guess)[0]

        assert await asyncio.to_thread(forge) == 550
        assert await ours.statuses(message) == {"user@example.net": "SENT"}


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [False, True])
async def test_return_paths_are_ours_unless_the_provider_is_to_keep_the_senders(configured, kept):
    limits = {"return_path": "sender"} if kept else {}
    async with installation(configured, {"out": {"type": "memory"}}, **limits) as ours:
        two = await ours.send("a@example.net", "b@example.net")
        null = await ours.send("c@example.net", sender="")
        named = await ours.send("d@example.net", envid="theirs")
        await ours.until(two, {"a@example.net": "SENT", "b@example.net": "SENT"})
        await ours.until(null, {"c@example.net": "SENT"})
        await ours.until(named, {"d@example.net": "SENT"})
        sent = ours.engine.fleet.ways["out"].provider.delivered
        senders = {one.address: mail.sender for mail, one in sent}
        envids = {one.address: mail.envid for mail, one in sent}

        assert senders["c@example.net"] == ""
        assert envids["d@example.net"] == "theirs"
        if kept:
            assert senders["a@example.net"] == senders["b@example.net"] == "app@example.org"
            assert len(envids["a@example.net"]) == 45
        else:
            assert senders["a@example.net"].endswith("@bounce.example.org")
            assert senders["a@example.net"] != senders["b@example.net"]
            assert envids["a@example.net"] is None


def test_an_installation_hears_of_its_bounces_and_suppresses_the_dead(tmp_path: Path) -> None:
    with Sink() as sink:
        tables = f"""
        [ingest]
        bounce_domain = "bounce.example.org"
        [providers.out]
        type = "smtp"
        host = "127.0.0.1"
        port = {sink.port}
        tls = "none"
        """
        with Installation(tmp_path, tables) as ours:
            ours.up()
            with smtplib.SMTP("127.0.0.1", ours.smtp_port, timeout=30) as client:
                client.login("app", ours.key)
                client.mail("app@example.org")
                client.rcpt("gone@example.net")
                client.rcpt("there@example.net")
                message = (
                    client.data(b"From: app@example.org\r\nSubject: hi\r\n\r\nhi\r\n")[1].split()[-1].decode()
                )
            sent = {one.recipients[0]: one.sender for one in sink.wait(2)}

            def bounce(home: str, raw: bytes = _BOUNCE) -> int:
                with smtplib.SMTP("127.0.0.1", ours.smtp_port, timeout=30) as client:
                    client.ehlo("mx.example.net")
                    client.mail("")
                    code, _ = client.rcpt(home)
                    return client.data(raw)[0] if code == 250 else code

            assert bounce(sent["gone@example.net"].replace("b+a", "b+b")) == 550
            assert bounce(sent["gone@example.net"]) == 250
            # Once more is once.
            assert bounce(sent["gone@example.net"]) == 250

            def shown() -> str:
                return ours.run("messages", "show", message).stdout

            def suppressed() -> str:
                return ours.run("suppressions", "list", "--account", "default").stdout

            wait_for(lambda: "no_such_user" in shown(), "the bounce")
            # The second telling has been read as well, once a third bounce behind it has.
            assert (
                bounce(sent["there@example.net"], _BOUNCE.replace(b"no such user here", b"mailbox full"))
                == 250
            )
            wait_for(lambda: "mailbox_full" in shown(), "the other bounce")
            assert shown().count("no_such_user") == 1
            assert "gone@example.net" in suppressed()
            assert "there@example.net" not in suppressed()
