"""What an outcome means for a recipient. Pure: the answer is a value, and the store writes it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.bounces import classify
from relay.core.event import EventKind
from relay.core.provider import Outcome, OutcomeKind
from relay.core.retry import Schedule
from relay.core.status import State
from relay.store.deliveries import Claim
from relay.store.reports import ref_key
from relay.store.settling import Settlement, Switch

#: seconds until a provider that wants an operator's attention is asked again
_CONFIG_PAUSE = 60.0
#: seconds until a throttled send is tried again where the provider named no time
_THROTTLE_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's choices that a decision depends on."""

    schedule: Schedule
    #: an unclear outcome is left to a human instead of being tried again
    at_most_once: bool = False


def decide(
    claim: Claim,
    outcome: Outcome,
    *,
    provider: str,
    accepted_at: datetime,
    now: datetime,
    policy: Policy,
    switches: tuple[Switch, ...] = (),
    waiting_for: str | None = None,
    reports: bool = False,
) -> Settlement:
    """The settlement of one claimed recipient. `reports` says that the provider reports by its own ids.

    `switches` are those of this try; what is to be tried again may come before its time once there is room at
    `waiting_for`.
    """
    case = _Case(claim, outcome, provider, accepted_at, now, policy, switches, waiting_for, reports)
    return _RULES[outcome.kind](case)


@dataclass(slots=True)
class _Case:
    claim: Claim
    outcome: Outcome
    provider: str
    accepted_at: datetime
    now: datetime
    policy: Policy
    switches: tuple[Switch, ...]
    waiting_for: str | None
    reports: bool

    def settle(
        self,
        kind: EventKind,
        state: State,
        *,
        due_at: datetime | None = None,
        bounce: Bounce | None = None,
    ) -> Settlement:
        return Settlement(
            claim=self.claim,
            state=state,
            kind=kind,
            at=self.now,
            reply=str(self.outcome.reply),
            provider=self.provider,
            due_at=due_at,
            ref=self.outcome.ref,
            ref_key=ref_key(self.provider, self.outcome.ref) if self.reports and self.outcome.ref else None,
            bounce=bounce,
            detail=self._detail(kind, bounce),
            waiting_for=self.waiting_for if state is State.QUEUED else None,
            switches=self.switches,
        )

    def _detail(self, kind: EventKind, bounce: Bounce | None) -> dict[str, Any] | None:
        if kind in {EventKind.DEFERRED, EventKind.PARKED}:
            # Routing reads later what kind of failure it was.
            return {"outcome": self.outcome.kind.value}
        if bounce is not None:
            return {"bounce": {"class": bounce.kind.value, "reason": bounce.reason.value}}
        return None

    def again(self, kind: EventKind, due_at: datetime | None) -> Settlement:
        """Another try at `due_at`, or, without one, the end of trying."""
        if due_at is None:
            # Nobody has said that there is no such mailbox; we have only stopped trying.
            reason = classify(self.outcome.reply).reason
            if reason is BounceReason.OTHER:
                reason = BounceReason.EXPIRED
            return self.settle(EventKind.BOUNCED, State.DONE, bounce=Bounce(BounceClass.SOFT, reason))
        return self.settle(kind, State.QUEUED, due_at=due_at)

    def scheduled(self) -> datetime | None:
        return self.policy.schedule.next_due(
            attempts=self.claim.attempts, accepted_at=self.accepted_at, now=self.now
        )

    def after(self, seconds: float) -> datetime | None:
        """A pause that someone else chose, within the time we keep trying."""
        end = self.accepted_at + timedelta(seconds=self.policy.schedule.give_up_after)
        return None if self.now >= end else min(self.now + timedelta(seconds=seconds), end)


def _accepted(case: _Case) -> Settlement:
    return case.settle(EventKind.SENT, State.DONE)


def _rejected(case: _Case) -> Settlement:
    return case.settle(EventKind.BOUNCED, State.DONE, bounce=classify(case.outcome.reply))


def _retry(case: _Case) -> Settlement:
    wait = case.outcome.retry_after
    return case.again(EventKind.DEFERRED, case.scheduled() if wait is None else case.after(wait))


def _throttled(case: _Case) -> Settlement:
    wait = case.outcome.retry_after
    return case.again(EventKind.DEFERRED, case.after(_THROTTLE_PAUSE if wait is None else wait))


def _config(case: _Case) -> Settlement:
    return case.again(EventKind.DEFERRED, case.after(_CONFIG_PAUSE))


def _ambiguous(case: _Case) -> Settlement:
    if case.policy.at_most_once:
        return case.settle(EventKind.PARKED, State.PARKED)
    return case.again(EventKind.AMBIGUOUS, case.scheduled())


_RULES: dict[OutcomeKind, Callable[[_Case], Settlement]] = {
    OutcomeKind.ACCEPTED: _accepted,
    OutcomeKind.REJECTED: _rejected,
    OutcomeKind.RETRY: _retry,
    OutcomeKind.THROTTLED: _throttled,
    OutcomeKind.CONFIG: _config,
    OutcomeKind.AMBIGUOUS: _ambiguous,
}
