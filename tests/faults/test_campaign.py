"""Every fault once, with few mails. `python -m tests.faults` plays them longer and on both databases."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from relay.core.errors import Unavailable
from relay.store import sqlite
from relay.store.database import open_database, ping
from relay.store.writer import GroupWriter
from tests.faults import durability
from tests.faults.campaign import Campaign, Damage, Figures
from tests.faults.load import Answer, Door, Load, Newcomers, Unit
from tests.faults.rows import ROWS, one_after_the_other
from tests.installation import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_BY_NAME = {row.name: row for row in ROWS}
#: a live worker renews its claims when a third of this is over; a busy machine may hold it up for another third
_LEASE = 4
#: what is played here; the long form also plays variants: F5b, F6b, F8b (of which a test below is), F18b, F21b
_TOGETHER = ("F1 F2 F3", "F4", "F5 F6 F7 F8c", "F8", "F9 F10 F12", "F13 F14 F15 F16", "F17", "F21", "F22")
_ON_POSTGRES = ("F1 F2 F5 F6", "F8c F11")


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with Campaign("sqlite", lease=_LEASE, brief=True) as made:
        yield made


@pytest.fixture(scope="module")
def fleet() -> Iterator[Campaign]:
    with Campaign("postgres", lease=_LEASE, brief=True) as made:
        yield made


def hold(figures: Figures) -> None:
    assert figures.accepted > 0, figures
    assert figures.holds, figures


def played(campaign: Campaign, names: str) -> Figures:
    """Rows that can be are played under one load and counted once: that takes half of the time."""
    rows = [_BY_NAME[name] for name in names.split()]
    return rows[0].run(campaign) if len(rows) == 1 else one_after_the_other(rows)(campaign)


def test_each_fault_of_the_table_is_played() -> None:
    here = {name for names in _TOGETHER for name in names.split()} | {"F11", "F18", "F20", "F20b"}
    assert set(_BY_NAME) - here == {"F5b", "F6b", "F8b", "F18b", "F21b"}


@pytest.mark.parametrize("names", _TOGETHER)
def test_nothing_is_lost_doubled_or_untrue(campaign: Campaign, names: str) -> None:
    hold(played(campaign, names))


def test_nor_where_the_disk_is_full() -> None:
    try:
        with Campaign("sqlite", lease=_LEASE, brief=True, **_BY_NAME["F18"].setting) as own:
            hold(played(own, "F18"))
    except PermissionError:
        # A small disk needs root. What doors do on a full one is in tests/relay/test_space.py as well.
        assert os.geteuid() != 0


def test_nor_where_the_clock_jumps() -> None:
    # Longer than sends take here: in the second before the jump none needs to be renewed.
    with Campaign("sqlite", lease=6, clock=True) as own:
        hold(played(own, "F20"))
        hold(played(own, "F20b"))


@pytest.mark.parametrize("names", _ON_POSTGRES)
def test_nor_on_postgres_nor_when_it_goes_away(fleet: Campaign, names: str) -> None:
    hold(played(fleet, names))


def test_every_answer_comes_after_a_sync(campaign: Campaign, fleet: Campaign) -> None:
    assert durability.proved(campaign, 3) == {"smtp": 3, "api": 3}
    assert durability.proved(fleet, 3) == {"smtp": 3, "api": 3}


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
    monkeypatch.setattr(sqlite, "_BUSY", 0.3)
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


def test_doors_are_replaced_one_by_one_and_nobody_is_refused(fleet: Campaign) -> None:
    """Doors share their port where `processes` is more than one, so a new one is there before the old one ends."""
    door = Door(fleet.installation.smtp_port, fleet.installation.api_port, fleet.installation.key)
    with Load(door, "rolling", clients=2, rate=40) as load, Newcomers(door) as newcomers:
        wait_for(lambda: len(load.accepted) > 20, "mail before")
        fleet.add("api")
        for role in ("smtp", "api"):
            for pid in fleet.pids(role):
                before = len(fleet.pids(role))
                fleet.add(role)
                wait_for(
                    lambda role=role, before=before: len(fleet.pids(role)) > before, "the new one's start"
                )
                wait_for(lambda seen=newcomers.taken: newcomers.taken > seen + 20, "mail by both")
                fleet.drop(pid, signal.SIGTERM)
                wait_for(lambda seen=newcomers.taken: newcomers.taken > seen + 20, "mail after")
    assert not newcomers.refused
    unanswered = [unit.address for unit in load.units if unit.answer is Answer.UNKNOWN]
    assert not unanswered
    refused = [unit.words for unit in load.units if unit.answer is Answer.REFUSED and unit.door == "smtp"]
    # A connection that is kept open is told 421 between two mails, as RFC 5321 3.8 has it; new ones get through.
    assert all(words.startswith("421") for words in refused), refused
