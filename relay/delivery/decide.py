"""What an outcome means for a recipient. Pure: the answer is a value, and the store writes it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.core.event import EventKind
from relay.core.provider import Outcome, OutcomeKind
from relay.core.retry import Schedule
from relay.core.status import State, Status
from relay.store.deliveries import Claim, Settlement, Switch

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
) -> Settlement:
    """The settlement of one claimed recipient.

    `switches` are those of this try; what is to be tried again may come before its time once there is room at
    `waiting_for`.
    """
    case = _Case(claim, outcome, provider, accepted_at, now, policy, switches, waiting_for)
    return _RULES[outcome.kind](case)


@dataclass(frozen=True, slots=True)
class _Case:
    claim: Claim
    outcome: Outcome
    provider: str
    accepted_at: datetime
    now: datetime
    policy: Policy
    switches: tuple[Switch, ...]
    waiting_for: str | None

    def settle(
        self,
        kind: EventKind,
        state: State,
        status: Status | None = None,
        *,
        due_at: datetime | None = None,
        error_code: str | None = None,
    ) -> Settlement:
        return Settlement(
            claim=self.claim,
            state=state,
            status=status,
            kind=kind,
            at=self.now,
            reply=str(self.outcome.reply),
            provider=self.provider,
            due_at=due_at,
            ref=self.outcome.ref,
            error_code=error_code,
            error_sub_type=self._sub_type() if error_code else None,
            # Routing reads later what kind of failure it was.
            detail={"outcome": self.outcome.kind.value} if kind is EventKind.DEFERRED else None,
            waiting_for=self.waiting_for if state is State.QUEUED else None,
            switches=self.switches,
        )

    def _sub_type(self) -> str:
        return self.outcome.reply.enhanced or str(self.outcome.reply.code)

    def again(self, kind: EventKind, due_at: datetime | None) -> Settlement:
        """Another try at `due_at`, or, without one, the end of trying."""
        if due_at is None:
            return self.settle(EventKind.BOUNCED, State.DONE, Status.BOUNCED, error_code="Soft bounce")
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
    return case.settle(EventKind.SENT, State.DONE, Status.SENT)


def _rejected(case: _Case) -> Settlement:
    return case.settle(EventKind.BOUNCED, State.DONE, Status.BOUNCED, error_code="Hard bounce")


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
