"""Mail that waits: why it does, and what is to become of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.noting import note, who
from relay.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    errors,
    fail,
    in_record,
    settings_from,
    show_json,
    show_table,
    with_record,
)
from relay.core.clock import now
from relay.core.status import MAIL_LANES, Lane, State

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.store.backlog import Selection
    from relay.store.database import Database
    from relay.store.interventions import Action, Order

app = typer.Typer(help="See what waits and why; hold, release, retry, reroute, cancel or purge it.")

#: recipients from which on an action asks first
_LARGE = 100

StateOption = Annotated[
    State | None,
    typer.Option(case_sensitive=False, help="queued, sending, held or parked."),
]
LaneOption = Annotated[Lane | None, typer.Option(case_sensitive=False, help="urgent, normal or bulk.")]
Account = Annotated[str | None, typer.Option(help="This account's mail.")]
ProviderOption = Annotated[
    str | None, typer.Option(help="Last tried by this provider, or waiting for it, or sent its way.")
]
To = Annotated[str | None, typer.Option("--to-domain", help="To this domain.")]
From = Annotated[str | None, typer.Option("--from-domain", help="From this domain.")]
Tag = Annotated[str | None, typer.Option(help="With this tag.")]
Stream = Annotated[str | None, typer.Option(help="Of this stream.")]
OlderThan = Annotated[str | None, typer.Option(help="Accepted longer ago than this: 90s, 15m, 2h, 3d.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Message IDs; else name conditions, or --all.")]
Everything = Annotated[bool, typer.Option("--all", help="All of it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however much it is.")]
Note = Annotated[str | None, typer.Option(help="Kept in the timelines.")]
ProviderName = Annotated[str, typer.Argument(help="The provider; `-` gives mail back to its route.")]


@app.callback(invoke_without_command=True)
def _summary(
    context: typer.Context,
    lane: LaneOption = None,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Without a command: how much waits in each lane, and what for; with --lane or --state: which mail, and why."""
    if context.invoked_subcommand is not None:
        return
    if lane is not None or state is not None:
        list_(lane=lane, state=state, config=config, as_json=as_json)
        return
    from relay.delivery.waiting import standing

    settings = settings_from(config)
    found = in_record(settings, standing, settings)
    lanes = {
        name: {field: getattr(count, field) for field in count.__slots__}
        for name, count in found["lanes"].items()
    }
    if as_json:
        rooms = [
            {"waiting_for": key, "recipients": count, "reason": reason, "message": words}
            for key, count, reason, words in found["rooms"]
        ]
        show_json({"workers": found["workers"], "lanes": lanes, "waiting_for": rooms})
        return
    columns = ("due", "later", "sending", "held", "parked")
    show_table(
        ("LANE", *(column.upper() for column in columns)),
        [(name, *(_counted(count[column]) for column in columns)) for name, count in lanes.items()],
    )
    if found["rooms"]:
        console.print()
        show_table(
            ("WAITING FOR", "RECIPIENTS", "WHY"),
            [(key, _counted(count), words) for key, count, _, words in found["rooms"]],
        )
    if not found["workers"]:
        console.print("\n[yellow]No worker is alive: mail is accepted and waits.[/]")


def _counted(number: int) -> str:
    from relay.store.backlog import MOST

    return f"{number:,}+" if number >= MOST else f"{number:,}"


