"""Suppressions: addresses that are not written to."""

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
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
from relay.core.clock import wire_time
from relay.core.errors import RelayError
from relay.core.stream import is_name

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.store.suppressions import Reason

app = typer.Typer(no_args_is_help=True, help="List, add, remove, import and export suppressed addresses.")

COLUMNS = ("address", "stream", "reason", "source", "note", "created_at", "expires_at")
#: one of a file: its number, and what it has by column
Line = tuple[int, dict[str, str]]
#: entries read, or written in one transaction, at a time
_AT_ONCE = 1000

Account = Annotated[
    str | None, typer.Option(help="One account's list; without it, the list that holds for all.")
]
Address = Annotated[str, typer.Argument(help="The address.")]
StreamOption = Annotated[str | None, typer.Option(help="Mail of this stream alone; without it, all mail.")]
ReasonOption = Annotated[str, typer.Option(help="bounce, complaint, unsubscribe or manual.")]


@app.command()
def add(
    address: Address,
    account: Account = None,
    stream: StreamOption = None,
    reason: ReasonOption = "manual",
    note: Annotated[str | None, typer.Option(help="For those who read it later.")] = None,
    expires: Annotated[
        datetime | None, typer.Option(help="When it ends (UTC), such as 2030-01-31.", formats=["%Y-%m-%d"])
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Stop writing to an address; doors notice within seconds."""
    from relay.store import suppressions

    known = _reason(reason)
    _check_stream(stream)

    def work(connection: "sa.Connection") -> dict[str, Any]:
        return suppressions.add(
            connection,
            _account_id(connection, account),
            address,
            reason=known,
            source="cli",
            stream=stream,
            note=note,
            expires_at=expires.replace(tzinfo=UTC) if expires else None,
        )

    made = in_record(settings_from(config), work, writing=True)
    console.print(f"{made['address']} is suppressed", markup=False)


@app.command()
def remove(
    address: Address, account: Account = None, stream: StreamOption = None, config: ConfigOption = None
) -> None:
    """Write to an address again."""
    from relay.store import suppressions

    def work(connection: "sa.Connection") -> None:
        suppressions.remove(connection, _account_id(connection, account), address, stream)

    in_record(settings_from(config), work, writing=True)
    console.print(f"{address} is written to again", markup=False)


@app.command("list")
def list_(
    account: Account = None,
    stream: StreamOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List suppressed addresses, newest first."""
    from relay.store import suppressions

    def work(connection: "sa.Connection") -> list[dict[str, Any]]:
        return suppressions.page(connection, _account_id(connection, account), limit=limit, stream=stream)

    rows = in_record(settings_from(config), work)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("ADDRESS", "STREAM", "REASON", "SOURCE", "NOTE", "SINCE", "UNTIL"),
        [tuple(row[name] for name in COLUMNS) for row in rows],
    )


@app.command("export")
def export(account: Account = None, config: ConfigOption = None) -> None:
    """Write a list as CSV to standard output, newest first; `import` reads it."""
    settings = settings_from(config)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    before: int | None = None
    while rows := in_record(settings, _page, account, before):
        for row in rows:
            writer.writerow(
                (
                    row["address"],
                    row["stream"] or "",
                    row["reason"],
                    row["source"],
                    row["note"] or "",
                    wire_time(row["created_at"]),
                    wire_time(row["expires_at"]) or "",
                )
            )
        before = rows[-1]["id"]


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV whose first line names the columns; address is needed.", exists=True)
    ],
    account: Account = None,
    reason: ReasonOption = "manual",
    config: ConfigOption = None,
) -> None:
    """Add every address of a CSV file; lines that are wrong are told and left out, and the exit code is 1."""
    settings = settings_from(config)
    _reason(reason)
    taken = wrong = 0
    from rich.progress import Progress

    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("lines", total=_count_lines(file))
        for group in _groups(_lines(file)):
            # The whole file is one change.
            first = not taken and not wrong
            faults = in_record(settings, _add_all, account, reason, group, writing=True, noted=first)
            for number, fault in faults:
                errors.print(f"line {number}: {fault}", markup=False)
            taken, wrong = taken + len(group) - len(faults), wrong + len(faults)
            bar.update(task, completed=group[-1][0])
    console.print(f"{taken} addresses are suppressed")
    if wrong:
        fail(f"{wrong} lines were left out")


def _count_lines(file: Path) -> int:
    with file.open("rb") as opened:
        return sum(piece.count(b"\n") for piece in iter(lambda: opened.read(1 << 20), b""))


def _groups(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while group := list(islice(lines, _AT_ONCE)):
        yield group


def _add_all(
    connection: "sa.Connection", account: str | None, reason: str, group: list[Line]
) -> list[tuple[int, str]]:
    from relay.store import suppressions
    from relay.store.suppressions import NewSuppression, Reason

    account_id = _account_id(connection, account)
    faults = []
    entries = []
    for number, line in group:
        try:
            expires = line.get("expires_at") or None
            stream = (line.get("stream") or "").strip() or None
            if stream is not None and not is_name(stream):
                raise ValueError(f"{stream[:64]} is no name of a stream")
            entries.append(
                NewSuppression(
                    account_id,
                    suppressions.clean(line.get("address") or ""),
                    Reason((line.get("reason") or reason).lower()),
                    line.get("source") or "import",
                    stream=stream,
                    note=(line.get("note") or "")[:1000] or None,
                    expires_at=_moment(expires) if expires else None,
                )
            )
        except RelayError as error:
            faults.append((number, error.message))
        except ValueError as error:
            faults.append((number, str(error)))
    suppressions.add_many(connection, entries, replace=True)
    return faults


def _lines(file: Path) -> Iterator[Line]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        if "address" not in (reader.fieldnames or ()):
            fail(f"{file}: the first line must name the columns, address among them")
        for line in reader:
            yield reader.line_num, line


def _page(connection: "sa.Connection", account: str | None, before: int | None) -> list[dict[str, Any]]:
    from relay.store import suppressions

    return suppressions.page(connection, _account_id(connection, account), limit=_AT_ONCE, before=before)


def _moment(written: str) -> datetime:
    moment = datetime.fromisoformat(written)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _account_id(connection: "sa.Connection", account: str | None) -> int | None:
    from relay.store import accounts

    return accounts.account_by_name(connection, account) if account else None


def _check_stream(name: str | None) -> None:
    if name is not None and not is_name(name):
        fail(f"--stream: {name} is no name of a stream", 2)


def _reason(written: str) -> "Reason":
    from relay.store.suppressions import Reason

    try:
        return Reason(written.lower())
    except ValueError:
        fail(f"--reason must be one of {', '.join(Reason)}", 2)
