"""Rules and trees say which providers a mail may take; circuits, limits and history say which one it takes now."""

from relay.config import Settings
from relay.core import routes
from relay.routing.breaker import Breaker, Tolerance, is_fault
from relay.routing.choice import FRESH, Block, Circuits, History, Plan, Router, Why, switch_of
from relay.routing.meter import Meter
from relay.routing.rules import Facts, Rule, facts_of

__all__ = [
    "FRESH",
    "Block",
    "Breaker",
    "Circuits",
    "Facts",
    "History",
    "Meter",
    "Plan",
    "Router",
    "Rule",
    "Tolerance",
    "Why",
    "facts_of",
    "is_fault",
    "router_of",
    "switch_of",
    "tolerance_of",
]


def router_of(settings: Settings) -> Router:
    """The routes of a configuration, which has been found consistent."""
    return Router(
        [Rule(number, rule) for number, rule in enumerate(settings.routes.rules, 1)],
        routes.parse(settings.default_route),
        switch_after=settings.routes.switch_after,
    )


def tolerance_of(settings: Settings) -> Tolerance:
    circuit = settings.routes.circuit
    return Tolerance(circuit.failures, circuit.window, circuit.pause, circuit.longest_pause)
