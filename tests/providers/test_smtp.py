"""What a smarthost can do to us, and what we make of it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from providers.smtp import Smtp
from relay.core.errors import Misconfigured
from relay.core.provider import Outcome, OutcomeKind, Outgoing, OutgoingRecipient, ProviderProblem
from relay.testing import RAW, outgoing
from tests.sink import EVERYTHING, Fault, Sink

T = TypeVar("T")

ACCEPTED, REJECTED, RETRY = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.RETRY
THROTTLED, CONFIG, AMBIGUOUS = OutcomeKind.THROTTLED, OutcomeKind.CONFIG, OutcomeKind.AMBIGUOUS
STEP_BY_STEP = tuple(offer for offer in EVERYTHING if offer != "PIPELINING")
BOTH_WAYS = pytest.mark.parametrize(
    "extensions", [EVERYTHING, STEP_BY_STEP], ids=["pipelined", "step by step"]
)


def use(sink: Sink, do: Callable[[Smtp], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        office = Smtp("office", {"host": sink.host, "port": sink.port, "tls": "none", **options})
        try:
            return await do(office)
        finally:
            await office.aclose()

    return asyncio.run(run())


def send(sink: Sink, *mails: Outgoing, **options: Any) -> list[tuple[Outcome, ...]]:
    """One after the other over one provider."""

    async def do(office: Smtp) -> list[tuple[Outcome, ...]]:
        return [(await office.send([mail]))[0] for mail in mails]

    return use(sink, do, **options)


def kinds(receipt: Sequence[Outcome]) -> list[OutcomeKind]:
    return [one.kind for one in receipt]


# Connections.


def test_mails_share_a_connection_and_the_envelope_is_one_packet() -> None:
    with Sink() as sink:
        send(sink, outgoing("a@b.c", "d@e.f"), outgoing("g@h.i"), hostname="mx.test")
        assert sink.connections == 1
        sink.wait_for(lambda: sink.bursts[-1] == ["QUIT"])
        assert [[line.partition(" ")[0] for line in burst] for burst in sink.bursts] == [
            ["EHLO"],
            ["MAIL", "RCPT", "RCPT", "DATA"],
            ["MAIL", "RCPT", "DATA"],
            ["QUIT"],
        ]
        assert sink.bursts[0] == ["EHLO mx.test"]


async def crowd_of(office: Smtp, *addresses: str) -> list[OutcomeKind]:
    receipts = await asyncio.gather(*(office.send([outgoing(address)]) for address in addresses))
    return [receipt[0].kind for (receipt,) in receipts]


def test_a_mail_that_waits_opens_with_the_end_of_the_one_before() -> None:
    addresses = [f"r{n}@b.c" for n in range(5)]
    with Sink() as sink:
        assert use(sink, lambda office: crowd_of(office, *addresses), max_connections=1) == [ACCEPTED] * 5
        assert [mail.recipients for mail in sink.mails] == [(address,) for address in addresses]
        assert all(mail.raw == RAW for mail in sink.mails)
        assert sink.connections == 1


def test_a_refused_mail_does_not_harm_the_one_behind_it() -> None:
    addresses = ["r@b.c", "spam@b.c", "s@b.c", "refuse@b.c", "t@b.c", "later@b.c", "u@b.c"]
    with Sink() as sink:
        assert use(sink, lambda office: crowd_of(office, *addresses), max_connections=1) == [
            ACCEPTED, REJECTED, ACCEPTED, REJECTED, ACCEPTED, RETRY, ACCEPTED
        ]  # fmt: skip
        assert [mail.recipients[0][0] for mail in sink.mails] == ["r", "s", "t", "u"]


@pytest.mark.parametrize("fault", [Fault.CLOSE_AFTER_DATA, Fault.BUSY_AFTER_DATA, Fault.GARBAGE_AFTER_DATA])
def test_when_the_line_is_lost_at_a_mails_end_the_one_behind_it_goes_by_another(fault: Fault) -> None:
    with Sink() as sink:
        sink.misbehave(fault, times=1)
        outcomes = use(sink, lambda office: crowd_of(office, "a@b.c", "d@e.f"), max_connections=1)
        assert outcomes == [RETRY if fault is Fault.BUSY_AFTER_DATA else AMBIGUOUS, ACCEPTED]
        assert [mail.recipients for mail in sink.mails][-1] == ("d@e.f",)


def test_a_mail_is_not_held_up_by_one_whose_end_the_server_does_not_answer() -> None:
    async def three(office: Smtp) -> list[OutcomeKind]:
        first, *others = [asyncio.create_task(office.send([outgoing(f"r{n}@b.c")])) for n in range(3)]
        # One of them has opened behind the first.
        receipts = await asyncio.gather(*others)
        assert not first.done()
        return [receipt[0].kind for (receipt,) in [*receipts, await first]]

    with Sink() as sink:
        sink.misbehave(Fault.HANG_AFTER_DATA, times=1)
        outcomes = use(sink, three, max_connections=2, data_timeout=4)
        assert outcomes == [ACCEPTED, ACCEPTED, AMBIGUOUS]


def test_without_pipelining_every_command_waits_for_its_reply() -> None:
    with Sink(extensions=STEP_BY_STEP) as sink:
        send(sink, outgoing("a@b.c"))
        assert [len(burst) for burst in sink.bursts] == [1] * len(sink.bursts)
        assert len(sink.mails) == 1


def test_connections_are_bounded_and_everybody_gets_a_turn() -> None:
    async def crowd(office: Smtp) -> list[OutcomeKind]:
        receipts = await asyncio.gather(*(office.send([outgoing(f"r{n}@b.c")]) for n in range(60)))
        return [receipt[0].kind for (receipt,) in receipts]

    with Sink() as sink:
        assert use(sink, crowd, max_connections=3) == [ACCEPTED] * 60
        assert sink.most_at_once == 3


def test_a_server_that_allows_fewer_connections_still_gets_all_mail() -> None:
    async def crowd(office: Smtp) -> list[OutcomeKind]:
        receipts = await asyncio.gather(*(office.send([outgoing(f"r{n}@b.c")]) for n in range(60)))
        return [receipt[0].kind for (receipt,) in receipts]

    with Sink(max_connections=2) as sink:
        assert use(sink, crowd, max_connections=10) == [ACCEPTED] * 60


@pytest.mark.parametrize("farewell", [b"", b"421 4.4.2 idle for too long\r\n"])
def test_a_connection_closed_while_idle_is_replaced_unnoticed(farewell: bytes) -> None:
    async def twice(office: Smtp) -> list[OutcomeKind]:
        (first,) = await office.send([outgoing("a@b.c")])
        sink.hang_up(farewell)
        (second,) = await office.send([outgoing("d@e.f")])
        return kinds([*first, *second])

    with Sink() as sink:
        assert use(sink, twice) == [ACCEPTED, ACCEPTED]
        assert [mail.recipients for mail in sink.mails] == [("a@b.c",), ("d@e.f",)]


@BOTH_WAYS
@pytest.mark.parametrize("fault", [Fault.CLOSE_AT_MAIL, Fault.BUSY_AT_MAIL])
def test_a_kept_connection_that_dies_at_the_first_command_is_replaced_once(
    fault: Fault, extensions: tuple[str, ...]
) -> None:
    async def twice(office: Smtp) -> list[OutcomeKind]:
        (first,) = await office.send([outgoing("a@b.c")])
        sink.misbehave(fault, times=1)
        (second,) = await office.send([outgoing("d@e.f")])
        sink.misbehave(fault, times=2)
        (third,) = await office.send([outgoing("g@h.i")])
        return kinds([*first, *second, *third])

    with Sink(extensions=extensions) as sink:
        assert use(sink, twice) == [ACCEPTED, ACCEPTED, RETRY]
        assert len(sink.mails) == 2


def test_connections_are_renewed_after_so_many_mails() -> None:
    with Sink() as sink:
        send(sink, *(outgoing("a@b.c") for _ in range(5)), max_messages_per_connection=2, max_connections=1)
        assert [mail.connection for mail in sink.mails] == [1, 1, 2, 2, 3]


def test_idle_connections_are_closed_politely() -> None:
    async def idle(office: Smtp) -> None:
        await office.send([outgoing("a@b.c")])
        await asyncio.to_thread(sink.wait_for, lambda: sink.open_connections == 0)

    with Sink() as sink:
        use(sink, idle, idle="0.01")
        assert sink.bursts[-1] == ["QUIT"]


def test_one_probe_is_sent_where_nobody_answers() -> None:
    async def crowd(office: Smtp) -> set[OutcomeKind]:
        receipts = await asyncio.gather(*(office.send([outgoing(f"r{n}@b.c")]) for n in range(50)))
        return {receipt[0].kind for (receipt,) in receipts}

    with Sink() as sink:
        sink.misbehave(Fault.BUSY_AT_GREETING)
        assert use(sink, crowd) == {RETRY}
        assert sink.connections == 1


def test_a_cancelled_send_gives_its_connection_up() -> None:
    async def cancel(office: Smtp) -> list[OutcomeKind]:
        stuck = asyncio.ensure_future(office.send([outgoing("a@b.c")]))
        await asyncio.to_thread(sink.wait_for, lambda: any(b[0].startswith("MAIL") for b in sink.bursts))
        sink.misbehave(None)
        stuck.cancel()
        (receipt,) = await office.send([outgoing("d@e.f")])
        return kinds(receipt)

    with Sink() as sink:
        sink.misbehave(Fault.HANG_AT_MAIL)
        assert use(sink, cancel, max_connections=1) == [ACCEPTED]


def test_half_a_line_out_of_turn_ends_the_connection() -> None:
    async def twice(office: Smtp) -> list[OutcomeKind]:
        (first,) = await office.send([outgoing("a@b.c")])
        await asyncio.to_thread(sink.wait_for, lambda: sink.open_connections == 0)
        (second,) = await office.send([outgoing("d@e.f")])
        return kinds([*first, *second])

    with Sink() as sink:
        sink.misbehave(Fault.MUMBLE_AFTER_DATA, times=1)
        assert use(sink, twice, max_connections=1) == [ACCEPTED, ACCEPTED]
        assert sink.connections == 2


def test_small_writes_are_not_held_back() -> None:
    async def look(office: Smtp) -> int:
        await office.send([outgoing("a@b.c")])
        (line,) = office._pool._lines
        return int(
            line._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        )

    with Sink() as sink:
        assert use(sink, look)


# Replies.


@BOTH_WAYS
@pytest.mark.parametrize(
    ("mail", "expected", "code"),
    [
        (outgoing("refuse@b.c"), REJECTED, "550 5.1.1"),
        (outgoing("full@b.c"), RETRY, "452 4.2.2"),
        (outgoing("oldfull@b.c"), RETRY, "552"),
        (outgoing("grey@b.c"), RETRY, "451 4.7.1"),
        (outgoing("throttle@b.c"), THROTTLED, "451 4.7.0"),
        (outgoing("relay@b.c"), CONFIG, "550 5.7.1"),
        (outgoing("spam@b.c"), REJECTED, "554 5.7.1"),
        (outgoing("later@b.c"), RETRY, "451 4.3.0"),
        (outgoing("quota@b.c"), THROTTLED, "454"),
        (outgoing("a@b.c", sender="banned@b.c"), CONFIG, "550 5.7.1"),
        (outgoing("a@b.c", sender="unknown@b.c"), REJECTED, "501 5.1.7"),
        (outgoing("a@b.c", sender="slow@b.c"), RETRY, "451 4.3.2"),
    ],
    ids=lambda value: value.recipients[0].address if isinstance(value, Outgoing) else None,
)
def test_what_replies_mean(
    mail: Outgoing, expected: OutcomeKind, code: str, extensions: tuple[str, ...]
) -> None:
    with Sink(extensions=extensions) as sink:
        first, after = send(sink, mail, outgoing("jane@b.c"))
        assert kinds(first) == [expected]
        assert str(first[0].reply).startswith(code)
        # The transaction that was left open does not disturb the next one, on the same connection.
        assert kinds(after) == [ACCEPTED]
        assert sink.connections == 1
        assert [mail.recipients for mail in sink.mails] == [("jane@b.c",)]


@BOTH_WAYS
def test_each_recipient_has_a_fate_of_its_own(extensions: tuple[str, ...]) -> None:
    addresses = ("a@b.c", "refuse@b.c", "d@e.f", "grey@b.c", "full@b.c", "throttle@b.c", "g@h.i")
    with Sink(extensions=extensions) as sink:
        (receipt,) = send(sink, outgoing(*addresses))
        assert kinds(receipt) == [ACCEPTED, REJECTED, ACCEPTED, RETRY, RETRY, THROTTLED, ACCEPTED]
        assert sink.mails[0].recipients == ("a@b.c", "d@e.f", "g@h.i")


def test_a_hundred_recipients_in_one_go() -> None:
    addresses = [f"{'refuse' if n % 3 == 0 else 'r'}{n}@b.c" for n in range(100)]
    with Sink() as sink:
        (receipt,) = send(sink, outgoing(*addresses))
        assert kinds(receipt) == [REJECTED if n % 3 == 0 else ACCEPTED for n in range(100)]


def test_the_far_ends_id_and_its_idea_of_later_are_kept() -> None:
    with Sink() as sink:
        ((accepted,), (busy,)) = send(sink, outgoing("a@b.c"), outgoing("busy@b.c"))
        assert (accepted.ref, str(accepted.reply)) == ("S000001", "250 2.0.0 Ok: queued as S000001")
        assert busy.retry_after == 300


def test_greylisting_lets_go() -> None:
    with Sink(grey_times=1) as sink:
        assert [kinds(r) for r in send(sink, outgoing("grey@b.c"), outgoing("grey@b.c"))] == [
            [RETRY],
            [ACCEPTED],
        ]


def test_data_asked_for_without_recipients_gets_a_lone_dot() -> None:
    with Sink() as sink:
        sink.misbehave(Fault.GO_AHEAD_ANYWAY)
        first, second = send(sink, outgoing("refuse@b.c"), outgoing("a@b.c"))
        assert (kinds(first), kinds(second)) == ([REJECTED], [ACCEPTED])
        assert [mail.raw for mail in sink.mails] == [RAW]
        assert sink.connections == 1


# Faults.

#: waits that are not worth their usual minutes, each for the fault it is about: no other step may be late for it
IMPATIENT = {
    Fault.HANG_AT_GREETING: {"connect_timeout": 2},
    Fault.HANG_AT_MAIL: {"command_timeout": 2},
    Fault.HANG_AFTER_DATA: {"data_timeout": 2},
}


@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.CLOSE_AT_GREETING, RETRY),
        (Fault.REFUSE_AT_GREETING, CONFIG),
        (Fault.BUSY_AT_GREETING, RETRY),
        (Fault.HANG_AT_GREETING, RETRY),
        (Fault.GARBAGE_AT_GREETING, RETRY),
        (Fault.CLOSE_AT_MAIL, RETRY),
        (Fault.BUSY_AT_MAIL, RETRY),
        (Fault.HANG_AT_MAIL, RETRY),
        (Fault.GARBAGE_AT_MAIL, RETRY),
        (Fault.ENDLESS_AT_MAIL, RETRY),
        (Fault.BUSY_AT_RCPT, RETRY),
        (Fault.CLOSE_AT_RCPT, RETRY),
        (Fault.BUSY_AT_DATA, RETRY),
        (Fault.CLOSE_AT_DATA, RETRY),
        (Fault.REFUSE_AT_DATA, REJECTED),
        (Fault.BUSY_AFTER_DATA, RETRY),
        (Fault.CLOSE_AFTER_DATA, AMBIGUOUS),
        (Fault.HANG_AFTER_DATA, AMBIGUOUS),
        (Fault.GARBAGE_AFTER_DATA, AMBIGUOUS),
    ],
)
def test_every_fault_has_its_outcome_and_the_next_mail_goes_through(
    fault: Fault, expected: OutcomeKind, extensions: tuple[str, ...]
) -> None:
    async def twice(office: Smtp) -> list[list[OutcomeKind]]:
        (first,) = await office.send([outgoing("a@b.c", "d@e.f")])
        sink.misbehave(None)
        (second,) = await office.send([outgoing("jane@b.c")])
        return [kinds(first), kinds(second)]

    with Sink(extensions=extensions) as sink:
        sink.misbehave(fault)
        outcomes = use(sink, twice, **IMPATIENT.get(fault, {}))
        assert outcomes == [[expected] * 2, [ACCEPTED]]
        assert sink.mails[-1].recipients == ("jane@b.c",)


def test_what_a_recipient_was_told_stands_when_the_line_is_lost_later() -> None:
    with Sink() as sink:
        sink.misbehave(Fault.CLOSE_AFTER_DATA)
        (receipt,) = send(sink, outgoing("a@b.c", "refuse@b.c", "full@b.c"))
        assert kinds(receipt) == [AMBIGUOUS, REJECTED, RETRY]


def test_a_line_lost_within_the_body_is_not_ambiguous() -> None:
    large = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 300_000
    with Sink() as sink:
        sink.misbehave(Fault.CLOSE_IN_BODY, times=1)
        first, second = send(sink, outgoing("a@b.c", raw=large), outgoing("a@b.c", raw=large))
        assert (kinds(first), kinds(second)) == ([RETRY], [ACCEPTED])
        assert [mail.raw == large for mail in sink.mails] == [True]


def test_a_reply_too_many_is_nobodys() -> None:
    with Sink() as sink:
        sink.misbehave(Fault.ECHO_AFTER_DATA)
        receipts = send(sink, outgoing("a@b.c"), outgoing("refuse@b.c"), outgoing("d@e.f"))
        assert [kinds(r) for r in receipts] == [[ACCEPTED], [REJECTED], [ACCEPTED]]


def test_a_name_that_does_not_resolve_is_for_later() -> None:
    with Sink() as sink:
        ((outcome,),) = send(sink, outgoing("a@b.c"), host="nowhere.invalid")
        assert (outcome.kind, outcome.reply.enhanced) == (RETRY, "4.4.3")


# Bytes and extensions.


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b".\r\n",
        b"..\r\n",
        b"\r\n.\r\n",
        b"S: x\r\n\r\n.\r\n.\r\n..\r\n",
        b"S: x\r\n\r\n\x00\xff.\r\n \xe2\x82\xac\r\n",
        b"S: x\r\n\r\n" + b"y" * 5_000 + b"\r\n",
    ],
)
def test_bytes_arrive_as_they_are(raw: bytes) -> None:
    with Sink() as sink:
        assert kinds(send(sink, outgoing("a@b.c", raw=raw))[0]) == [ACCEPTED]
        assert sink.mails[0].raw == raw


@pytest.mark.parametrize(
    "raw", [b"S: x\n\r\nb\r\n", b"S: x\r\n\r\nb\n.\nMAIL\r\n", b"S: x\r\n\r\nb\r.\r\r\n"]
)
def test_stray_line_ends_do_not_leave(raw: bytes) -> None:
    with Sink() as sink:
        (outcome,) = send(sink, outgoing("a@b.c", raw=raw))[0]
        assert (outcome.kind, outcome.reply.enhanced) == (REJECTED, "5.6.0")
        assert not sink.mails


def test_mail_parameters_follow_the_offers() -> None:
    recipient = OutgoingRecipient(7, "jürgen@b.c", 1, notify="FAILURE,DELAY", orcpt="rfc822;j@b.c")
    mail = Outgoing(5, "a@b.c", (recipient,), RAW, smtputf8=True, eight_bit=True, ret="HDRS", envid="E+2B1")
    plain = outgoing("a@b.c", eight_bit=True)
    with Sink() as sink:
        send(sink, mail, plain)
        assert sink.mails[0].parameters == f"SIZE={len(RAW)} BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=E+2B1"
        assert sink.mails[0].recipient_parameters == ("NOTIFY=FAILURE,DELAY ORCPT=rfc822;j@b.c",)
        assert sink.mails[1].parameters == f"SIZE={len(RAW)} BODY=8BITMIME ENVID={plain.token}"
    with Sink(extensions=()) as sink:
        send(sink, plain)
        assert sink.mails[0].parameters == ""


def test_parameters_cannot_smuggle_more() -> None:
    recipient = OutgoingRecipient(7, "a@b.c", 1, notify="NEVER X=1", orcpt="rfc822;a\r\nRCPT TO:<x@y.z>")
    mail = Outgoing(5, "a@b.c", (recipient,), RAW, ret="FULL X=1", envid="a b\r\nRSET")
    with Sink() as sink:
        assert kinds(send(sink, mail)[0]) == [ACCEPTED]
        assert sink.mails[0].parameters == f"SIZE={len(RAW)} ENVID=5.7"
        assert sink.mails[0].recipient_parameters == ("",)


@pytest.mark.parametrize("address", ["a@b.c>\r\nRCPT TO:<x@y.z", "a\x00@b.c", "a\x7f@b.c"])
def test_an_address_with_control_characters_is_not_said(address: str) -> None:
    with Sink() as sink:
        both, sender = send(sink, outgoing(address, "jane@b.c"), outgoing("jane@b.c", sender=address))
        assert kinds(both) == [REJECTED, ACCEPTED]
        assert kinds(sender) == [REJECTED]
        assert [mail.recipients for mail in sink.mails] == [("jane@b.c",)]


@pytest.mark.parametrize(
    "mail",
    [outgoing("jürgen@b.c"), outgoing("a@b.c", sender="jürgen@b.c"), outgoing("a@b.c", smtputf8=True)],
)
def test_what_needs_smtputf8_is_refused_before_a_command_where_it_is_missing(mail: Outgoing) -> None:
    with Sink(extensions=("PIPELINING",)) as sink:
        ((outcome,),) = send(sink, mail)
        assert (outcome.kind, outcome.reply.code, outcome.reply.enhanced) == (REJECTED, 553, "5.6.7")
        assert [burst[0][:4] for burst in sink.bursts] == ["EHLO", "QUIT"]


def test_mail_above_the_servers_size_is_refused_before_a_command() -> None:
    with Sink(extensions=("SIZE 100",)) as sink:
        ((outcome,), (small,)) = send(
            sink, outgoing("a@b.c", raw=b"x" * 99 + b"\r\n"), outgoing("a@b.c", raw=b"x\r\n")
        )
        assert (outcome.kind, outcome.reply.code, small.kind) == (REJECTED, 552, ACCEPTED)


# TLS and signing in.


def test_a_certificate_nobody_vouches_for_is_for_the_operator() -> None:
    with Sink(tls="starttls") as sink:
        ((outcome,),) = send(sink, outgoing("a@b.c"), tls="require")
        assert (outcome.kind, outcome.reply.enhanced) == (CONFIG, "5.7.5")
        ((unverified,),) = send(sink, outgoing("a@b.c"), tls="require", verify="false")
        assert unverified.kind is ACCEPTED


def test_a_certificate_for_another_name_is_for_the_operator() -> None:
    with Sink(tls="implicit", host="127.0.0.2") as sink:
        ((outcome,),) = send(sink, outgoing("a@b.c"), tls="implicit", ca_file=sink.ca_file)
        assert outcome.kind is CONFIG


@pytest.mark.parametrize("tls", ["require", "implicit"])
def test_tls_that_is_not_there_is_for_the_operator(tls: str) -> None:
    with Sink() as sink:
        ((outcome,),) = send(sink, outgoing("a@b.c"), tls=tls)
        assert outcome.kind is CONFIG
        assert not sink.mails


@pytest.mark.parametrize(("offered", "secure"), [("starttls", True), ("none", False)])
def test_opportunistic_takes_what_there_is(offered: str, secure: bool) -> None:
    with Sink(tls=offered) as sink:
        assert kinds(send(sink, outgoing("a@b.c"), tls="opportunistic")[0]) == [ACCEPTED]
        assert sink.mails[0].tls is secure


def test_a_server_that_wants_us_signed_in_is_for_the_operator() -> None:
    with Sink(users={"u": "p"}) as sink:
        ((outcome,),) = send(sink, outgoing("a@b.c"))
        assert (outcome.kind, outcome.reply.code) == (CONFIG, 530)


def test_a_server_without_auth_is_for_the_operator() -> None:
    with Sink() as sink:
        ((outcome,),) = send(sink, outgoing("a@b.c"), username="u", password="p", plaintext_auth=True)
        assert outcome.kind is CONFIG


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_password_that_the_server_quotes_back_is_hidden(mechanism: str) -> None:
    with Sink(users={"u": "p"}) as sink:
        sink.mechanisms = mechanism
        ((outcome,),) = send(sink, outgoing("a@b.c"), username="u", password="other", plaintext_auth=True)
        assert outcome.kind is CONFIG
        assert outcome.reply.text == "not accepted: ********"


def test_check_tells_what_stands_in_the_way() -> None:
    async def check(office: Smtp) -> str:
        return await office.check()

    with Sink() as sink:
        assert "26214400" in use(sink, check)
        sink.misbehave(Fault.REFUSE_AT_GREETING)
        with pytest.raises(ProviderProblem, match="address is blocked"):
            use(sink, check)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "host is needed"),
        ({"host": "h", "prot": 25}, "'prot'"),
        ({"host": "h\r\nX"}, "host must be"),
        ({"host": "h", "port": "smtp"}, "port must be"),
        ({"host": "h", "port": 70_000}, "port must be"),
        ({"host": "h", "tls": "starttls"}, "tls must be one of require"),
        ({"host": "h", "idle": 0}, "idle must be"),
        ({"host": "h", "verify": "perhaps"}, "verify must be"),
        ({"host": "h", "max_connections": 0}, "max_connections must be"),
        ({"host": "h", "hostname": "a b"}, "hostname must be"),
        ({"host": "h", "username": "u"}, "needed together"),
        ({"host": "h", "username": "u", "password": "p", "tls": "none"}, "in the clear"),
        ({"host": "h", "verify": True, "tls": "opportunistic"}, "no meaning"),
        ({"host": "h", "ca_file": "/nowhere.pem"}, "ca_file cannot be used"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        Smtp("office", options)


@pytest.mark.parametrize(
    ("options", "tls"),
    [
        ({}, "require"),
        ({"port": 465}, "implicit"),
        ({"port": "25"}, "opportunistic"),
        ({"port": 2525, "username": "u", "password": "p"}, "require"),
    ],
)
def test_tls_defaults_follow_the_port(options: dict[str, Any], tls: str) -> None:
    assert Smtp("office", {"host": "h", **options})._options.tls == tls
