"""Explaining routes before, or after, a mail takes one."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    fail,
    in_record,
    settings_from,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.config import Settings
    from relay.routing import Facts

app = typer.Typer(no_args_is_help=True, help="Show which way a mail takes, and why.")


@app.command()
def explain(
    sender: Annotated[str, typer.Option("--from", help="The return path.")] = "",
    to: Annotated[str, typer.Option("--to", help="The recipient.")] = "",
    message: Annotated[
        int | None, typer.Option("--message", help="A stored message's ID, instead of facts.")
    ] = None,
    tag: Annotated[str | None, typer.Option()] = None,
    classification: Annotated[str | None, typer.Option()] = None,
    account: Annotated[str | None, typer.Option(help="The account's name.")] = None,
    key: Annotated[str | None, typer.Option(help="The key's label.")] = None,
    stream: Annotated[str | None, typer.Option()] = None,
    lane: Annotated[str | None, typer.Option()] = None,
    size: Annotated[int, typer.Option(min=0, help="Octets.")] = 1000,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which rule a mail falls under, which provider would take it now, and what keeps the others from it."""
    from relay.core.ids import new_id
    from relay.routing import Facts

    settings = settings_from(config)
    if message is None:
        if not to:
            fail("--to is needed, or --message", 2)
        if lane is None:
            lane = "urgent" if classification == "URGENT" else "normal"
        facts = Facts(new_id(), sender, to, account, key, classification, tag, stream, lane, size)
        found = [in_record(settings, _explain, settings, facts, None)]
    else:
        found = in_record(settings, _explain_stored, settings, message)
        if not found:
            fail(f"there is no message with ID {message}")
    if as_json:
        show_json(found)
        return
    for one in found:
        _show(one)


def _show(one: dict[str, Any]) -> None:
    if one["recipient"]:
        console.print(f"to       {one['recipient']}", markup=False)
    console.print(f"rule     {one['rule']}", markup=False)
    console.print(f"route    {one['route']}", markup=False)
    console.print(f"provider {one['provider'] or 'none now: the mail waits'}", markup=False)
    if one["shares"]:
        console.print("         (a share of the mail goes each way; another mail may have another order)")
    show_table(("PROVIDER", "NOW", "WHY"), [(w["name"], w["now"], w["why"]) for w in one["ways"]])


def _explain(
    connection: "sa.Connection", settings: "Settings", facts: "Facts", lines: list[Any] | None
) -> dict[str, Any]:
    from relay.core import routes
    from relay.routing import FRESH, router_of

    router = router_of(settings)
    rule = router.rule(facts)
    tree = rule.tree if rule else router.default
    blocks = _blocks(connection, settings, facts)
    history = router.history(lines) if lines else FRESH
    plan = router.choose(facts, lambda name, _facts, _pinned: blocks.get(name), history=history)
    order = router.order(facts)
    ways = []
    for name in order:
        block = blocks.get(name)
        words = block.words if block else ""
        if name in history.strikes and not words:
            words = f"{history.strikes[name]} tries in vain"
        if name == history.pinned:
            words = "the mail may have gone out by it, so only it may be asked again"
        now = "takes it" if name == plan.provider else "cannot" if block else "could"
        ways.append({"name": name, "now": now, "why": words})
    return {
        "recipient": facts.recipient,
        "rule": str(rule) if rule else "default",
        "route": str(tree),
        "provider": plan.provider,
        "shares": "weighted" in str(tree) and len(set(routes.order(tree, 1))) > 1,
        "ways": ways,
    }


def _blocks(connection: "sa.Connection", settings: "Settings", facts: "Facts") -> dict[str, Any]:
    """What is known to keep providers from the mail; rates and places are each worker's own business."""
    from relay.core.clock import now
    from relay.core.errors import Misconfigured
    from relay.delivery.ways import Standing
    from relay.routing import Block, Meter, Tolerance, Why
    from relay.store import circuits
    from workers.setups import build_providers

    states, used = circuits.states(connection), circuits.usage(connection)
    found: dict[str, Any] = {}
    try:
        providers = build_providers(settings)
    except Misconfigured as error:
        fail(str(error), 2)
    moment = now()
    for name, provider in providers.items():
        standing = Standing(name, Tolerance(), lambda: None)
        standing.shared = states.get(name) or standing.shared
        block = standing.block(pinned=False)
        for window, limit in Meter(settings.limits_of(name), 1, time.monotonic).allowances(moment).items():
            if block is None and used.get((name, window.key(moment)), 0) >= limit:
                block = Block(Why.QUOTA, f"its quota of {limit} this {window.value} is used up")
        most = provider.capabilities.max_bytes
        if block is None and most is not None and facts.size > most:
            block = Block(Why.REFUSES, f"it takes mails of up to {most} octets")
        if block is not None:
            found[name] = block
    return found


def _explain_stored(connection: "sa.Connection", settings: "Settings", message: int) -> list[dict[str, Any]]:
    from relay.routing import facts_of
    from relay.store import circuits, deliveries, messages

    row = messages.get(connection, None, message)
    if row is None:
        return []
    names = circuits.names(connection)
    lines = deliveries.history(connection, [message])
    return [
        _explain(connection, settings, facts_of(row, one["address"], *names), lines.get(one["id"]))
        for one in messages.recipients(connection, message)
    ]
