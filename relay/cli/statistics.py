"""How much of what happened."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.output import ConfigOption, JsonOption, fail, in_record, settings_from, show_json, show_table

if TYPE_CHECKING:
    import sqlalchemy as sa

#: those left out are in the JSON
_HIDDEN = frozenset({"opens", "clicks", "machine_opens", "refused"})
_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])\Z")


def stats(
    dimension: Annotated[
        str, typer.Option("--by", help="account, key, tag, stream, provider or domain.")
    ] = "account",
    per: Annotated[str, typer.Option(help="hour, day, month or total; all in UTC.")] = "day",
    days: Annotated[int, typer.Option(min=1, max=36500, help="The last so many days.")] = 30,
    account: Annotated[
        str | None, typer.Option(help="Only this account's; else everybody's together.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="Only this tag, stream, provider or domain.")] = None,
    month: Annotated[str | None, typer.Option(help="Print this month, such as 2026-05, as CSV.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count what happened: by account, key, tag, stream, provider or recipients' domain."""
    from relay.store import accounts, statistics
    from relay.store.statistics import Dimension, Query

    if dimension not in {one.value for one in Dimension}:
        fail(f"--by: {dimension} is none of {', '.join(Dimension)}", 2)
    if per not in {"hour", "day", "month", "total"}:
        fail(f"--per: {per} is none of hour, day, month, total", 2)
    if month is not None and not _MONTH.match(month):
        fail("--month has the form 2026-05", 2)
    before = datetime.now(UTC)
    first = before - timedelta(days=days)
    if month is not None:
        first = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
        before = (first + timedelta(days=32)).replace(day=1)

    def work(connection: "sa.Connection") -> list[dict[str, Any]]:
        mine = accounts.account_by_name(connection, account) if account else None
        by = "total" if month else per
        wanted = Query(Dimension(dimension), statistics.hour_of(first), before, mine, value, by)
        return statistics.read(connection, wanted, limit=100_000)

    rows = in_record(settings_from(config), work)
    if month is not None:
        sys.stdout.write(statistics.as_csv(Dimension(dimension), first, rows))
    elif as_json:
        show_json(rows)
    else:
        names = [
            name
            for name in statistics.COUNTS
            if name in {"accepted", "sent"} or (name not in _HIDDEN and any(row[name] for row in rows))
        ]
        shown = [(row["at"], row["value"], *(row[name] for name in names)) for row in rows]
        show_table(("AT", dimension.upper(), *(name.upper() for name in names)), shown)
