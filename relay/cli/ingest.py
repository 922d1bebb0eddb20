"""Looking at what vendors and bounce mail told that is not in the timelines, and having it read again."""

from typing import Annotated

import typer

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
)
from relay.core.inbox import InboxState

app = typer.Typer(no_args_is_help=True, help="Show what could not be recorded, and have it read again.")

_MOST_SHOWN = 100_000

IdArgument = Annotated[int, typer.Argument(help="As `pillarbox ingest list` shows it.")]


@app.command("list")
def list_(
    state: Annotated[
        InboxState | None,
        typer.Option(help="Only these; left out, those that are set aside: failed and orphan."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Only what this provider, or other source, told.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was told and is not in the timelines, newest first."""
    from relay.store import inbox

    rows = in_record(settings_from(config), inbox.page, limit=limit, state=state, source=source)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("ID", "CAME", "KIND", "SOURCE", "STATE", "TRIES", "NEXT TRY", "OCTETS", "REASON"),
        [
            (
                row["id"],
                row["received_at"],
                row["kind"],
                row["source"],
                row["state"],
                row["attempts"],
                row["due_at"],
                row["size"],
                row["reason"],
            )
            for row in rows
        ],
    )


@app.command()
def show(ingest_id: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one: why it was not recorded, and what was told, as it came."""
    from relay.store import inbox

    row = in_record(settings_from(config), inbox.get, ingest_id)
    payload = bytes(row.pop("payload")).decode("utf-8", "replace")
    if as_json:
        show_json({**row, "payload": payload})
        return
    shown = ("kind", "source", "state", "received_at", "attempts", "due_at", "reason", "query")
    show_table(("ID", str(ingest_id)), [(name, row[name]) for name in shown])
    for name, value in (row["headers"] or {}).items():
        typer.echo(f"{name}: {value}")
    console.print()
    typer.echo(payload[:_MOST_SHOWN])


@app.command()
def replay(
    ingest_id: Annotated[int | None, typer.Argument(help="Only this one.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only what this provider, or other source, told.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is set aside.")] = False,
    config: ConfigOption = None,
) -> None:
    """Have what was set aside read again, once the cause is mended."""
    from relay.store import inbox

    if sum((ingest_id is not None, source is not None, everything)) != 1:
        fail("say which: an ID, --source NAME, or --all", 2)
    count = in_record(settings_from(config), inbox.replay, ingest_id, source=source, writing=True)
    console.print(f"{count} to be read again; a worker begins within seconds")


@app.command()
def discard(ingest_id: IdArgument, config: ConfigOption = None) -> None:
    """Drop one that was set aside, for good."""
    from relay.store import inbox

    in_record(settings_from(config), inbox.discard, ingest_id, writing=True)
    console.print(f"{ingest_id} is discarded", markup=False)


def webhooks(
    name: Annotated[str | None, typer.Argument(help="Only this provider; prints the URL alone.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The URL to give to each vendor, so that it reports what becomes of mail. Whoever has one can use it."""
    from rich.markup import escape

    from providers import registry
    from relay.core.errors import Misconfigured
    from relay.store import secrets
    from relay.tracking import hooks

    settings = settings_from(config)
    if name is not None and name not in settings.ways_out:
        fail(f"{escape(name)} is no provider (known: {', '.join(sorted(settings.ways_out))})", 2)
    secret = in_record(settings, secrets.ensure, writing=True, noted=False)
    found = []
    for one in [name] if name is not None else settings.ways_out:
        kind = settings.ways_out[one]["type"]
        capabilities = registry.capabilities(kind)
        try:
            url = hooks.url_of(settings, one, secret) if capabilities is None or capabilities.events else None
        except Misconfigured as error:
            fail(escape(str(error)), 2)
        found.append({"name": one, "type": kind, "url": url})
    if as_json:
        show_json(found)
        return
    if name is not None:
        if found[0]["url"] is None:
            fail(f"{escape(name)} is of a kind that reports nothing by webhook")
        typer.echo(found[0]["url"])
    else:
        show_table(("NAME", "TYPE", "URL"), [(one["name"], one["type"], one["url"] or "-") for one in found])
    if not settings.public_url:
        errors.print("public_url is not set: the address of the REST door belongs before the path")
