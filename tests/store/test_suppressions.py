"""Many suppressions at once, on both databases."""

import asyncio
from datetime import timedelta

import pytest

from relay.core.clock import now
from relay.store import accounts, suppressions
from relay.store.database import open_database
from relay.store.suppressions import NewSuppression, Reason


@pytest.fixture
def run(database_url):
    """Runs `work(connection, ...)` in a transaction of its own."""
    with asyncio.Runner() as runner:
        database = runner.run(_open(database_url))
        yield lambda work, *args, **kwargs: runner.run(database.write(work, *args, **kwargs))
        runner.run(database.close())


async def _open(url):
    return open_database(url)


def entry(account_id, address, reason=Reason.BOUNCE, **fields):
    return NewSuppression(account_id, address, reason, "test", **fields)


def test_what_does_not_end_stays_as_it_is_and_what_ends_is_renewed(run):
    account = run(accounts.create_account, "acme")
    run(suppressions.add, account, "kept@x.example", reason=Reason.MANUAL, source="cli", note="by hand")
    run(suppressions.add, account, "ending@x.example", source="cli", expires_at=now() + timedelta(hours=1))
    run(suppressions.add, None, "ended@x.example", source="cli", expires_at=now() - timedelta(hours=1))
    told = [
        entry(account, "kept@x.example"),
        entry(account, "Ending@X.example"),
        entry(account, "ENDING@x.example"),
        entry(None, "ended@x.example"),
        entry(account, "new@x.example", Reason.UNSUBSCRIBE, stream="bulk", note="n" * 2000),
        entry(account, "no address"),
    ]
    for _ in range(2):
        run(suppressions.add_many, told)
    mine = {one["address"]: one for one in run(suppressions.page, account, limit=10)}
    assert {name: (one["reason"], one["expires_at"], one["stream"]) for name, one in mine.items()} == {
        "kept@x.example": ("manual", None, None),
        "ending@x.example": ("bounce", None, None),
        "new@x.example": ("unsubscribe", None, "bulk"),
    }
    assert mine["kept@x.example"]["note"] == "by hand"
    (everywhere,) = run(suppressions.page, None, limit=10)
    assert (everywhere["reason"], everywhere["expires_at"]) == ("bounce", None)
    run(suppressions.add_many, told[:1], replace=True)
    assert run(suppressions.find, account, "kept@x.example")["reason"] == "bounce"


def test_who_is_blocked_depends_on_account_stream_and_time(run):
    one, two = run(accounts.create_account, "one"), run(accounts.create_account, "two")
    past = now() - timedelta(seconds=1)
    run(
        suppressions.add_many,
        [
            entry(one, "all@x.example"),
            entry(one, "bulk@x.example", stream="bulk"),
            entry(None, "trap@x.example"),
            entry(None, "traps@x.example", stream="bulk"),
            entry(one, "past@x.example", expires_at=past),
        ],
    )
    names = [f"{name}@x.example" for name in ("ALL", "bulk", "trap", "traps", "past", "other")]
    asked = [
        (who, stream, name) for who in (one, two) for stream in ("transactional", "bulk") for name in names
    ]
    blocked = run(suppressions.blocked, asked)
    found = {
        (who, stream): [name.partition("@")[0] for name in names if (who, stream, name) in blocked]
        for who in (one, two)
        for stream in ("transactional", "bulk")
    }
    assert found == {
        (one, "transactional"): ["ALL", "trap"],
        (one, "bulk"): ["ALL", "bulk", "trap", "traps"],
        (two, "transactional"): ["trap"],
        (two, "bulk"): ["trap", "traps"],
    }
    assert run(suppressions.blocked, []) == set()


def test_tens_of_thousands_come_in_and_are_asked_for(run):
    account = run(accounts.create_account, "acme")
    entries = [entry(account, f"{number}@many.example") for number in range(20_000)]
    run(suppressions.add_many, entries)
    asked = [(account, "bulk", f"{number}@many.example") for number in range(19_000, 21_000)]
    assert len(run(suppressions.blocked, asked)) == 1_000
