"""Hard mails arrive at the far end as they were sent: by SMTP in, through the record, by SMTP out."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from relay.core.ids import new_id
from relay.core.provider import Outgoing, OutgoingRecipient
from tests.sink import Sink
from tests.smtp.door import Client, Door
from tests.smtp.hard_mails import Made, all_mails

MAILS = list(all_mails())
_TRACE = re.compile(rb"Received: from client\.example\.org [^\n]*\n(?:\t[^\n]*\n)+")


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def _chunks(client: Client, mail: bytes) -> None:
    """By BDAT, cut at places that have no meaning."""
    cut = len(mail) // 3
    client.send(b"BDAT %d\r\n" % cut + mail[:cut])
    client.expect(250)
    client.send(b"BDAT %d LAST\r\n" % (len(mail) - cut) + mail[cut:])
    client.expect(250)


def _data(client: Client, mail: bytes) -> None:
    client.mail(mail.replace(b"\r\n.", b"\r\n..") + b".\r\n")


async def _forward(sink: Sink, stored: dict[str, Any]) -> None:
    from providers.smtp import Smtp

    provider = Smtp("far", {"host": sink.host, "port": sink.port, "tls": "none"})
    try:
        await provider.send(
            [
                Outgoing(
                    message_id=stored["id"],
                    sender=stored["sender"],
                    recipients=(OutgoingRecipient(1, "rcpt@example.net", 1),),
                    raw=stored["raw"],
                    eight_bit=stored["eight_bit"],
                )
            ]
        )
    finally:
        await provider.aclose()


@pytest.mark.parametrize(("name", "make"), MAILS, ids=[name for name, _ in MAILS])
def test_a_hard_mail_arrives_unchanged(name: str, make: Made, long_door: Door, sink: Sink) -> None:
    mail = make()
    door = long_door
    begun = new_id()
    with door.ready() as client:
        for send in (_data, _chunks):
            client.envelope()
            send(client, mail)
    by_data, by_chunks = door.stored(after=begun)
    assert by_data["size"] == len(by_data["raw"])
    assert _bare(by_chunks["raw"]) == mail
    before = sink.count
    asyncio.run(_forward(sink, by_data))
    arrived = sink.wait(before + 1)[-1].raw
    assert _bare(arrived) == mail


def _bare(raw: bytes) -> bytes:
    found = _TRACE.match(raw)
    assert found, raw[:200]
    return raw[found.end() :]


def test_there_are_enough_of_them() -> None:
    assert len(MAILS) >= 60
    assert all(b"\n" not in make().replace(b"\r\n", b"") for _, make in MAILS)
