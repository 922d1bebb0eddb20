"""Mailboxes are looked into for bounces, with a real server behind them."""

import asyncio
import imaplib
import shutil
import socketserver
import ssl
import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
import trustme

from relay.core.clock import now
from relay.core.return_path import ReturnPaths
from relay.process import Context
from relay.queue import NoQueue
from relay.sections.ingest import MailboxSettings
from relay.store import leader
from relay.store import tables as t
from relay.store.database import open_database
from tests.workers import dovecot
from workers import mailboxes

SECRET = b"m" * 32
PATHS = ReturnPaths(SECRET, "bounce.example.org")
#: at which these mails were sent: a return path made on another day would be another one
SENT = now()
FOREIGN = b"From: a@example.net\r\nSubject: hello\r\n\r\nnot for you\r\n"


def bounce(number: int = 1, filler: bytes = b"") -> bytes:
    address = PATHS.make(number, 2, SENT).encode()
    return (
        b"From: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice\r\nDelivered-To: " + address
        + b"\r\nMessage-ID: <%d@mx.example.net>\r\n\r\nno such user\r\n" % number + filler
    )  # fmt: skip


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with dovecot.running(context) as running:
        yield running


@pytest.fixture
def box(server, authority, tmp_path):
    """Settings of the mailbox, emptied: `box(protocol="pop3", tls="none")`."""
    for folder in server.directory.glob("mail/.*"):
        shutil.rmtree(folder)
    for kind in ("new", "cur"):
        for path in (server.directory / "mail" / kind).iterdir():
            path.unlink()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def settings(protocol="imap", tls="implicit", **more):
        return MailboxSettings(
            **{
                "protocol": protocol,
                "host": "localhost",
                "port": server.ports[protocol, tls],
                "tls": tls,
                "ca": tmp_path / "ca.pem",
                "user": dovecot.USER,
                "password": dovecot.PASSWORD,
                **more,
            }
        )

    return settings


def look(settings, size=100_000, take=None):
    """One look; returns the mails that were ours."""
    taken = []

    def ours(raw):
        if b"bounce.example.org" not in raw:
            return False
        taken.append(raw)
        return True

    count = mailboxes.open_mailbox(settings, size).look(take or ours)
    assert count == len(taken)
    return taken


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize("tls", ["implicit", "starttls", "none"])
def test_bounces_are_taken_and_other_mail_is_left(server, box, protocol, tls):
    server.drop(bounce(1), FOREIGN, bounce(2))
    settings = box(protocol, tls)

    assert look(settings) == [bounce(1), bounce(2)]
    assert server.held() == 1
    assert look(settings) == []


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_mail_that_could_not_be_kept_stays(server, box, protocol):
    server.drop(bounce())

    def fail(raw):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        look(box(protocol), take=fail)
    assert server.held() == 1
    assert look(box(protocol)) == [bounce()]


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_look_that_is_ended_leaves_no_connection(server, box, protocol):
    server.drop(bounce())
    mailbox = mailboxes.open_mailbox(box(protocol), 100_000)
    lines = []

    def end(raw):
        lines.append(mailbox._client.sock)
        mailbox.abort()
        return True

    with pytest.raises(mailboxes._ERRORS):
        mailbox.look(end)
    assert [line.fileno() for line in lines] == [-1]


def test_read_mail_may_be_marked_only(server, box):
    server.drop(bounce())
    settings = box(done="mark")

    assert look(settings) == [bounce()]
    assert look(settings) == []
    assert server.held() == 1


def test_read_mail_may_be_moved(server, box):
    with imaplib.IMAP4("127.0.0.1", server.ports["imap", "none"], timeout=60) as client:
        client.login(dovecot.USER, dovecot.PASSWORD)
        client.create('"Gelesen &APw-ber"')
    server.drop(bounce())

    assert look(box(done="move", move_to="Gelesen über")) == [bounce()]
    assert server.held() == 0
    assert server.held("Gelesen &APw-ber") == 1


@pytest.mark.parametrize("done", [{}, {"done": "move", "move_to": "Read"}])
def test_what_somebody_else_marked_as_deleted_is_not_expunged(server, box, done):
    server.drop(FOREIGN, bounce())
    with imaplib.IMAP4("127.0.0.1", server.ports["imap", "none"], timeout=60) as client:
        client.login(dovecot.USER, dovecot.PASSWORD)
        client.create("Read")
        client.select()
        (found,) = client.search(None, "SUBJECT", "hello")[1]
        client.store(found.decode(), "+FLAGS.SILENT", r"(\Deleted)")

    assert look(box(**done)) == [bounce()]
    assert server.held() == 1


