"""Plays every fault on real installations and prints what came of it.

python -m tests.faults                                     everything, once
python -m tests.faults --rows F6 F8 --runs 5 --database postgres --out figures.jsonl

What `--out` keeps, `python -m tests.faults.page` writes into docs/faults.md.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.campaign import Campaign, Figures
from tests.faults.rows import ROWS, Row


def played(rows: Iterable[Row], database: str, runs: int, *, long: bool) -> Iterator[tuple[Row, Figures]]:
    """Each row `runs` times; rows that change nothing lasting share an installation."""
    rows = [row for row in rows if database in row.databases]
    with contextlib.ExitStack() as stack:
        shared: Campaign | None = None
        for row in rows:
            total: Figures | None = None
            for _ in range(runs):
                started = time.monotonic()
                if row.alone:
                    with Campaign(database, long=long, **row.setting) as own:
                        figures = row.run(own)
                else:
                    shared = shared or stack.enter_context(Campaign(database, long=long))
                    figures = row.run(shared)
                total = figures if total is None else total + figures
                took = time.monotonic() - started
                print(f"{database:9}{row.name:5}{took:6.1f} s  {figures}", flush=True)
            assert total is not None
            yield row, total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", default=[row.name for row in ROWS], metavar="F1")
    parser.add_argument("--database", choices=["sqlite", "postgres"], action="append")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="outages as long as they are in life")
    parser.add_argument(
        "--out", type=Path, help="keep the figures, one line of JSON for each row, added to these"
    )
    given = parser.parse_args()
    rows = [row for row in ROWS if row.name in given.rows]
    for database in given.database or ["sqlite", "postgres"]:
        for row, figures in played(rows, database, given.runs, long=given.long):
            line = {"row": row.name, "database": database, "load": os.getloadavg()[0], **vars(figures)}
            if given.out:
                with given.out.open("a") as out:
                    out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
