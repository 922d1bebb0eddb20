"""Which way a mail would take now, and what keeps each other provider from it. Asks nobody but the record."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from relay.config import Settings
from relay.core import routes
from relay.core.clock import now
from relay.core.provider import Outgoing, OutgoingRecipient, Provider
from relay.delivery.plan import outgoing_of
from relay.delivery.ways import Standing, Way
from relay.routing import FRESH, Block, Facts, History, Meter, Plan, Tolerance, Why, facts_of, router_of
from relay.store import circuits, deliveries, messages
from relay.store.deliveries import ClaimedMail

if TYPE_CHECKING:
    import sqlalchemy as sa


def explain(
    connection: "sa.Connection",
    settings: Settings,
    providers: Mapping[str, Provider],
    facts: Facts,
    *,
    mail: Outgoing | None = None,
    lines: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """The rule, the route, and each provider with what it has to say to one recipient's mail.

    Without `mail` only what its size and addresses tell is asked of a provider; `lines` are those of an earlier
    try's timeline. Rates and places are each worker's own business and are left out.
    """
    router = router_of(settings)
    rule = router.rule(facts)
    tree = rule.tree if rule else router.default
    history = router.history(lines) if lines else FRESH
    blocks = _blocks(
        connection, settings, providers, mail or _from_facts(facts), facts, history, whole=mail is not None
    )
    plan = router.choose(facts, lambda name, _facts, _pinned: blocks.get(name), history=history)
    return {
        "recipient": facts.recipient,
        "rule": str(rule) if rule else "default",
        "route": str(tree),
        "provider": plan.provider,
        "otherwise": None if plan.provider else _otherwise(plan),
        "shares": "weighted" in str(tree) and len(set(routes.order(tree, 1))) > 1,
        "ways": [_way(name, plan, history, blocks.get(name)) for name in router.order(facts)],
    }


def explain_stored(
    connection: "sa.Connection", settings: Settings, providers: Mapping[str, Provider], message: int
) -> list[dict[str, Any]]:
    """The same for each recipient of a stored message; empty where there is none of this id."""
    row = messages.get(connection, None, message)
    if row is None:
        return []
    names = circuits.names(connection)
    lines = deliveries.history(connection, [message])
    raw = deliveries.bodies(connection, [message]).get(message)
    found = []
    for one in messages.recipients(connection, message):
        mail = None
        if raw is not None:
            recipient = OutgoingRecipient(one["id"], one["address"], one["attempts"])
            mail = replace(outgoing_of(ClaimedMail(message, dict(row)), (), raw), recipients=(recipient,))
        facts = facts_of(row, one["address"], *names)
        facts.pin = one["route"] if one["route"] in providers else None
        found.append(explain(connection, settings, providers, facts, mail=mail, lines=lines.get(one["id"])))
    return found


def _way(name: str, plan: Plan, history: History, block: Block | None) -> dict[str, Any]:
    words = block.words if block else ""
    if name in history.strikes and not words:
        words = f"{history.strikes[name]} tries in vain"
    if name == history.pinned:
        words = "the mail may have gone out by it, so only it may be asked again"
    now = "takes it" if name == plan.provider else "cannot" if block else "could"
    return {"name": name, "now": now, "why": words}


def _otherwise(plan: Plan) -> str:
    if plan.waits_for is not None:
        return f"the mail waits for {plan.waits_for}"
    return "nobody can take the mail: it bounces"


def _from_facts(facts: Facts) -> Outgoing:
    utf8 = not (facts.sender.isascii() and facts.recipient.rpartition("@")[0].isascii())
    return Outgoing(facts.id, facts.sender, (OutgoingRecipient(1, facts.recipient, 1),), b"", smtputf8=utf8)


def _blocks(
    connection: "sa.Connection",
    settings: Settings,
    providers: Mapping[str, Provider],
    mail: Outgoing,
    facts: Facts,
    history: History,
    *,
    whole: bool,
) -> dict[str, Block]:
    states, used = circuits.states(connection), circuits.usage(connection)
    found: dict[str, Block] = {}
    moment = now()
    for name, provider in providers.items():
        standing = Standing(name, Tolerance(), lambda: None)
        standing.shared = states.get(name) or standing.shared
        meter = Meter(settings.limits_of(name), 1, time.monotonic)
        way = Way(provider, standing, meter, lambda: None)
        block = standing.block(pinned=name == history.pinned)
        for window, limit in meter.allowances(moment).items():
            if block is None and used.get((name, window.key(moment)), 0) >= limit:
                block = Block(Why.QUOTA, f"its quota of {limit} this {window.value} is used up")
        if block is None:
            words = way.refuses(mail) if whole else _by_size(way, mail, facts.size)
            block = Block(Why.REFUSES, words) if words else None
        if block is not None:
            found[name] = block
    return found


def _by_size(way: Way, mail: Outgoing, size: int) -> str | None:
    can = way.provider.capabilities
    if can.max_bytes is not None and size > can.max_bytes:
        return f"the mail has {size} octets, and it takes {can.max_bytes}"
    return "the mail needs SMTPUTF8" if mail.smtputf8 and not can.smtputf8 else None
