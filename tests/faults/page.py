"""Writes the tables of docs/faults.md: `python -m tests.faults.page FILE...`, of JSON lines as `--out` of
`python -m tests.faults` and `python -m tests.faults.soak` keeps them. What no line is about stays as it is.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.campaign import Figures
from tests.faults.rows import ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

_NAMED = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def table(database: str, figures: dict[str, Figures], before: str) -> list[str]:
    """The rows that were played again are new, the others those of the page before."""
    known = {
        name: line for line, name in re.findall(r"^(\| (F\w+) \|.*)$", _part(before, database), re.MULTILINE)
    }
    lines = {**known, **{row.name: _line(row, figures[row.name]) for row in ROWS if row.name in figures}}
    if not lines:
        return []
    head = [
        f"## {_NAMED[database]}",
        "",
        "| | fault | runs | accepted | lost | copies | bound | phantoms | untrue | put off |",
    ]
    head[-1] += " recovery | within |"
    head.append("| --- | --- " + "| ---: " * 10 + "|")
    return [*head, *(lines[row.name] for row in ROWS if row.name in lines), ""]


def _part(page: str, database: str) -> str:
    """What stands under a database's heading."""
    return page.partition(f"## {_NAMED[database]}\n")[2].partition("\n## ")[0]


def _line(row: Row, one: Figures) -> str:
    bound = f"{one.bound} ({row.bound})" if row.bound != "0" else "0"
    cells = [
        *(row.name, row.title, one.runs, one.accepted, one.lost, one.duplicates, bound),
        *(one.phantoms, one.wrong, one.put_off, f"{max(one.recovery, 0):.1f} s", f"{row.recovery:.0f} s"),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def tables(lines: Iterable[dict[str, Any]], before: str = "") -> str:
    """The tables of both databases; `lines` are what `--out` keeps, several of one row being added up."""
    figures: dict[str, dict[str, Figures]] = {"sqlite": {}, "postgres": {}}
    loads = [
        float(number) for number in re.findall(r"load was (\d+) to (\d+)", before)[:1] for number in number
    ]
    for line in lines:
        one = Figures(**{name: line[name] for name in vars(Figures())})
        found = figures[line["database"]]
        found[line["row"]] = found[line["row"]] + one if line["row"] in found else one
        loads.append(line["load"])
    busy = f"The machine's load was {min(loads):.0f} to {max(loads):.0f} on two cores, most of it other work."
    parts = [text for name, found in figures.items() for text in table(name, found, before)]
    return "\n".join([busy, "", *parts]).rstrip()


def soaks(lines: Iterable[dict[str, Any]]) -> str:
    """The table of long runs, the last of each database, and which faults were drawn."""
    latest = {line["soak"]: line for line in lines}
    table = [
        "| | minutes | faults | accepted | lost | copies | bound | phantoms | untrue | put off | slowest answer |",
        "| --- " + "| ---: " * 10 + "|",
    ]
    notes = []
    for database in (name for name in _NAMED if name in latest):
        line = latest[database]
        one = Figures(**{name: line[name] for name in vars(Figures())})
        cells = [
            *(_NAMED[database], f"{line['minutes']:.0f}", sum(line["played"].values()), one.accepted),
            *(one.lost, one.duplicates, one.bound, one.phantoms, one.wrong, one.put_off),
            f"{one.slowest_accept:.1f} s",
        ]
        table.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        often = ", ".join(
            f"{row.name} {line['played'][row.name]}" for row in ROWS if row.name in line["played"]
        )
        notes += ["", f"{_NAMED[database]}, how often each was drawn: {often}."]
    return "\n".join([*table, *notes])


def replaced(page: str, part: str, text: str) -> str:
    """The page with another text between the marks of a part."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def main() -> None:
    lines = [json.loads(line) for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]
    rows, long = [line for line in lines if "row" in line], [line for line in lines if "soak" in line]
    page = PAGE.read_text()
    page = replaced(page, "figures", tables(rows, page)) if rows else page
    PAGE.write_text(replaced(page, "soak", soaks(long)) if long else page)


if __name__ == "__main__":
    main()
