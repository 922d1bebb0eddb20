"""What an account and its keys allow holds at this door as at the other."""

import base64

import pytest
import sqlalchemy as sa

from relay.store import accounts, suppressions
from relay.store import tables as t


def suppress(door, *addresses, everywhere=False, stream=None):
    def work(connection: sa.Connection) -> None:
        account_id = None if everywhere else accounts.account_by_name(connection, "legacy")
        for address in addresses:
            suppressions.add(connection, account_id, address, source="test", stream=stream)

    door.call(door.database.write(work))


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_suppressed_recipient_is_refused_and_the_others_get_their_mail(door, everywhere):
    suppress(door, "gone@example.net", everywhere=everywhere)
    with door.ready() as client:
        client.ask("MAIL FROM:<app@example.org>", 250)
        assert client.ask("RCPT TO:<GONE@Example.NET>", 550)[-1].startswith("550 5.1.1 ")
        client.ask("RCPT TO:<here@example.net>", 250)
        # By now the list is known, and is not asked for again.
        client.ask("RCPT TO:<gone@example.net>", 550)
        client.mail(b"From: app@example.org\r\n\r\nhello\r\n.\r\n")
    (message,) = door.stored()
    assert [one["address"] for one in message["recipients"]] == ["here@example.net"]


BULK = b"From: app@example.org\r\nX-Pillarbox-Stream: bulk\r\n\r\nhello\r\n.\r\n"


def test_who_left_one_stream_is_refused_once_the_mail_says_that_it_is_of_it(door):
    suppress(door, "left@example.net", stream="bulk")
    with door.ready() as client:
        client.envelope("left@example.net")
        assert (
            client.mail(BULK, 550)
            == "550 5.1.1 None of the recipients may be written to: all are suppressed."
        )
        client.envelope("left@example.net")
        client.mail(b"From: app@example.org\r\n\r\nhello\r\n.\r\n")
        # Accepted at RCPT, and one of several: the record will say why nothing went to them.
        client.envelope("left@example.net", "here@example.net")
        client.mail(BULK)
    receipt, news = door.stored()
    assert [one["address"] for one in receipt["recipients"]] == ["left@example.net"]
    assert [one["address"] for one in news["recipients"]] == ["left@example.net", "here@example.net"]


def test_a_pipelined_group_is_answered_in_order(door):
    suppress(door, "gone@example.net")
    with door.ready() as client:
        client.send(
            b"MAIL FROM:<app@example.org>\r\nRCPT TO:<gone@example.net>\r\n"
            b"RCPT TO:<here@example.net>\r\nDATA\r\n"
        )
        assert [client.reply()[-1][:3] for _ in range(4)] == ["250", "550", "250", "354"]


def test_when_all_are_suppressed_there_is_no_data(door):
    suppress(door, "gone@example.net")
    with door.ready() as client:
        client.ask("MAIL FROM:<app@example.org>", 250)
        client.ask("RCPT TO:<gone@example.net>", 550)
        client.ask("DATA", 554)


@pytest.mark.parametrize(("network", "code"), [("127.0.0.0/8", 235), ("192.0.2.0/24", 535)])
def test_a_key_with_networks_logs_in_from_there_only(door, network, code):
    def make(connection: sa.Connection) -> str:
        return accounts.create_key(connection, "legacy", networks=[network]).secret

    secret = door.call(door.database.write(make))
    login = base64.b64encode(f"\0anybody\0{secret}".encode()).decode()
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO client.example.org", 250)
        reply = client.ask(f"AUTH PLAIN {login}", code)[-1]
    if code == 535:
        assert reply.startswith("535 5.7.8 ")


def test_a_key_of_a_disabled_account_is_refused(door):
    def disable(connection: sa.Connection) -> None:
        connection.execute(t.account.update().values(disabled_at=accounts.now()))

    door.call(door.database.write(disable))
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO client.example.org", 250)
        client.ask(f"AUTH PLAIN {door.plain()}", 535)
