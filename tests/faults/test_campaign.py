"""Every fault once, with few mails. `python -m tests.faults` plays them longer and on both databases."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from relay.core.errors import Unavailable
from relay.store import database as database_module
from relay.store.database import open_database, ping
from relay.store.writer import GroupWriter
from tests.faults import durability
from tests.faults.campaign import Campaign, Damage, Figures
from tests.faults.load import Answer, Door, Load, Unit
from tests.faults.rows import ROWS, Row
from tests.installation import wait_for

pytestmark = pytest.mark.slow

_BY_NAME = {row.name: row for row in ROWS}
_LEASE = 2
#: variants that only the long form plays; what F8b is about has a test of its own below
_VARIANTS = {"F5b", "F6b", "F8b", "F18b"}
_TOGETHER = [
    row.name for row in ROWS if not row.alone and "sqlite" in row.databases if row.name not in _VARIANTS
]
_ALONE = [row.name for row in ROWS if row.alone and "sqlite" in row.databases if row.name not in _VARIANTS]


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with Campaign("sqlite", lease=_LEASE) as made:
        yield made


@pytest.fixture(scope="module")
def fleet() -> Iterator[Campaign]:
    with Campaign("postgres", lease=_LEASE) as made:
        yield made


def hold(row: Row, figures: Figures) -> None:
    assert figures.accepted > 0, figures
    assert figures.holds, figures


@pytest.mark.parametrize("name", _TOGETHER)
def test_nothing_is_lost_doubled_or_untrue(campaign: Campaign, name: str) -> None:
    hold(_BY_NAME[name], _BY_NAME[name].run(campaign))


@pytest.mark.parametrize("name", _ALONE)
def test_nor_where_the_machine_itself_fails(name: str) -> None:
    row = _BY_NAME[name]
    try:
        with Campaign("sqlite", lease=_LEASE, **row.setting) as own:
            hold(row, row.run(own))
    except PermissionError:
        # A small disk needs root. What doors do on a full one is in tests/relay/test_space.py as well.
        assert os.geteuid() != 0


def test_nor_when_postgres_goes_away(fleet: Campaign) -> None:
    hold(_BY_NAME["F11"], _BY_NAME["F11"].run(fleet))
    assert durability.proved(fleet, 2) == {"smtp": 2, "api": 2}


def test_every_answer_comes_after_a_sync(campaign: Campaign) -> None:
    assert durability.proved(campaign, 3) == {"smtp": 3, "api": 3}


def test_a_row_that_loses_or_doubles_does_not_hold() -> None:
    assert Figures(accepted=1, duplicates=2, bound=2).holds
    assert not Figures(accepted=1, duplicates=3, bound=2).holds
    for name in ("lost", "phantoms", "wrong", "wrong_refusals"):
        assert not Figures(accepted=1, **{name: 1}).holds


def test_the_count_sees_what_is_lost_doubled_and_untrue(campaign: Campaign) -> None:
    """The judge itself: mail that never was, twice the same delivery, a delivery nobody asked for."""
    sink = campaign.sink
    sink.times["take-judge-2@far.example"] = [1.0, 2.0]
    sink.times["take-judge-3@far.example"] = [1.0]
    units = [
        Unit("take-judge-1@far.example", "smtp", Answer.ACCEPTED, id="1"),
        Unit("take-judge-2@far.example", "smtp", Answer.ACCEPTED, id="2"),
    ]
    figures = campaign.count(units, 0.0, Damage(), patience=0.1, mark="-judge-")
    assert (figures.lost, figures.duplicates, figures.phantoms, figures.wrong) == (1, 1, 1, 2)


def test_a_writer_that_is_stopped_holds_nobody_up_for_ever(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_BUSY", 0.3)
    lock = Path(sqlite_url.removeprefix("sqlite:///") + "-writers")
    ran: list[str] = []

    async def main(file: int) -> None:
        one = open_database(sqlite_url)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            results = await asyncio.gather(
                *(one.write(lambda _, name=name: ran.append(name)) for name in ("first", "second")),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [Unavailable, Unavailable]
            fcntl.flock(file, fcntl.LOCK_UN)
            await one.write(lambda _: ran.append("third"))
            await one.read(ping)
        finally:
            await one.close()

    with lock.open("w") as file:
        asyncio.run(main(file.fileno()))
    # Whoever was told no has not been written after all.
    assert ran == ["third"]


def test_all_of_a_group_are_told_at_once_that_there_is_no_database() -> None:
    calls: list[int] = []

    async def commit(items: Sequence[int]) -> Sequence[int]:
        calls.append(len(items))
        await asyncio.sleep(0)
        raise Unavailable

    async def main() -> None:
        writer: GroupWriter[int, int] = GroupWriter(commit)
        results = await asyncio.gather(*(writer.submit(n) for n in range(20)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)

    asyncio.run(main())
    assert calls == [20]


def test_one_of_two_doors_is_replaced_and_nobody_is_refused(fleet: Campaign) -> None:
    """Doors share their port where `processes` is more than one, so a new one is there before the old one ends."""
    door = Door(fleet.installation.smtp_port, fleet.installation.api_port, fleet.installation.key)
    with Load(door, "rolling", by_rest=False, clients=4, rate=60) as load:
        wait_for(lambda: len(load.accepted) > 20, "mail before")
        for pid in fleet.pids("smtp"):
            before = len(fleet.pids("smtp"))
            fleet.add("smtp")
            wait_for(lambda before=before: len(fleet.pids("smtp")) > before, "the new door's start")
            fleet.drop(pid, signal.SIGTERM)
            seen = len(load.accepted)
            wait_for(lambda seen=seen: len(load.accepted) > seen + 20, "mail after")
    assert not [unit for unit in load.units if unit.answer is Answer.UNKNOWN]
    refused = [unit.words for unit in load.units if unit.answer is Answer.REFUSED]
    # A connection that is kept open is told 421 between two mails, as RFC 5321 3.8 has it; new ones get through.
    assert all(words.startswith("421") for words in refused), refused