class Odd(socketserver.StreamRequestHandler):
    """A POP3 server that has one mail and does not say how large it is."""

    def handle(self) -> None:
        self.wfile.write(b"+OK\r\n")
        for line in self.rfile:
            self.wfile.write(b"+OK\r\n1 one\r\n.\r\n" if line.strip() == b"UIDL" else b"+OK\r\n")


@pytest.fixture
def odd_server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Odd) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_of_a_large_mail_the_beginning_is_fetched(server, box, protocol):
    server.drop(bounce(filler=b"x" * 5000 + b"\r\n" + b"0123456789\r\n" * 50_000))

    (raw,) = look(box(protocol), size=20_000)

    assert raw.startswith(bounce())
    assert 8_000 < len(raw) <= 20_002


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize(
    "wrong", [{"password": "guess"}, {"ca": None}, {"port": 1}, {"password": "env:NOBODY_SET_THIS"}]
)
def test_what_is_wrong_is_said(server, box, protocol, wrong):
    server.drop(bounce())
    with pytest.raises(mailboxes._ERRORS) as told:
        look(box(protocol, **wrong))
    assert str(told.value)
    assert server.held() == 1


@pytest.fixture
async def context(settings, sqlite_url, box):
    database = open_database(sqlite_url)
    made = settings(
        database={"url": sqlite_url},
        ingest={"bounce_domain": "bounce.example.org", "mailboxes": [box().model_dump()]},
    )
    yield Context(made, database, None, NoQueue(), asyncio.Event(), lambda: None)
    await database.close()


def kept(connection: sa.Connection):
    return connection.execute(sa.select(t.inbox)).mappings().all()


@pytest.mark.anyio
async def test_what_is_taken_is_in_the_inbox_and_gone_from_the_mailbox(server, context):
    server.drop(bounce(), FOREIGN)
    boxes = mailboxes.Mailboxes(context, PATHS)
    await boxes.look()

    (row,) = await context.database.read(kept)
    assert row["payload"] == bounce()
    assert row["source"] == "bounce-mail"
    assert server.held() == 1
    await boxes._inbox.close()


@pytest.mark.anyio
async def test_only_the_leader_looks(server, context):
    await leader.lead(context.database, "mailboxes", "another", lease=60)
    server.drop(bounce())
    running = asyncio.create_task(mailboxes.Mailboxes(context, PATHS).run())
    await asyncio.sleep(0.3)
    assert server.held() == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await leader.resign(context.database, "mailboxes", "another")
    running = asyncio.create_task(mailboxes.Mailboxes(context, PATHS).run())
    async with asyncio.timeout(100):
        while server.held():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["nobody there", "odd"])
async def test_a_mailbox_that_cannot_be_read_does_not_keep_others_from_it(
    server, context, box, odd_server, fault
):
    server.drop(bounce())
    broken = (
        box(user="x", port=1)
        if fault != "odd"
        else box("pop3", "none").model_copy(update={"port": odd_server})
    )
    ingest = context.settings.ingest.model_copy(update={"mailboxes": (broken, box())})
    many = Context(
        context.settings.model_copy(update={"ingest": ingest}),
        context.database,
        None,
        NoQueue(),
        context.stop,
        lambda: None,
    )
    boxes = mailboxes.Mailboxes(many, PATHS)
    await boxes.look()

    assert len(await context.database.read(kept)) == 1
    assert [one.due > asyncio.get_running_loop().time() for one in boxes._rounds] == [True, True]
    assert boxes._rounds[0].due > boxes._rounds[1].due
    await boxes._inbox.close()


def test_an_old_token_is_nobodys():
    old = PATHS.make(1, 2, datetime(2020, 2, 1, tzinfo=UTC)).encode()
    raw = bounce().replace(PATHS.make(1, 2, SENT).encode(), old)
    assert not mailboxes.bouncemail.is_ours(raw, received_at=now(), paths=PATHS)
    assert mailboxes.bouncemail.is_ours(bounce(), received_at=now(), paths=PATHS)
