"""Bounce mail, for whoever sets it up or wonders what one means."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.output import ConfigOption, JsonOption, console, fail, settings_from, show_json, show_table

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.core.return_path import ReturnPaths

app = typer.Typer(no_args_is_help=True, help="Make return paths, and read bounces as Pillarbox does.")


@app.command()
def address(
    message_id: Annotated[int, typer.Argument(help="The message.")],
    recipient_id: Annotated[int, typer.Argument(help="One of its recipients; 0 for the whole message.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Print a return path, as mail that is sent now would bear it: to try whether bounces come home."""
    from relay.core.clock import now

    paths = _paths(settings_from(config))
    if paths is None:
        fail('set ingest.bounce_domain first, for example bounce_domain = "bounce.example.org"', 2)
    console.print(paths.make(message_id, recipient_id, now()), markup=False, soft_wrap=True)


@app.command()
def read(
    file: Annotated[
        Path, typer.Argument(help="The bounce, as a file with all its headers; - for standard input.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a bounce means and whose it is. Nothing is recorded."""
    from relay.core.clock import now
    from relay.core.return_path import ReturnPaths
    from relay.tracking import bouncemail

    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", 2)
    moment = now()
    real = _paths(settings_from(config))
    whose = bouncemail.whose(raw, received_at=moment, paths=real) if real is not None else None
    # What it says is wanted even of one that would not be believed.
    anybody = ReturnPaths(b"anybody", "anybody.invalid")
    reports = bouncemail.read(raw, envelope_to=anybody.make(0, 0, moment), received_at=moment, paths=anybody)
    rows = [
        {
            "event": report.kind.value,
            "class": report.bounce.kind.value if report.bounce else None,
            "reason": report.bounce.reason.value if report.bounce else None,
            "recipient": report.recipient,
            "reply": str(report.reply) if report.reply else None,
            "mail": whose.token if whose else None,
        }
        for report in reports
    ]
    if as_json:
        show_json(rows)
        return
    show_table(list(rows[0]) if rows else ["event"], [[one or "" for one in row.values()] for row in rows])
    if not rows:
        console.print("it says nothing about what became of a mail (an automatic answer, a receipt)")
    elif whose is None:
        console.print("it bears no good token of this installation, and would be ignored")


def _paths(settings: "Settings") -> "ReturnPaths | None":
    if not settings.ingest.bounce_domain:
        return None
    return asyncio.run(_made(settings))


async def _made(settings: "Settings") -> "ReturnPaths | None":
    from relay.store import secrets
    from relay.store.database import open_database

    database = open_database(settings.database_url)
    try:
        return settings.ingest.return_paths(await secrets.load(database))
    finally:
        await database.close()
