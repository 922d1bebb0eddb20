"""What facts come to, in whatever order they are told."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.standing import Standing, after, error_code, error_sub_type
from relay.core.status import Status

START = datetime(2026, 1, 2, tzinfo=UTC)
ACCEPTED = Standing(Status.ACCEPTED)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


bounces = st.builds(Bounce, st.sampled_from(BounceClass), st.sampled_from(BounceReason))
facts = st.tuples(
    st.sampled_from(EventKind),
    st.integers(0, 5).map(at),
    st.fixed_dictionaries(
        {},
        optional={
            "bounce": bounces,
            "feedback_type": st.sampled_from(["abuse", "fraud"]),
            "machine": st.booleans(),
        },
    ),
)


def told(facts) -> Standing:
    standing = ACCEPTED
    for kind, moment, more in facts:
        standing = after(standing, kind, moment, **more)
    return standing


@given(st.lists(facts, max_size=5))
def test_every_order_comes_to_the_same(some) -> None:
    assert {told(order) for order in itertools.permutations(some)} == {told(some)}


@given(st.lists(facts, max_size=20), st.randoms(use_true_random=False))
def test_doubles_and_shuffles_change_nothing(some, random) -> None:
    doubled = some * 2
    random.shuffle(doubled)
    assert told(doubled) == told(some)


@given(st.lists(facts, max_size=10), facts)
def test_no_fact_lowers_a_status_or_makes_a_time_later(some, fact) -> None:
    before, then = told(some), told([*some, fact])
    assert then.status.rank >= before.status.rank
    for name in ("sent_at", "delivered_at", "opened_at"):
        known = getattr(before, name)
        assert known is None or getattr(then, name) <= known


@pytest.mark.parametrize("late", [EventKind.SENT, EventKind.DELIVERED, EventKind.OPENED, EventKind.DEFERRED])
@pytest.mark.parametrize("final", [EventKind.BOUNCED, EventKind.COMPLAINED])
def test_a_bounce_and_a_complaint_win_from_anywhere(final: EventKind, late: EventKind) -> None:
    expected = Status.BOUNCED if final is EventKind.BOUNCED else Status.COMPLAINT
    assert after(after(ACCEPTED, final, at(0)), late, at(9)).status is expected
    assert after(after(ACCEPTED, late, at(0)), final, at(9)).status is expected


def test_what_was_opened_was_delivered() -> None:
    standing = after(ACCEPTED, EventKind.OPENED, at(7))
    assert (standing.status, standing.delivered_at, standing.opened_at) == (Status.OPENED, at(7), at(7))
    assert after(standing, EventKind.DELIVERED, at(3)).delivered_at == at(3)


@pytest.mark.parametrize("kind", [EventKind.OPENED, EventKind.CLICKED])
def test_what_a_machine_opened_was_delivered_and_no_more(kind: EventKind) -> None:
    standing = after(ACCEPTED, kind, at(7), machine=True)
    assert (standing.status, standing.delivered_at, standing.opened_at) == (Status.DELIVERED, at(7), None)


@pytest.mark.parametrize(
    "kind", [EventKind.DEFERRED, EventKind.UNKNOWN, EventKind.UNSUBSCRIBED, EventKind.ACCEPTED]
)
def test_what_says_nothing_about_the_status_changes_nothing(kind: EventKind) -> None:
    standing = after(ACCEPTED, EventKind.SENT, at(1))
    assert after(standing, kind, at(0)) is standing


def test_the_contracts_words() -> None:
    hard, soft, block = BounceClass.HARD, BounceClass.SOFT, BounceClass.BLOCK
    words = {
        Bounce(hard, BounceReason.NO_SUCH_USER): ("Hard bounce", "NoEmail"),
        Bounce(hard, BounceReason.INACTIVE): ("Hard bounce", "General"),
        Bounce(hard, BounceReason.SUPPRESSED): ("Hard bounce", "Suppressed"),
        Bounce(soft, BounceReason.MAILBOX_FULL): ("Soft bounce", "MailboxFull"),
        Bounce(soft, BounceReason.TOO_LARGE): ("Soft bounce", "MessageTooLarge"),
        Bounce(soft, BounceReason.EXPIRED): ("Soft bounce", "General"),
        Bounce(block, BounceReason.REPUTATION): ("Soft bounce", "ContentRejected"),
    }
    assert {one: (error_code(one), error_sub_type(one)) for one in words} == words


def test_a_complaint_has_the_feedback_type_and_hides_the_bounce() -> None:
    standing = after(ACCEPTED, EventKind.BOUNCED, at(1), bounce=Bounce(BounceClass.HARD))
    assert standing.failure is not None
    assert standing.failure.error_code == "Hard bounce"
    standing = after(standing, EventKind.COMPLAINED, at(2), feedback_type="abuse")
    assert standing.failure is not None
    assert (standing.failure.error_code, standing.failure.error_sub_type) == ("abuse", None)


def test_the_worst_of_several_bounces_counts() -> None:
    soft = Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL)
    hard = Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER)
    standing = after(ACCEPTED, EventKind.BOUNCED, at(1), bounce=soft)
    standing = after(standing, EventKind.BOUNCED, at(2), bounce=hard)
    assert standing.failure is not None
    assert (standing.failure.bounce, standing.failure.at) == (hard, at(2))
