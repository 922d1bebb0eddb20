"""How commands speak: tables for people, JSON for programs, errors without tracebacks."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

from relay.core.clock import wire_time
from relay.core.errors import Misconfigured, RelayError, Unavailable

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.store.database import Database

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; default: $PILLARBOX_CONFIG, else ./pillarbox.toml."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

#: columns of a table that no terminal shows: a pipe or a file has room
_PIPED = None if sys.stdout.isatty() else 240

console = Console(highlight=False, soft_wrap=True, width=_PIPED)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong on standard error and end."""
    errors.print(f"[bold red]error:[/] {message}", markup=True)
    raise typer.Exit(code)


def settings_from(config: Path | None) -> "Settings":
    """The settings, or an end with exit code 2 and every fault found."""
    from rich.markup import escape

    from relay.config import load
    from relay.observe import logs

    try:
        settings = load(config)
    except Misconfigured as error:
        fail(escape(str(error)), 2)
    # What is logged must not get between what is printed for programs.
    logs.to_standard_error()
    return settings


def in_record(
    settings: "Settings",
    work: "Callable[..., T]",
    *args: Any,
    writing: bool = False,
    noted: bool = True,
    **kwargs: Any,
) -> T:
    """Run a store function on the configured database, schema checked first.

    What is written is noted in the audit log, in the same transaction, unless `noted` is off; False says that
    nothing was changed.
    """
    from relay.cli import noting
    from relay.store import audit

    change = noting.change() if writing and noted else None

    def both(connection: Any) -> T:
        made = work(connection, *args, **kwargs)
        if change is not None and made is not False:
            audit.add(connection, noting.who(), change)
        return made

    async def once(database: "Database") -> T:
        return await (database.write if writing else database.read)(both)

    return with_record(settings, once)


def with_record(settings: "Settings", work: "Callable[[Database], Awaitable[T]]") -> T:
    """Run something that asks the configured database more than once, schema checked first."""
    from rich.markup import escape

    from relay.store import migrate
    from relay.store.database import open_database, words_of

    async def run() -> T:
        database = open_database(settings.database_url)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        if not migrate.is_current(settings.database_url):
            fail("the database has no current schema yet; run `pillarbox migrate` (or `pillarbox up`) first")
        return asyncio.run(run())
    except Unavailable as error:
        fail(escape(f"the database cannot be used: {words_of(error)}"))
    except (RelayError, Misconfigured) as error:
        fail(escape(str(error)))


def plain(value: Any) -> Any:
    """A value as JSON and tables show it: ids as text, times as ISO 8601."""
    if isinstance(value, datetime):
        return wire_time(value)
    if isinstance(value, int) and not isinstance(value, bool) and value > 2**53:
        return str(value)
    if isinstance(value, dict):
        # Column names are a subclass of str, which the encoder does not take for keys.
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def show_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(plain(value), option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(plain(cell)) for cell in row))
    console.print(table)
