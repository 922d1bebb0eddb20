"""What `refuses` says of a mail with several recipients, each of whom will be sent to alone."""

import asyncio

from providers.postmark import Postmark
from relay.core.provider import OutcomeKind
from relay.testing import outgoing
from tests.providers.fakery import FakeServer


def test_one_who_cannot_be_written_to_does_not_keep_the_mail_from_the_others(fake_server: FakeServer) -> None:
    provider = Postmark("primary", {"token": "fake-key", "base_url": fake_server.url("postmark")})
    odd, fine = "jürgen@example.org", "jane@exämple.org"
    assert provider.refuses(outgoing(odd, fine)) is None
    assert provider.refuses(outgoing(odd))
    assert provider.refuses(outgoing(odd, "jörg@example.org"))

    async def send() -> list[OutcomeKind]:
        mails = [outgoing(odd), outgoing(fine), outgoing("a@example.org", "b@example.org")]
        receipts = await provider.send(mails)
        await provider.aclose()
        return [receipt[0].kind for receipt in receipts]

    assert asyncio.run(send()) == [OutcomeKind.REJECTED, OutcomeKind.ACCEPTED, OutcomeKind.REJECTED]
    (kept,) = fake_server.fakes["postmark"].kept
    assert kept.recipients == ("jane@xn--exmple-cua.org",)
