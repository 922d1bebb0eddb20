"""Looking at providers, trying them, and taking them out of service."""

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.core.provider import Provider

app = typer.Typer(no_args_is_help=True, help="List, check, test, pause and drain providers.")


def _names(incomplete: str) -> list[str]:
    """For the shell to complete; nothing where the configuration has a fault, which the command itself tells."""
    from relay.config import load
    from relay.core.errors import Misconfigured

    try:
        return sorted(name for name in load(None).ways_out if name.startswith(incomplete))
    except Misconfigured:
        return []


NameArgument = Annotated[str, typer.Argument(help="As in [providers.NAME].", autocompletion=_names)]


class Word(StrEnum):
    """What an operator says about a provider."""

    ACTIVE = "active"
    PAUSED = "paused"
    DRAINING = "draining"


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every provider: its mode, its circuit, what is in hand, what waits for it, what is used of its quotas."""
    from providers import registry
    from relay.delivery.overview import overview

    settings = settings_from(config)
    rows = in_record(settings, overview, settings, registry.capabilities)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("NAME", "TYPE", "MODE", "CIRCUIT", "IN HAND", "WAITING", "QUOTA", "REASON"),
        [
            (
                row["name"],
                f"{row['type']} (experimental)" if row["experimental"] else row["type"],
                row["mode"],
                f"open until {row['open_until']:%H:%M:%S} UTC"
                if row["circuit"] == "open"
                else row["circuit"],
                row["in_hand"],
                row["waiting"],
                ", ".join(f"{one['used']} of {one['limit']} this {one['window']}" for one in row["usage"]),
                row["reason"],
            )
            for row in rows
        ],
    )


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Log in to each provider without sending; exit code 1 when one of them has a problem."""
    from rich.markup import escape

    from relay.core.provider import ProviderProblem
    from relay.delivery import trial

    settings = settings_from(config)
    found = _built(settings, name)

    async def one(provider: "Provider") -> dict[str, Any]:
        try:
            return {"name": provider.name, "ok": True, "says": await trial.check(provider)}
        except ProviderProblem as problem:
            return {"name": provider.name, "ok": False, "says": str(problem)}

    async def each() -> list[dict[str, Any]]:
        with errors.status("asking"):
            return list(await asyncio.gather(*map(one, found.values())))

    said = asyncio.run(each())
    if as_json:
        show_json(said)
    else:
        for row in said:
            mark = "[green]ok[/]     " if row["ok"] else "[red]problem[/]"
            console.print(f"{mark} {row['name']}: {escape(row['says'])}")
    if not all(row["ok"] for row in said):
        raise typer.Exit(1)


@app.command("test")
def try_(
    name: NameArgument,
    to: Annotated[str, typer.Option("--to", help="Who gets the test mail.")],
    sender: Annotated[
        str, typer.Option("--from", help="From whom; the provider must allow it.")
    ] = "pillarbox@localhost",
    config: ConfigOption = None,
) -> None:
    """Send one test mail by this provider at once, past queue and routes; exit code 1 unless it is accepted."""
    from rich.markup import escape

    from relay.core.address import InvalidAddress, normalise
    from relay.core.provider import OutcomeKind, ProviderProblem
    from relay.delivery import trial

    settings = settings_from(config)
    try:
        recipient, from_ = normalise(to), normalise(sender)
    except InvalidAddress as error:
        fail(escape(str(error)), 2)
    provider = _built(settings, name)[name]
    try:
        outcome = asyncio.run(trial.send(provider, sender=from_, recipient=recipient))
    except ProviderProblem as problem:
        fail(f"{name}: {escape(str(problem))}")
    console.print(f"{outcome.kind.value}: {escape(str(outcome.reply))}")
    if outcome.kind is not OutcomeKind.ACCEPTED:
        raise typer.Exit(1)


@app.command()
def pause(name: NameArgument, config: ConfigOption = None) -> None:
    """Give a provider no mail at all: it goes by others where its route has some, and waits where not."""
    _say(settings_from(config), name, Word.PAUSED)


@app.command()
def resume(name: NameArgument, config: ConfigOption = None) -> None:
    """Give a provider mail again, and close its circuit: what waited for it goes at once."""
    _say(settings_from(config), name, Word.ACTIVE)


@app.command()
def drain(
    name: NameArgument,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for what is in hand.")] = 300.0,
    config: ConfigOption = None,
) -> None:
    """Give a provider no new mail, and wait until nothing of it is in hand: then it can be taken out of the file."""
    from relay.delivery.overview import still_in_hand

    settings = settings_from(config)
    _say(settings, name, Word.DRAINING)
    deadline = time.monotonic() + timeout
    while True:
        left = in_record(settings, still_in_hand, name)
        if left is None:
            console.print(f"{name}: nothing is in hand")
            return
        if time.monotonic() > deadline:
            fail(f"{name}: {left} after {timeout:.0f} s; it stays draining")
        time.sleep(0.5)


@app.command()
def reload(config: ConfigOption = None) -> None:
    """Have the workers on every machine read their configuration file again, as SIGHUP does on one."""
    from relay.core.clock import now
    from relay.store import circuits

    in_record(settings_from(config), circuits.ask_for_reload, writing=True, now=now())
    console.print("asked for; each worker logs what it makes of its file")


def _say(settings: "Settings", name: str, word: Word) -> None:
    from relay.core.clock import now
    from relay.store import circuits

    if name not in settings.ways_out:
        fail(f"{name} is no provider (known: {', '.join(sorted(settings.ways_out))})", 2)
    mode = circuits.Mode(word.value)
    in_record(settings, circuits.set_mode, name, mode, writing=True, now=now())
    console.print(f"{name} is {word.value}; the workers follow within two seconds")


def _built(settings: "Settings", only: str | None) -> "dict[str, Provider]":
    """The configured providers, or one of them."""
    from rich.markup import escape

    from relay.core.errors import Misconfigured
    from workers.setups import build_providers

    if only is not None and only not in settings.ways_out:
        fail(f"{escape(only)} is no provider (known: {', '.join(sorted(settings.ways_out))})", 2)
    wanted = settings if only is None else settings.model_copy(update={"providers": _one(settings, only)})
    try:
        return build_providers(wanted)
    except Misconfigured as error:
        fail(escape(str(error)), 2)


def _one(settings: "Settings", name: str) -> dict[str, Any]:
    return {name: settings.ways_out[name]}
