"""Which provider a mail takes now, and why. Pure: the same facts, circuits and history give the same plan."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from relay.core import routes
from relay.core.event import EventKind
from relay.core.provider import OutcomeKind
from relay.routing.rules import Facts, Rule


class Why(StrEnum):
    """What keeps a provider from taking a mail now."""

    CIRCUIT = "circuit"  #: it has failed too often lately
    CONFIG = "config"  #: it has just said that it will not serve us
    RETRIES = "retries"  #: it has had its share of tries of this mail
    PAUSED = "paused"
    DRAINING = "draining"
    REFUSES = "refuses"  #: the mail cannot be said to it
    REMOVED = "removed"  #: it is not configured any more
    RATE = "rate"
    QUOTA = "quota"
    STALLED = "stalled"  #: all its places are taken and nothing moves
    BUSY = "busy"  #: all its places are taken
    DOMAIN = "domain"  #: all its places for this recipient's domain are taken

    @property
    def is_switch(self) -> bool:
        """Whether going elsewhere because of it is told in the mail's timeline."""
        return self in _SWITCHES


_SWITCHES = frozenset(
    {Why.CIRCUIT, Why.CONFIG, Why.RETRIES, Why.PAUSED, Why.DRAINING, Why.REMOVED, Why.STALLED}
)
#: of these a mail does not go elsewhere: the provider is well, and has room in a moment
_WAITS = frozenset({Why.BUSY, Why.DOMAIN})


@dataclass(frozen=True, slots=True)
class Block:
    """Why a provider cannot take a mail now, in a word and in words; `until` is in seconds from now, if known."""

    why: Why
    words: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What earlier tries of a recipient's mail came to."""

    #: tries in vain by provider; what ended a provider's turn counts as a whole turn
    strikes: Mapping[str, int] = field(default_factory=dict)
    #: the mail may have gone out by this one: only it can recognise a repeat
    pinned: str | None = None
    last: str | None = None


FRESH = History()

#: What keeps a provider from taking these facts; the flag is set for a mail that is pinned to it.
Circuits = Callable[[str, Facts, bool], Block | None]


@dataclass(slots=True)
class Plan:
    """Where a mail goes: to `provider`, or, without one, it waits for `waits_for`; without either nobody takes it."""

    provider: str | None
    #: those asked before, in order, each with what keeps it from taking the mail
    passed: Sequence[tuple[str, Block]] = ()
    waits_for: str | None = None
    block: Block | None = None


class Router:
    """The configured routes; replaced as a whole when the configuration is."""

    def __init__(self, rules: Sequence[Rule], default: routes.Node, *, switch_after: int = 3) -> None:
        self.rules = tuple(rules)
        self.default = default
        #: the order of everything, where there is only one
        self._only = None if rules else routes.fixed(default)
        self.switch_after = switch_after
        #: facts that some rule asks for and that cost a look at the record
        self.asks_names = any(rule.asks & {"account", "key"} for rule in rules)

    def rule(self, facts: Facts) -> Rule | None:
        """The first rule that is about the mail; None is the default."""
        for rule in self.rules:
            if rule.about(facts):
                return rule
        return None

    def order(self, facts: Facts) -> tuple[str, ...]:
        """The providers the mail may take, most wanted first.

        A sender's hint picks among them and adds none; an operator's word goes before them all.
        """
        if self._only is not None:
            order = self._only
        else:
            rule = self.rule(facts) if self.rules else None
            order = routes.order(self.default if rule is None else rule.tree, facts.id)
        if facts.pin is not None:
            return (facts.pin, *(name for name in order if name != facts.pin))
        if facts.hint in order[1:]:
            return (facts.hint, *(name for name in order if name != facts.hint))
        return order

    def history(self, lines: Iterable[tuple[str, str | None, Mapping[str, str]]]) -> History:
        """From the lines of a recipient's timeline: kind, provider and detail, oldest first."""
        strikes: dict[str, int] = {}
        pinned = last = None
        for kind, provider, detail in lines:
            if not provider:
                continue
            if kind == EventKind.AMBIGUOUS or (
                # Left to a human, who has released it.
                kind == EventKind.PARKED and detail.get("outcome") == OutcomeKind.AMBIGUOUS
            ):
                pinned = last = provider
            elif kind == EventKind.DEFERRED:
                last = provider
                outcome = detail.get("outcome")
                if outcome != OutcomeKind.THROTTLED:
                    turn = self.switch_after if outcome == OutcomeKind.CONFIG else 1
                    strikes[provider] = strikes.get(provider, 0) + turn
            elif kind == EventKind.SWITCHED and detail.get("why") == Why.CONFIG:
                strikes[provider] = strikes.get(provider, 0) + self.switch_after
        return History(strikes, pinned, last)

    def choose(
        self,
        facts: Facts,
        circuits: Circuits,
        tried: Mapping[str, Block] | None = None,
        history: History = FRESH,
    ) -> Plan:
        """The plan for one try. `tried` has the providers that this very try has asked in vain."""
        order = self.order(facts)
        if history.pinned is not None:
            block = circuits(history.pinned, facts, True)
            if block is None:
                return Plan(history.pinned)
            if block.why is not Why.REMOVED:
                return Plan(None, ((history.pinned, block),), history.pinned, block)
        strikes = history.strikes
        if not strikes and not tried:
            first = circuits(order[0], facts, False)
            if first is None:
                return Plan(order[0])
        passed: list[tuple[str, Block]] = []
        if strikes:
            turns = {name: strikes.get(name, 0) // self.switch_after for name in order}
            wanted = order[0]
            order = tuple(sorted(order, key=turns.__getitem__))
            if order[0] != wanted:
                words = f"{strikes[wanted]} tries in vain"
                passed.append((wanted, Block(Why.RETRIES, words)))
        for name in order:
            block = tried[name] if tried and name in tried else circuits(name, facts, False)
            if block is None:
                return Plan(name, passed)
            passed.append((name, block))
            if block.why in _WAITS:
                return Plan(None, passed, name, block)
        for name, block in passed:
            if block.why not in {Why.REFUSES, Why.CONFIG, Why.RETRIES, Why.REMOVED}:
                return Plan(None, passed, name, block)
        return Plan(None, passed)


def switch_of(plan: Plan, history: History = FRESH) -> tuple[str, Block] | None:
    """The provider that the mail went away from by this plan, and why; None where it did not."""
    if history.last is not None and history.last == plan.provider:
        return None
    last = history.last
    for name, block in plan.passed:
        if block.why.is_switch and name != plan.provider and last in {None, name}:
            return name, block
    if last is not None and history.strikes.get(last):
        return last, Block(Why.RETRIES, f"{history.strikes[last]} tries in vain")
    if history.pinned is not None and plan.provider is not None and plan.provider != history.pinned:
        return history.pinned, Block(Why.REMOVED, "it is not configured any more")
    return None
