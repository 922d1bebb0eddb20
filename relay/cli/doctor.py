"""`pillarbox doctor`: looks at everything an installation hangs on, and says what to do."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.output import ConfigOption, JsonOption, console, settings_from, show_json

if TYPE_CHECKING:
    from relay.cli.examine.finding import Finding
    from relay.config import Settings

_MARKS = {"ok": "[green]ok[/]  ", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}


def doctor(
    resolver: Annotated[
        str, typer.Option("--resolver", help="Name server to ask, as HOST:PORT; default: this machine's.")
    ] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask no name servers and no providers.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at database, queue, doors, certificates, DNS, disk and providers; exit code 1 when something fails."""
    settings = settings_from(config)
    findings = asyncio.run(_examine(settings, resolver, offline=offline))
    if as_json:
        show_json(
            [
                {
                    "area": one.area,
                    "subject": one.subject,
                    "level": one.level,
                    "says": one.says,
                    "todo": one.todo,
                }
                for one in findings
            ]
        )
    else:
        _show(findings)
    raise typer.Exit(1 if any(one.level == "fail" for one in findings) else 0)


async def _examine(settings: "Settings", resolver: str, *, offline: bool) -> "list[Finding]":
    from relay.cli.examine import doors, machine, record

    findings = machine.examine(settings)
    known = await asyncio.to_thread(record.schema, settings)
    findings += known
    usable = all(one.level == "ok" for one in known)
    if usable:
        findings += await record.examine(settings)
    findings.append(await asyncio.to_thread(record.queue, settings))
    findings += await asyncio.to_thread(doors.examine, settings)
    if not offline:
        findings += await _outside(settings, resolver, usable=usable)
    return findings


async def _outside(settings: "Settings", resolver: str, *, usable: bool) -> "list[Finding]":
    from relay.cli.examine import names, record, ways
    from relay.cli.examine.finding import fail
    from relay.core.errors import Misconfigured

    findings = await ways.examine(settings)
    domains, kept = await record.domains(settings) if usable else ([], [])
    try:
        records = names.dkim_records(settings, kept)
    except Misconfigured as error:
        findings.append(fail("DNS", "DKIM", str(error), "Mend [[dkim]] in the configuration."))
        records = {}
    return findings + await names.examine(settings, domains, records, resolver)


def _show(findings: "list[Finding]") -> None:
    from rich.markup import escape

    area = ""
    for one in findings:
        if one.area != area:
            area = one.area
            console.print(f"\n[bold]{escape(area)}[/]")
        console.print(f"  {_MARKS[one.level]}  {escape(one.subject)}: {escape(one.says)}")
        if one.todo:
            console.print(f"        {escape(one.todo)}")
    bad = sum(one.level == "fail" for one in findings)
    so_so = sum(one.level == "warn" for one in findings)
    console.print(f"\n{len(findings)} looked at: {bad} failed, {so_so} to see to")
