"""The release gate: half of the mail by each door, and every ten seconds a fault drawn by lot.

    python -m tests.faults.soak --mails 10000 --minutes 11

Ends with status 1 unless nothing is lost, nothing is a phantom, every status is true, and copies are explained.
"""

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.faults.campaign import Campaign, Damage, Figures
from tests.faults.load import Door, Load
from tests.faults.rows import ROWS, Row


def drawn(database: str) -> list[Row]:
    """Faults that can follow one another on one installation; those that count by themselves are left out."""
    return [row for row in ROWS if row.fault is not None and not row.alone and database in row.databases]


def soak(
    campaign: Campaign, mails: int, seconds: float, every: float = 10, seed: int = 1
) -> tuple[Figures, Counter[str]]:
    """Play faults for so long, with so many mails spread over the time; returns how often each was played, too."""
    dice = random.Random(seed)
    door = Door(campaign.installation.smtp_port, campaign.installation.api_port, campaign.installation.key)
    rows = drawn(campaign.database)
    played: Counter[str] = Counter()
    bound = 0
    campaign.sink.dropped.clear()
    ends = time.monotonic() + seconds
    with Load(door, "soak", rate=mails / seconds, most=mails, clients=4) as load:
        while time.monotonic() + every < ends or len(load.accepted) < mails:
            began = time.monotonic()
            row = dice.choice(rows)
            assert row.fault is not None
            # Each fault says how many copies it explains by itself, from its own beginning to its own end.
            bound += row.fault(campaign).bound
            played[row.name] += 1
            print(
                f"{row.name:5} {len(load.accepted):6} accepted, {campaign.sink.count:6} arrived", flush=True
            )
            time.sleep(max(0.0, began + every - time.monotonic()))
        load.join()
    figures = campaign.count(load.units, time.time(), Damage(bound), 300, "-soak-")
    return figures, played


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep the figures here, for `python -m tests.faults.page`")
    given = parser.parse_args()
    began = time.monotonic()
    with Campaign(given.database) as campaign:
        figures, played = soak(campaign, given.mails, given.minutes * 60, seed=given.seed)
        minutes = (time.monotonic() - began) / 60
    print(figures, dict(played))
    if given.out:
        line = {"soak": given.database, "minutes": minutes, "played": played, "load": os.getloadavg()[0]}
        with given.out.open("a") as out:
            out.write(json.dumps({**line, **vars(figures)}) + "\n")
    sys.exit(0 if figures.holds else 1)


if __name__ == "__main__":
    main()
