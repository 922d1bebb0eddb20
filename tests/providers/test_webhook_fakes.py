"""What becomes of a mail at each vendor's fake, told by its webhook, verified and read by the adapter."""

import asyncio

import pytest

from providers.fakes.posting import FATES, Step
from relay.core.bounce import BounceClass
from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.provider import OutcomeKind, Report
from relay.testing import outgoing
from tests.providers.fakery import HOOK, FakeServer
from tests.providers.webhooks import VENDORS, believer, request_of, source

MAIL = (
    b"From: Ann <ann@example.com>\r\nTo: list@example.org\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html\r\n\r\n<p>One line.</p>\r\n"
)
KINDS = {
    Step.SENT: EventKind.SENT,
    Step.DEFERRED: EventKind.DEFERRED,
    Step.DELIVERED: EventKind.DELIVERED,
    Step.HARD: EventKind.BOUNCED,
    Step.SOFT: EventKind.BOUNCED,
    Step.BLOCKED: EventKind.BOUNCED,
    Step.DROPPED: EventKind.BOUNCED,
    Step.COMPLAINED: EventKind.COMPLAINED,
    Step.OPENED: EventKind.OPENED,
    Step.CLICKED: EventKind.CLICKED,
    Step.UNSUBSCRIBED: EventKind.UNSUBSCRIBED,
}
#: steps that a vendor has no event for
UNTOLD = {
    "azure": {Step.SENT, Step.DEFERRED, Step.COMPLAINED, Step.UNSUBSCRIBED},
    "mailersend": {Step.DROPPED},
    "mailjet": {Step.SENT},
    "mailtrap": {Step.SENT},
    "postmark": {Step.SENT},
    "resend": {Step.UNSUBSCRIBED},
}
#: Brevo and MailerSend have two kinds of bounces only
CLASSES = {Step.HARD: BounceClass.HARD, Step.SOFT: BounceClass.SOFT, Step.BLOCKED: BounceClass.BLOCK}


async def _told(server: FakeServer, vendor: str, address: str) -> tuple[str | None, str, list[Report]]:
    """The provider's own id of a mail sent there, our token, and what the fake tells, as the adapter reads it."""
    provider, fake = believer(server, vendor), server.fakes[vendor]
    mail = outgoing(address, raw=MAIL, tag="receipt")
    ((outcome,),) = await provider.send([mail])
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome
    (kept,) = fake.kept
    events = [fake.told(kept, step, now()) for step in FATES[kept.fate]]
    requests = [request_of(post) for post in fake.posts([one for one in events if one], HOOK)]
    for request in requests:
        assert await source(provider).receive(request) is None
    await provider.aclose()
    return outcome.ref, mail.token, [one for request in requests for one in source(provider).read(request)]


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_what_becomes_of_a_mail_is_told_as_it_is(fake_server: FakeServer, vendor: str, fate: str) -> None:
    address = f"{fate}@example.org"
    ref, token, reports = asyncio.run(_told(fake_server, vendor, address))
    steps = [step for step in FATES[fate] if step not in UNTOLD.get(vendor, set())]
    assert [one.kind for one in reports] == [KINDS[step] for step in steps]
    assert {one.ref for one in reports} <= {ref}
    assert {one.token for one in reports} <= {token if vendor != "azure" else None}
    assert {one.recipient for one in reports} <= {address}
    for step, report in zip(steps, reports, strict=True):
        assert report.at.tzinfo is not None
        assert report.original
        assert (report.bounce is not None) == (report.kind is EventKind.BOUNCED)
        if step in CLASSES and (vendor not in {"brevo", "mailersend"} or step is not Step.BLOCKED):
            assert report.bounce is not None
            assert report.bounce.kind is CLASSES[step], report
        if step is Step.CLICKED:
            assert report.detail["url"] == "https://www.example.com/offer?a=1"
