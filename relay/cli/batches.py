"""Batches: one template to a list of recipients."""

import csv
import hashlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.noting import note
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

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.bulk.uploads import Steering
    from relay.store.database import Database

app = typer.Typer(no_args_is_help=True, help="Send a template to a list, follow it, stop it.")

Account = Annotated[str, typer.Option(help="The account's name.")]
Id = Annotated[int, typer.Argument(help="The batch's id.")]
_PIECE = 512 * 1024
#: seconds between two looks
_LOOK = 1.0
_OVER = ("ready", "paused", "halted", "done", "cancelled", "failed")
_AT_ONCE = 1000
_COLUMNS = ("number", "address", "state", "status", "error_code", "reason", "message_id", "updated_at")


@app.command()
def send(
    list_: Annotated[Path, typer.Argument(metavar="LIST", exists=True, dir_okay=False, help="A CSV file.")],
    template: Annotated[str, typer.Option(help="The template's name or id.")],
    sender: Annotated[str, typer.Option("--from", help="The from address, perhaps with a name.")],
    name: Annotated[str | None, typer.Option(help="What to call the batch; without it, as the file.")] = None,
    stream: Annotated[str, typer.Option(help="The kind of mail.")] = "bulk",
    subject: Annotated[str | None, typer.Option(help="Instead of the template's.")] = None,
    tag: Annotated[str | None, typer.Option(help="For finding the mail again.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="What a column is, as variable=column; may be given several times."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="utf-8, latin-1 or windows-1252.")] = "utf-8",
    validate_only: Annotated[bool, typer.Option(help="Read and check the list; send nothing.")] = False,
    manual: Annotated[bool, typer.Option("--manual", help="Wait for `batches start`.")] = False,
    send_at: Annotated[
        str | None, typer.Option(help="When to begin, with its zone: 2030-01-31T12:00:00Z.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="When the mail is of no use any more; what is left is dropped.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it is done.")] = False,
    account: Account = "default",
    config: ConfigOption = None,
) -> None:
    """Upload a list and have workers send it; prints the batch's id. The same list again is the same batch."""
    from pydantic import ValidationError

    from relay.bulk.uploads import Upload, check, store
    from relay.bulk.wish import Wish
    from relay.policy import Authenticator

    given = {
        "from": sender,
        "stream": stream,
        "subject": subject,
        "tag": tag,
        "columns": dict(_column(one) for one in column or []),
        "encoding": encoding,
        "validate_only": validate_only,
        "start": "manual" if manual else "auto",
        "send_at": send_at,
        "expires_at": expires_at,
    }
    try:
        wish = Wish.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        fail((f"{where}: " if where else "") + first["msg"].removeprefix("Value error, "))
    settings = settings_from(config)
    if list_.stat().st_size > settings.batches.max_list:
        fail(f"the list is larger than batches.max_list, {settings.batches.max_list} octets")
    upload = Upload(template, wish, (name or list_.name)[:100])

    async def work(database: "Database") -> int:
        identity = await Authenticator(database).account(account)
        found = await check(database, identity, upload)
        size, digest = _digest(list_)
        identifier, repeated = await store(
            database, identity, upload, found, digest, size, _pieces(list_, size)
        )
        if repeated:
            errors.print("this list was uploaded before; it is the same batch", markup=False)
        return identifier

    identifier = with_record(settings, work)
    console.print(str(identifier), markup=False)
    if watch:
        _watch(identifier, config)


@app.command("list")
def list_batches(
    account: Account = "default", config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List an account's batches, newest first."""
    from relay.store import accounts, batches

    def work(connection: "sa.Connection") -> list[dict[str, Any]]:
        account_id = accounts.account_by_name(connection, account)
        return batches.page(connection, account_id, limit=100, before=None)

    rows = in_record(settings_from(config), work)
    if as_json:
        show_json(rows)
        return
    columns = ("id", "name", "state", "rows", "valid", "refused", "queued", "created_at")
    show_table(
        tuple(one.upper() for one in columns),
        [tuple(str(row[one]) if one == "id" else row[one] for one in columns) for row in rows],
    )


@app.command()
def show(identifier: Id, config: ConfigOption = None) -> None:
    """Print how far a batch is, as JSON."""
    from relay.store import batches

    def work(connection: "sa.Connection") -> dict[str, Any]:
        row = batches.get(connection, None, identifier)
        return {**row, "messages": batches.counts(connection, identifier)}

    show_json(in_record(settings_from(config), work))


@app.command()
def watch(identifier: Id, config: ConfigOption = None) -> None:
    """Follow a batch until it is done, or stops."""
    _watch(identifier, config)


@app.command()
def rows(
    identifier: Id,
    refused: Annotated[bool, typer.Option("--refused", help="Only those that are refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at most.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a batch's rows and what became of them."""
    from relay.store import batches
    from relay.store.batches import RowState

    state = RowState.REFUSED if refused else None
    found = in_record(settings_from(config), batches.rows, identifier, limit=limit, state=state)
    if as_json:
        show_json(found)
        return
    show_table(
        ("ROW", "RECIPIENT", "STATE", "STATUS", "REASON"),
        [(row["number"], row["address"], row["state"], row["status"], row["reason"]) for row in found],
    )


@app.command()
def export(identifier: Id, config: ConfigOption = None) -> None:
    """Write what became of every row to standard output, as CSV."""
    from relay.cli.output import plain
    from relay.store import batches

    settings = settings_from(config)
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    after = 0
    while found := in_record(settings, batches.rows, identifier, limit=_AT_ONCE, after=after):
        after = found[-1]["number"]
        writer.writerows([plain(row[name]) for name in _COLUMNS] for row in found)


@app.command()
def start(identifier: Id, config: ConfigOption = None) -> None:
    """Send a batch that waits for it."""
    _steer(identifier, config, lambda steering: steering.start(None, identifier, "command line"))


@app.command()
def reschedule(
    identifier: Id,
    send_at: Annotated[str, typer.Argument(help="A time with its zone, or `now`.")],
    config: ConfigOption = None,
) -> None:
    """Give a batch that has not begun another time."""
    from datetime import datetime

    moment = None
    if send_at != "now":
        try:
            moment = datetime.fromisoformat(send_at)
        except ValueError:
            fail(f"{send_at}: is no time; one is 2030-01-31T12:00:00Z", 2)
        if moment.tzinfo is None:
            fail(f"{send_at}: has no time zone; one is 2030-01-31T12:00:00Z", 2)
    _steer(identifier, config, lambda steering: steering.reschedule(None, identifier, moment, "command line"))


@app.command()
def pause(identifier: Id, config: ConfigOption = None) -> None:
    """Have a batch send nothing further for now."""
    _steer(identifier, config, lambda steering: steering.pause(None, identifier, "command line"))


@app.command()
def resume(identifier: Id, config: ConfigOption = None) -> None:
    """Go on with a batch that is paused, or has halted by itself."""
    _steer(identifier, config, lambda steering: steering.resume(None, identifier, "command line"))


@app.command()
def cancel(identifier: Id, config: ConfigOption = None) -> None:
    """Have a batch never send what has not gone out."""
    _steer(identifier, config, lambda steering: steering.cancel(None, identifier, "command line"))


def _steer(identifier: int, config: Path | None, do: "Callable[[Steering], Awaitable[None]]") -> None:
    from relay.bulk.uploads import Steering
    from relay.store import batches

    async def work(database: "Database") -> str:
        await do(Steering(database, None))
        await note(database)
        state: str = (await database.read(batches.get, None, identifier))["state"]
        return state

    console.print(f"{identifier} is {with_record(settings_from(config), work)}", markup=False)


def _watch(identifier: int, config: Path | None) -> None:
    from rich.progress import Progress

    from relay.store import batches

    settings = settings_from(config)

    def look(connection: "sa.Connection") -> tuple[dict[str, Any], dict[str, int]]:
        return batches.get(connection, None, identifier), batches.counts(connection, identifier)

    with Progress(console=errors, transient=True) as bar:
        reading, sending = bar.add_task("read"), bar.add_task("sent")
        while True:
            row, counts = in_record(settings, look)
            bar.update(reading, completed=row["offset"], total=max(row["size"], 1))
            left = counts.get("ACCEPTED", 0)
            bar.update(sending, completed=row["queued"] - left, total=max(row["valid"], 1))
            if row["state"] in _OVER:
                break
            time.sleep(_LOOK)
    told = ", ".join(f"{count} {status.lower()}" for status, count in sorted(counts.items()))
    console.print(
        f"{row['state']}: {row['rows']} rows, {row['refused']} refused, {told or 'nothing sent'}"
        + (f" ({row['reason']})" if row["reason"] else ""),
        markup=False,
    )
    if row["state"] in {"failed", "halted"}:
        raise typer.Exit(1)


def _column(written: str) -> tuple[str, str]:
    variable, equals, column = written.partition("=")
    if not equals:
        fail(f"--column {written}: is no variable=column")
    return variable, column


def _digest(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as data:
        while piece := data.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """The file, with a bar where somebody watches."""
    from rich.progress import Progress

    with path.open("rb") as data, Progress(console=errors, transient=True) as bar:
        task = bar.add_task("uploading", total=max(size, 1))
        while piece := data.read(_PIECE):
            yield piece
            bar.update(task, advance=len(piece))
