"""Writes the tables of docs/faults.md: `python -m tests.faults.page FILE...`, of JSON lines as `--out` keeps them."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.campaign import Figures
from tests.faults.rows import ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def table(database: str, figures: dict[str, Figures]) -> list[str]:
    rows = [row for row in ROWS if row.name in figures]
    if not rows:
        return []
    named = {"sqlite": "SQLite", "postgres": "PostgreSQL"}[database]
    lines = [
        f"## {named}",
        "",
        "| | fault | runs | accepted | lost | copies | bound | phantoms | untrue | put off |",
    ]
    lines[-1] += " recovery | within |"
    lines.append("| --- | --- " + "| ---: " * 10 + "|")
    return [*lines, *(_line(row, figures[row.name]) for row in rows), ""]


def _line(row: Row, one: Figures) -> str:
    bound = f"{one.bound} ({row.bound})" if row.bound != "0" else "0"
    cells = [
        *(row.name, row.title, one.runs, one.accepted, one.lost, one.duplicates, bound),
        *(one.phantoms, one.wrong, one.put_off, f"{max(one.recovery, 0):.1f} s", f"{row.recovery:.0f} s"),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def tables(lines: Iterable[dict[str, Any]]) -> str:
    """The tables of both databases; `lines` are what `--out` keeps, several of one row being added up."""
    figures: dict[str, dict[str, Figures]] = {"sqlite": {}, "postgres": {}}
    loads = []
    for line in lines:
        one = Figures(**{name: line[name] for name in vars(Figures())})
        found = figures[line["database"]]
        found[line["row"]] = found[line["row"]] + one if line["row"] in found else one
        loads.append(line["load"])
    busy = f"The machine's load was {min(loads):.0f} to {max(loads):.0f} on two cores, most of it other work."
    return "\n".join([busy, "", *(text for name in figures for text in table(name, figures[name]))]).rstrip()


def main() -> None:
    lines = [json.loads(line) for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(f"{before}{_BEGIN}\n{tables(lines)}\n{_END}{rest.partition(_END)[2]}")


if __name__ == "__main__":
    main()
