"""Bounces come home without a login, and nothing else does."""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from relay.core.clock import now
from relay.core.return_path import ReturnPaths
from relay.queue import NoQueue
from relay.smtp.homecoming import Homecoming
from relay.store import tables as t
from relay.tracking.inbox import Inbox
from tests.smtp.door import Door, running

PATHS = ReturnPaths(b"s" * 32, "bounce.example.org")
BOUNCE = b"From: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice\r\n\r\nno such user\r\n"


def home(message_id=7, recipient_id=8, **ago):
    return PATHS.make(message_id, recipient_id, now() - timedelta(**ago))


@pytest.fixture
def bounce_door(settings, sqlite_url):
    """A door that takes bounces; `kept()` is what it has kept."""
    table = {"hostname": "mx.example.org", "listeners": [{"port": 0}], "auth_delay": 0, "max_size": 300_000}
    ingest = {"bounce_domain": "bounce.example.org", "bounce_size": 2000, "bounce_rate": 20}
    made = settings(smtp=table, database={"url": sqlite_url}, ingest=ingest)
    with running(made) as door:
        inbox = Inbox(door.database, NoQueue())

        async def attach():
            door.server.take_bounces(PATHS, inbox)

        door.call(attach())
        yield door
        door.call(inbox.close())


def kept(door: Door):
    def read(connection: sa.Connection):
        return connection.execute(sa.select(t.inbox).order_by(t.inbox.c.id)).mappings().all()

    return door.call(door.database.read(read))


def caller(door: Door):
    client = door.connect()
    client.expect(220)
    client.ask("EHLO mx.example.net", 250)
    return client


def test_a_bounce_is_kept_before_it_is_answered(bounce_door):
    address = home()
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask(f"RCPT TO:<{address}>", 250)
        assert client.mail(BOUNCE + b".\r\n").startswith("250 2.0.0 ")

    (row,) = kept(bounce_door)
    assert row["payload"] == BOUNCE
    assert row["source"] == "bounce-mail"
    assert row["kind"] == "mail"
    assert row["headers"]["x-envelope-to"] == address
    assert bounce_door.stored() == []


def test_by_chunks_too(bounce_door):
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask(f"RCPT TO:<{home()}>", 250)
        client.send(b"BDAT %d LAST\r\n" % len(BOUNCE) + BOUNCE)
        client.expect(250)

    assert [row["payload"] for row in kept(bounce_door)] == [BOUNCE]


@pytest.mark.parametrize("sender", ["MAILER-DAEMON@mx.example.net", "postmaster@mx.example.net"])
def test_servers_that_name_themselves_are_heard(bounce_door, sender):
    with caller(bounce_door) as client:
        client.envelope(home(), sender=sender)
        client.mail(BOUNCE + b".\r\n")

    assert len(kept(bounce_door)) == 1


def test_other_senders_have_to_log_in(bounce_door):
    with caller(bounce_door) as client:
        assert client.ask("MAIL FROM:<user@example.net>", 530)[-1].startswith("530 5.7.0 ")
        client.ask(f"RCPT TO:<{home()}>", 530)


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        (home(days=20), "550 5.1.1 this address has expired"),
        (
            ReturnPaths(b"x" * 32, "bounce.example.org").make(7, 8, now()),
            "550 5.1.1 there is no such address",
        ),
        ("postmaster@bounce.example.org", "550 5.1.1 "),
        ("someone@example.net", "550 5.7.1 "),
        ("app@example.org", "550 5.7.1 "),
        (home().replace("bounce.", "other."), "550 5.7.1 "),
        (re.sub("@.*", "%victim.example@bounce.example.org", home()), "553 5.1.3 "),
    ],
)
def test_what_is_no_good_return_path_is_refused_at_rcpt(bounce_door, address, reply):
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        assert client.ask(f"RCPT TO:<{address}>", int(reply[:3]))[-1].startswith(reply)
        client.ask("DATA", 554)

    assert kept(bounce_door) == []


def test_no_login_no_mail_where_bounces_do_not_come_here(open_door):
    with caller(open_door()) as client:
        client.ask("MAIL FROM:<>", 530)


def test_a_client_that_has_logged_in_sends_null_senders_as_ever(bounce_door):
    with bounce_door.ready() as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask("RCPT TO:<someone@example.net>", 250)
        client.mail(b"From: app@example.org\r\n\r\nhello\r\n.\r\n")

    assert [one["sender"] for one in bounce_door.stored()] == [""]
    assert kept(bounce_door) == []


def test_a_login_does_not_carry_a_bounce_along(bounce_door):
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask(f"RCPT TO:<{home()}>", 250)
        client.ask(f"AUTH PLAIN {bounce_door.plain()}", 503)
        client.ask("RSET", 250)
        client.ask(f"AUTH PLAIN {bounce_door.plain()}", 235)
        client.ask("DATA", 503)


def test_of_a_large_bounce_the_beginning_is_kept(bounce_door):
    body = b"".join(b"line %06d\r\n" % n for n in range(15_000))
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask(f"RCPT TO:<{home()}>", 250)
        client.mail(BOUNCE + body + b".\r\n")

    (row,) = kept(bounce_door)
    assert row["payload"].startswith(BOUNCE)
    assert len(row["payload"]) == BOUNCE.index(b"\r\n\r\n") + 4 + 2000


def test_a_mail_beyond_the_doors_own_limit_is_refused(bounce_door):
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask(f"RCPT TO:<{home()}>", 250)
        client.mail(BOUNCE + b"0123456789012345\r\n" * 18_000 + b".\r\n", 552)

    assert kept(bounce_door) == []


def test_an_address_that_sends_too_many_is_put_off(bounce_door):
    with caller(bounce_door) as client:
        replies = []
        for _ in range(25):
            client.send(b"MAIL FROM:<>\r\n")
            replies.append(client.reply()[-1][:9])
            client.ask("RSET", 250)

    assert replies[:20] == ["250 2.1.0"] * 20
    assert replies[20:] == ["450 4.7.1"] * 5


def test_guessing_ends_the_connection(bounce_door):
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        said = ""
        for n in range(20):
            client.send(b"RCPT TO:<b+%045d@bounce.example.org>\r\n" % n)
            said = client.reply()[-1]
            if not said.startswith("550"):
                break
        assert said.startswith("421")


def test_one_that_cannot_be_stored_is_not_accepted(bounce_door, monkeypatch):
    async def fail(raw, headers):
        raise OSError("no disk")

    homecoming = bounce_door.server.service.homecoming
    assert isinstance(homecoming, Homecoming)
    monkeypatch.setattr(homecoming, "keep", fail)
    with caller(bounce_door) as client:
        client.ask("MAIL FROM:<>", 250)
        client.ask(f"RCPT TO:<{home()}>", 250)
        client.mail(BOUNCE + b".\r\n", 451)