@app.command("list")
def list_(
    lane: LaneOption = None,
    state: StateOption = None,
    account: Account = None,
    provider: ProviderOption = None,
    to_domain: To = None,
    from_domain: From = None,
    tag: Tag = None,
    stream: Stream = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List mail that waits, and why it does."""
    from relay.delivery.waiting import listing
    from relay.store.backlog import Position

    settings = settings_from(config)
    wanted = _selection(
        settings, (), lane, state, account, provider, to_domain, from_domain, tag, stream, older_than
    )
    try:
        start = Position.parse(cursor) if cursor else Position()
    except ValueError:
        fail("--cursor: that is none of ours", 2)
    rows, after = in_record(settings, listing, settings, wanted, start, limit)
    if as_json:
        shown = [{**row, "why": {"reason": why.reason, "message": why.words}} for row, why in rows]
        show_json({"data": shown, "next_cursor": str(after) if after else None})
        return
    show_table(
        ("MESSAGE", "ACCEPTED", "RECIPIENT", "LANE", "STATE", "TRIES", "NEXT TRY", "WHY"),
        [
            (
                row["message_id"],
                row["accepted_at"],
                row["address"],
                row["lane"],
                row["state"],
                row["attempts"],
                row["due_at"] if row["state"] == State.QUEUED else None,
                why.words,
            )
            for row, why in rows
        ],
    )
    if after:
        console.print(f"… and perhaps more: --cursor {after}")


def _command(name: str, about: str) -> None:
    def command(
        ids: Ids = None,
        lane: LaneOption = None,
        state: StateOption = None,
        account: Account = None,
        provider: ProviderOption = None,
        to_domain: To = None,
        from_domain: From = None,
        tag: Tag = None,
        stream: Stream = None,
        older_than: OlderThan = None,
        everything: Everything = False,
        note: Note = None,
        dry_run: DryRun = False,
        yes: Yes = False,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from relay.store.interventions import Action

        settings = settings_from(config)
        conditions = (lane, state, account, provider, to_domain, from_domain, tag, stream, older_than)
        _be_clear(ids, conditions, everything)
        wanted = _selection(settings, ids or (), *conditions)
        _act(settings, Action(name), None, wanted, note, dry_run=dry_run, yes=yes, as_json=as_json)

    command.__doc__ = about
    app.command(name)(command)


for _name, _about in (
    ("hold", "Stop queued mail until it is released."),
    ("release", "Put held or parked mail back into the queue."),
    ("retry", "Try queued mail now, all but what is to go at a time of its own and is not named."),
    ("cancel", "Take waiting mail out of the queue for good."),
    ("purge", "Cancel waiting mail and delete what it says."),
):
    _command(_name, _about)


@app.command()
def reroute(
    name: ProviderName,
    ids: Ids = None,
    lane: LaneOption = None,
    state: StateOption = None,
    account: Account = None,
    provider: ProviderOption = None,
    to_domain: To = None,
    from_domain: From = None,
    tag: Tag = None,
    stream: Stream = None,
    older_than: OlderThan = None,
    everything: Everything = False,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send waiting mail by a provider of your choice; it is asked before those of the mail's route."""
    from relay.store.interventions import Action

    settings = settings_from(config)
    way = None if name == "-" else name
    if way is not None and way not in settings.ways_out:
        fail(f"there is no provider {name} (known: {', '.join(sorted(settings.ways_out))})", 2)
    conditions = (lane, state, account, provider, to_domain, from_domain, tag, stream, older_than)
    _be_clear(ids, conditions, everything)
    wanted = _selection(settings, ids or (), *conditions)
    _act(settings, Action.REROUTE, way, wanted, note, dry_run=dry_run, yes=yes, as_json=as_json)


def _be_clear(ids: list[str] | None, conditions: tuple[Any, ...], everything: bool) -> None:
    if everything is bool(ids or any(conditions)):
        fail("name message IDs or conditions, or else --all", 2)


def _selection(
    settings: "Settings",
    ids: Any,
    lane: Lane | None,
    state: State | None,
    account: str | None,
    provider: str | None,
    to_domain: str | None,
    from_domain: str | None,
    tag: str | None,
    stream: str | None,
    older_than: str | None,
) -> "Selection":
    from relay.store import accounts
    from relay.store.backlog import WAITING, Selection

    if state is not None and state not in WAITING:
        fail(f"--state: {state} is not waiting; one of {', '.join(sorted(WAITING))}", 2)
    if lane is not None and lane not in MAIL_LANES:
        fail(f"--lane must be one of {', '.join(MAIL_LANES)}", 2)
    if not all(one.isascii() and one.isdigit() and len(one) < 20 for one in ids):
        fail("an ID is a number, as the door answered it", 2)
    return Selection(
        states=WAITING if state is None else (state,),
        lane=lane.value if lane else None,
        account_id=in_record(settings, accounts.account_by_name, account) if account else None,
        provider=provider,
        recipient_domain=to_domain,
        sender_domain=from_domain,
        tag=tag,
        stream=stream,
        accepted_before=now() - _age(older_than) if older_than else None,
        message_ids=[min(int(one), 2**63 - 1) for one in ids],
    )


def _age(written: str) -> timedelta:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = written[:-1], units.get(written[-1:])
    if unit is None or not (number.isascii() and number.isdigit() and len(number) < 6):
        fail("--older-than must be a number and s, m, h or d, such as 15m", 2)
    return timedelta(**{unit: int(number)})


def _act(
    settings: "Settings",
    action: "Action",
    way: str | None,
    wanted: "Selection",
    note: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Count first, ask where it is much, then do it step by step with a bar."""
    from relay.store.interventions import Order

    order = Order(action, f"{who()} at the command line", note, way)
    found = with_record(settings, _steps(order, wanted, dry_run=True, told=lambda _count: None))
    if dry_run or not found:
        _say(action, found, dry_run=dry_run, as_json=as_json)
        return
    if found > _LARGE and not yes:
        typer.confirm(f"{action} {found:,} recipients?", abort=True, err=True)
    from rich.progress import Progress

    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task(str(action), total=found)
        done = with_record(
            settings,
            _steps(order, wanted, dry_run=False, told=lambda count: bar.advance(task, count)),
        )
    _say(action, done, dry_run=False, as_json=as_json)


def _say(action: "Action", count: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        show_json({"action": action, "dry_run": dry_run, "changed": count})
        return
    console.print(f"{action}: {count:,} recipients{' would be changed' if dry_run else ''}")


def _steps(
    order: "Order", wanted: "Selection", *, dry_run: bool, told: Callable[[int], None]
) -> "Callable[[Database], Awaitable[int]]":
    from relay.store import interventions
    from relay.store.backlog import STEP, Position

    async def run(database: "Database") -> int:
        here: Position | None = Position()
        moment, total = now(), 0
        if not dry_run:
            await note(database)
        while here is not None:
            work: Any = database.read if dry_run else database.write
            done = await work(
                interventions.step, order, wanted, here, now=moment, limit=STEP, dry_run=dry_run
            )
            total, here = total + done.changed, done.position
            told(done.changed)
            # Between two steps others have their turn.
            await asyncio.sleep(0)
        return total

    return run
