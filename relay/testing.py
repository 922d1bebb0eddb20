"""What every provider promises, as tests to subclass: say how to make one and how to provoke it, and it is tested.

For packages with a provider of their own as much as for ours; needs pytest, and nothing else of Pillarbox but
`relay.core`. Call `pytest.register_assert_rewrite("relay.testing")` in a conftest to see values in failures.

A hook that returns None says that this kind of provider cannot be brought into that situation; the case is then
skipped with the reason shown, never silently.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import pytest

from relay.core.clock import now
from relay.core.errors import Misconfigured
from relay.core.event import EventKind
from relay.core.parts import Parts, take_apart
from relay.core.provider import (
    Capabilities,
    NotAuthentic,
    Outcome,
    OutcomeKind,
    Outgoing,
    OutgoingRecipient,
    Provider,
    ProviderProblem,
    Receipt,
    Report,
    WebhookAnswer,
    WebhookRequest,
    WebhookSource,
    refusal,
)

T = TypeVar("T")

_ids = count(1_000)

RAW = (
    b"From: Ann <ann@example.com>\r\nTo: list@example.org\r\nSubject: hello\r\n\r\n"
    b"One line.\r\n.\r\n..two dots\r\n.hidden\r\n"
)


NOISE = (
    b"",
    b"{",
    b"7",
    b"[null, 7, {}]",
    b'{"event": {"a": []}}',
    b"\xff\x00",
    b"[" * 2_000,
    b"[" * 900 + rb'"\u0000"' + b"]" * 900,
)


def outgoing(*addresses: str, sender: str = "ann@example.com", raw: bytes = RAW, **more: Any) -> Outgoing:
    """A mail to these addresses with ids of its own."""
    recipients = tuple(OutgoingRecipient(next(_ids), address, 1) for address in addresses)
    return Outgoing(next(_ids), sender, recipients, raw, **more)


def webhook(body: bytes, headers: Mapping[str, str] | None = None) -> WebhookRequest:
    """A request as it comes to the door now; header names in any case."""
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    return WebhookRequest("POST", "/v1/webhooks/primary/secret", "", lowered, body, now())


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came out at the far end: the bytes, or the parts where the provider takes parts."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    parts: Parts | None = None


def assert_same_content(given: Parts, arrived: Parts) -> None:
    """Everything a reader sees is the same; recipients' fields are the envelope's business. A provider may add
    fields of its own.
    """
    assert arrived.from_ == given.from_
    assert arrived.subject == given.subject
    assert arrived.reply_to == given.reply_to
    assert arrived.text == given.text
    assert arrived.html == given.html
    assert arrived.alternatives == given.alternatives
    assert [(a.name, a.content, a.cid) for a in arrived.attachments] == [
        (a.name, a.content, a.cid if a.inline else None) for a in given.attachments
    ]
    headers = [(name.lower(), text) for name, text in arrived.headers]
    assert [pair for pair in given.headers if (pair[0].lower(), pair[1]) not in headers] == []


class ProviderContract:
    """Subclass as `Test…`; the hooks come first."""

    #: the mail that is sent, for providers that do not take just any
    raw = RAW
    #: addresses that the far end takes, refuses and puts off
    good = "jane@example.org"
    refused: str | None = "refused@example.org"
    busy: str | None = "busy@example.org"
    #: one for which the far end says that we are too fast
    throttled: str | None = None

    def make(self) -> Provider:
        """A provider that works."""
        raise pytest.UsageError("a contract needs make()")

    def unreachable(self) -> Provider | None:
        """One whose far end does not answer."""
        return None

    def wrong_credentials(self) -> Provider | None:
        return None

    def losing_the_line(self) -> Provider | None:
        """One whose far end takes the whole mail and answers nothing."""
        return None

    def secret(self) -> str | None:
        """What is in the options of `make` and `wrong_credentials` and must not be seen."""
        return None

    def options_with(self, **more: Any) -> Callable[[], Provider]:
        """How to make one with these options on top."""
        raise pytest.UsageError("a contract needs options_with()")

    def arrivals(self) -> Sequence[Arrival]:
        """What has come out at the far end so far."""
        raise pytest.UsageError("a contract needs arrivals()")

    def webhooks(self) -> Sequence[tuple[WebhookRequest, EventKind]]:
        """For what reports events: requests as the far end makes them now, each with the kind of the one event in it.
        The first is of a mail whose token is `17.21`, where tokens come back.
        """
        return ()

    def forged(self) -> Sequence[WebhookRequest]:
        """Requests that claim to be the far end's: with another secret, changed, old, without a signature."""
        return ()

    # The cases.

    def test_it_has_a_name_and_says_what_it_can_do(self) -> None:
        provider = self.make()
        assert provider.name
        assert isinstance(provider.capabilities, Capabilities)
        assert provider.capabilities.batch_size >= 1
        assert provider.capabilities.max_recipients >= 1
        assert provider.capabilities.events == isinstance(provider, WebhookSource)
        self._use(provider, _nothing)

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(Misconfigured, match="verbosity"):
            self.options_with(verbosity="high")()

    def test_a_mail_is_accepted_and_arrives_as_it_was(self) -> None:
        provider = self.make()
        (receipt,) = self._send(provider, [self.mail(self.good)])
        assert [one.kind for one in receipt] == [OutcomeKind.ACCEPTED]
        assert receipt[0].reply.positive
        (arrival,) = self.arrivals()
        assert arrival.recipients == (self.good,)
        if provider.capabilities.raw:
            assert arrival.raw == self.raw
        else:
            assert arrival.parts is not None
            assert_same_content(take_apart(self.raw), arrival.parts)

    def test_to_and_cc_are_seen_as_far_as_the_provider_says(self) -> None:
        provider = self.make()
        lines = self.raw.split(b"\r\n")
        named = f"To: {self.good}, John <john@example.org>\r\nCc: bob@example.com".encode()
        raw = b"\r\n".join(named if line.startswith(b"To:") else line for line in lines)
        assert named in raw
        self._send(provider, [self.mail(self.good, raw=raw)])
        (arrival,) = self.arrivals()
        seen = arrival.parts or take_apart(arrival.raw)
        all_ = [self.good, "john@example.org", "bob@example.com"]
        seen_too = all_ if provider.capabilities.shows_all_recipients else [self.good]
        assert [box.address for box in (*seen.to, *seen.cc)] == seen_too
        assert arrival.recipients == (self.good,)

    def test_a_mail_beyond_the_limit_is_refused_without_a_call(self) -> None:
        limit = self._needs(self._can().max_bytes, "knows no limit of its own")
        mail = self.mail(self.good, raw=self.raw + b"x" * 70 * (limit // 70 + 1))

        async def ask(provider: Provider) -> Sequence[Receipt]:
            assert refusal(provider, self.mail(self.good)) is None
            assert refusal(provider, mail)
            return await provider.send([mail])

        ((outcome,),) = self._use(self.make(), ask)
        assert outcome.kind is OutcomeKind.REJECTED
        assert not self.arrivals()

    def test_the_number_of_recipients_is_no_reason_to_refuse(self) -> None:
        many = self.mail(*(f"r{n}@example.org" for n in range(self._can().max_recipients + 1)))

        async def ask(provider: Provider) -> str | None:
            return refusal(provider, many)

        assert self._use(self.make(), ask) is None

    def test_one_bad_mail_does_not_sink_its_batch(self) -> None:
        if self._can().batch_size < 3:
            pytest.skip("capability: it takes one mail at a time")
        refused = self._needs(self.refused, "refuses no address")
        batch = [self.mail(self.good), self.mail(refused), self.mail("john@example.org")]
        receipts = self._send(self.make(), batch)
        kinds = [one.kind for receipt in receipts for one in receipt]
        assert kinds == [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.ACCEPTED]
        assert [a.recipients for a in self.arrivals()] == [(self.good,), ("john@example.org",)]

    def test_being_too_fast_is_no_fault_of_the_mail(self) -> None:
        address = self._needs(self.throttled, "has no pace")
        (receipt,) = self._send(self.make(), [self.mail(address)])
        assert [one.kind for one in receipt] == [OutcomeKind.THROTTLED]
        assert receipt[0].reply.transient
        assert receipt[0].retry_after is None or receipt[0].retry_after >= 0
        assert not self.arrivals()

    def test_a_repeat_is_sent_once(self) -> None:
        if not self._can().idempotent:
            pytest.skip("capability: the far end does not know a repeat from a first try")
        mail = self.mail(self.good)

        async def twice(provider: Provider) -> list[Receipt]:
            return [*await provider.send([mail]), *await provider.send([mail])]

        first, second = self._use(self.make(), twice)
        assert [first[0].kind, second[0].kind] == [OutcomeKind.ACCEPTED] * 2
        assert second[0].ref in {first[0].ref, None}, "the repeat has become another mail"
        assert len(self.arrivals()) == 1

    def test_every_recipient_of_every_mail_is_answered_in_order(self) -> None:
        provider = self.make()
        size = min(3, provider.capabilities.batch_size)
        batch = [
            self.mail(
                *(f"r{mail}-{n}@example.org" for n in range(min(3, provider.capabilities.max_recipients)))
            )
            for mail in range(size)
        ]
        receipts = self._send(provider, batch)
        assert [len(receipt) for receipt in receipts] == [len(mail.recipients) for mail in batch]
        assert {one.kind for receipt in receipts for one in receipt} == {OutcomeKind.ACCEPTED}

    def test_a_refusal_is_rejected(self) -> None:
        (receipt,) = self._send(self.make(), [self.mail(self._needs(self.refused, "refuses no address"))])
        assert [one.kind for one in receipt] == [OutcomeKind.REJECTED]
        assert receipt[0].reply.permanent
        assert not self.arrivals()

    def test_a_busy_mailbox_is_for_later(self) -> None:
        (receipt,) = self._send(self.make(), [self.mail(self._needs(self.busy, "puts nobody off"))])
        assert [one.kind for one in receipt] == [OutcomeKind.RETRY]
        assert receipt[0].reply.transient
        assert not self.arrivals()

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_bad_address_does_not_sink_the_rest(self, place: int) -> None:
        provider = self.make()
        if not provider.capabilities.per_recipient or provider.capabilities.max_recipients < 3:
            self._use(provider, _nothing)
            pytest.skip("capability: recipients of one mail share an outcome, or there is only one")
        addresses = [self.good, "john@example.org"]
        addresses.insert(place, self._needs(self.refused, "refuses no address"))
        (receipt,) = self._send(provider, [self.mail(*addresses)])
        expected = [OutcomeKind.ACCEPTED] * 3
        expected[place] = OutcomeKind.REJECTED
        assert [one.kind for one in receipt] == expected
        arrived = [address for arrival in self.arrivals() for address in arrival.recipients]
        assert sorted(arrived) == sorted((self.good, "john@example.org"))

    def test_it_goes_on_after_a_refusal(self) -> None:
        refused = self._needs(self.refused, "refuses no address")

        async def both(provider: Provider) -> list[Receipt]:
            first = await provider.send([self.mail(refused)])
            return [*first, *await provider.send([self.mail(self.good)])]

        first, second = self._use(self.make(), both)
        assert (first[0].kind, second[0].kind) == (OutcomeKind.REJECTED, OutcomeKind.ACCEPTED)
        assert [a.recipients for a in self.arrivals()] == [(self.good,)]

    def test_an_unreachable_far_end_is_for_later(self) -> None:
        addresses = [self.good, "b@b.b"][: self._can().max_recipients]
        (receipt,) = self._send(
            self._needs(self.unreachable(), "is always reachable"), [self.mail(*addresses)]
        )
        assert [one.kind for one in receipt] == [OutcomeKind.RETRY] * len(addresses)

    def test_a_line_lost_after_the_data_is_ambiguous(self) -> None:
        (receipt,) = self._send(
            self._needs(self.losing_the_line(), "has no line to lose"), [self.mail(self.good)]
        )
        assert [one.kind for one in receipt] == [OutcomeKind.AMBIGUOUS]

    def test_wrong_credentials_are_for_the_operator(self) -> None:
        provider = self._needs(self.wrong_credentials(), "wants no credentials")
        secret = self.secret()

        async def try_both(provider: Provider) -> tuple[Outcome, str]:
            (receipt,) = await provider.send([self.mail(self.good)])
            with pytest.raises(ProviderProblem) as problem:
                await provider.check()
            return receipt[0], str(problem.value)

        outcome, problem = self._use(provider, try_both)
        assert outcome.kind is OutcomeKind.CONFIG
        assert secret
        assert secret not in str(outcome.reply)
        assert secret not in problem
        assert not self.arrivals()

    def test_the_secret_is_not_seen(self) -> None:
        secret = self._needs(self.secret(), "has no secret")
        provider = self.make()

        async def look(provider: Provider) -> str:
            return await provider.check()

        checked = self._use(provider, look)
        assert secret not in repr(provider) + str(provider) + checked + provider.name

    def test_check_says_in_a_line_what_it_found(self) -> None:
        async def look(provider: Provider) -> str:
            return await provider.check()

        found = self._use(self.make(), look)
        assert found
        assert "\n" not in found
        assert not self.arrivals()

    def test_closing_twice_does_no_harm_and_later_mail_is_for_later(self) -> None:
        async def close(provider: Provider) -> Sequence[Receipt]:
            await provider.send([self.mail(self.good)])
            await provider.aclose()
            await provider.aclose()
            return await provider.send([self.mail(self.good)])

        (receipt,) = self._use(self.make(), close)
        assert [one.kind for one in receipt] == [OutcomeKind.RETRY]
        assert len(self.arrivals()) == 1

    def test_closing_lets_sends_in_flight_finish(self) -> None:
        async def close_meanwhile(provider: Provider) -> list[Sequence[Receipt]]:
            sends = [
                asyncio.ensure_future(provider.send([self.mail(f"p{n}@example.org")])) for n in range(30)
            ]
            await asyncio.sleep(0)
            await provider.aclose()
            return await asyncio.gather(*sends)

        receipts = self._use(self.make(), close_meanwhile)
        assert {r[0][0].kind for r in receipts} == {OutcomeKind.ACCEPTED}
        assert len(self.arrivals()) == 30

    def test_many_sends_at_once_each_get_their_own_answer(self) -> None:
        refused = self.refused

        async def crowd(provider: Provider) -> list[tuple[str, OutcomeKind]]:
            addresses = [refused if refused and n % 7 == 0 else f"c{n}@example.org" for n in range(256)]
            receipts = await asyncio.gather(*(provider.send([self.mail(a)]) for a in addresses))
            return [(a, r[0][0].kind) for a, r in zip(addresses, receipts, strict=True)]

        results = self._use(self.make(), crowd)
        for address, kind in results:
            assert kind is (OutcomeKind.REJECTED if address == refused else OutcomeKind.ACCEPTED)
        wanted = sorted(address for address, kind in results if kind is OutcomeKind.ACCEPTED)
        assert sorted(r for a in self.arrivals() for r in a.recipients) == wanted

    def test_a_cancelled_send_leaves_a_working_provider(self) -> None:
        async def cancel_some(provider: Provider) -> list[OutcomeKind]:
            sends = [
                asyncio.ensure_future(provider.send([self.mail(f"x{n}@example.org")])) for n in range(40)
            ]
            for turns, send in enumerate(sends[:20]):
                for _ in range(turns % 4):
                    await asyncio.sleep(0)
                send.cancel()
            await asyncio.gather(*sends, return_exceptions=True)
            kept = [receipts[0][0].kind for receipts in await asyncio.gather(*sends[20:])]
            (receipt,) = await provider.send([self.mail(self.good)])
            return [*kept, receipt[0].kind]

        assert set(self._use(self.make(), cancel_some)) == {OutcomeKind.ACCEPTED}
        arrived = [r for a in self.arrivals() for r in a.recipients]
        assert len(arrived) == len(set(arrived))
        assert {self.good, *(f"x{n}@example.org" for n in range(20, 40))} <= set(arrived)

    def test_the_null_sender_goes_through(self) -> None:
        provider = self.make()
        (receipt,) = self._send(provider, [self.mail(self.good, sender="")])
        assert [one.kind for one in receipt] == [OutcomeKind.ACCEPTED]
        if provider.capabilities.envelope_sender:
            assert [a.sender for a in self.arrivals()] == [""]

    def test_international_addresses_go_through_or_are_refused(self) -> None:
        provider = self.make()
        (receipt,) = self._send(provider, [self.mail("jürgen@example.org", smtputf8=True)])
        if provider.capabilities.smtputf8:
            assert [one.kind for one in receipt] == [OutcomeKind.ACCEPTED]
            assert [a.recipients for a in self.arrivals()] == [("jürgen@example.org",)]
        else:
            assert [one.kind for one in receipt] == [OutcomeKind.REJECTED]
            assert not self.arrivals()

    # Events.

    def test_what_the_far_end_tells_is_verified_and_read(self) -> None:
        self._reports()
        for request, kind in self._told():
            (answer, reports), (again, same) = self._ask(request), self._ask(request)
            assert (answer, again) == (None, None), "an event is no handshake, and comes again"
            assert [one.kind for one in reports] == [kind]
            assert same == reports, "a repeat reads the same"
            assert all(one.at.tzinfo is not None and one.original for one in reports)
            assert all(one.token or one.ref or one.recipient for one in reports), (
                "nobody would know whose it is"
            )
            assert all(one.token in {None, "17.21"} for one in reports)

    def test_what_is_forged_is_not_believed(self) -> None:
        self._reports()
        forged = self.forged()
        assert forged, "events=True needs forged()"
        for request in forged:
            with pytest.raises(NotAuthentic):
                self._ask(request)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"7", b"[null, 7, {}]", b'{"event": {"a": []}}', b"\xff\x00", b"[" * 500]
    )
    def test_noise_is_read_without_harm(self, body: bytes) -> None:
        self._reports()

        async def read(provider: Provider) -> Sequence[Report]:
            assert isinstance(provider, WebhookSource)
            return provider.read(webhook(body))

        assert {one.kind for one in self._use(self.make(), read)} <= {EventKind.UNKNOWN}

    # Tools.

    def _reports(self) -> None:
        if not self._can().events:
            pytest.skip("capability: it reports nothing")

    def _told(self) -> Sequence[tuple[WebhookRequest, EventKind]]:
        told = self.webhooks()
        assert told, "events=True needs webhooks()"
        return told

    def _ask(self, request: WebhookRequest) -> tuple[WebhookAnswer | None, Sequence[Report]]:
        async def ask(provider: Provider) -> tuple[WebhookAnswer | None, Sequence[Report]]:
            assert isinstance(provider, WebhookSource)
            return await provider.receive(request), provider.read(request)

        return self._use(self.make(), ask)

    def mail(self, *addresses: str, **more: Any) -> Outgoing:
        return outgoing(*addresses, **{"raw": self.raw, **more})

    def _can(self) -> Capabilities:
        provider = self.make()
        self._use(provider, _nothing)
        return provider.capabilities

    def _send(self, provider: Provider, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        async def send(provider: Provider) -> Sequence[Receipt]:
            return await provider.send(batch)

        return self._use(provider, send)

    def _use(self, provider: Provider, do: Callable[[Provider], Awaitable[T]]) -> T:
        async def run() -> T:
            try:
                return await do(provider)
            finally:
                await provider.aclose()

        return asyncio.run(run())

    def _needs(self, given: T | None, otherwise: str) -> T:
        if given is None:
            pytest.skip(f"capability: it {otherwise}")
        return given


async def _nothing(_: Provider) -> None:
    return None
