"""What an outcome means: one table."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply
from relay.core.retry import Schedule
from relay.core.status import State
from relay.delivery.decide import Policy, decide
from relay.store.deliveries import Claim

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CLAIM = Claim(1, 2, 3, 0, "a@x.example", 1, 1, None, None)
REPLY = Reply(451, "4.2.0", "words")


def decided(kind: OutcomeKind, *, age: float = 0, at_most_once: bool = False, **outcome):
    return decide(
        CLAIM,
        Outcome(kind, REPLY, **outcome),
        provider="out",
        accepted_at=NOW - timedelta(seconds=age),
        now=NOW,
        policy=Policy(Schedule(jitter=0), at_most_once),
    )


@pytest.mark.parametrize(
    ("kind", "state", "event", "wait"),
    [
        (OutcomeKind.ACCEPTED, State.DONE, EventKind.SENT, None),
        (OutcomeKind.REJECTED, State.DONE, EventKind.BOUNCED, None),
        (OutcomeKind.RETRY, State.QUEUED, EventKind.DEFERRED, 30),
        (OutcomeKind.THROTTLED, State.QUEUED, EventKind.DEFERRED, 5),
        (OutcomeKind.CONFIG, State.QUEUED, EventKind.DEFERRED, 60),
        (OutcomeKind.AMBIGUOUS, State.QUEUED, EventKind.AMBIGUOUS, 30),
    ],
)
def test_outcomes(kind, state, event, wait) -> None:
    result = decided(kind)
    assert (result.state, result.kind) == (state, event)
    assert result.due_at == (NOW + timedelta(seconds=wait) if wait else None)
    assert result.reply == "451 4.2.0 words"


@pytest.mark.parametrize("kind", [OutcomeKind.RETRY, OutcomeKind.THROTTLED])
def test_the_providers_own_time_is_taken(kind) -> None:
    assert decided(kind, retry_after=77).due_at == NOW + timedelta(seconds=77)


@pytest.mark.parametrize(
    "kind", [OutcomeKind.RETRY, OutcomeKind.THROTTLED, OutcomeKind.CONFIG, OutcomeKind.AMBIGUOUS]
)
def test_trying_ends_with_a_bounce_that_has_the_last_reply(kind) -> None:
    result = decided(kind, age=24 * 3600)
    assert (result.state, result.kind) == (State.DONE, EventKind.BOUNCED)
    assert result.bounce == Bounce(BounceClass.SOFT, BounceReason.EXPIRED)
    assert result.reply == "451 4.2.0 words"


def test_no_pause_goes_beyond_the_time_we_keep_trying() -> None:
    result = decided(OutcomeKind.RETRY, age=23 * 3600, retry_after=7 * 24 * 3600)
    assert result.due_at == NOW + timedelta(hours=1)


def test_at_most_once_leaves_an_unclear_outcome_to_a_human() -> None:
    assert decided(OutcomeKind.AMBIGUOUS, at_most_once=True).state is State.PARKED
