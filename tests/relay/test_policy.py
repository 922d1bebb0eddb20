"""Who may come in, from where, and what asking costs: against real records, looked at from outside."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_network

import pytest
import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import NotAllowed, Suppressed, Unauthenticated, Unavailable
from relay.core.identity import inside
from relay.policy import Authenticator, Suppressions
from relay.store import accounts, suppressions
from relay.store import tables as t
from relay.store.database import Database, open_database


class Counted:
    """A database that counts what is read."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reads = 0
        self.away = False

    async def read(self, work, *args, **kwargs):
        self.reads += 1
        if self.away:
            raise Unavailable
        return await self.database.read(work, *args, **kwargs)

    async def write(self, work, *args, **kwargs):
        return await self.database.write(work, *args, **kwargs)


class Scene:
    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.database = open_database(url)
        self.counted = Counted(self.database)

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def write(self, work, *args, **kwargs):
        return self.run(self.database.write(work, *args, **kwargs))

    def key(self, **fields) -> accounts.NewKey:
        def make(connection: sa.Connection) -> accounts.NewKey:
            if not connection.execute(sa.select(t.account)).first():
                accounts.create_account(connection, "acme", senders=["acme.example"])
            return accounts.create_key(connection, "acme", **fields)

        return self.write(make)


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    made = Scene(database_url)
    yield made
    made.run(made.database.close())
    made.runner.close()


@pytest.fixture
def authenticator(scene: Scene) -> Callable[..., Authenticator]:
    return lambda **options: Authenticator(scene.counted, **options)


def test_a_flood_of_made_up_keys_costs_few_queries(scene, authenticator):
    door = authenticator()

    async def flood():
        return await asyncio.gather(
            *(door.identify(f"x_v1_{number}") for number in range(1000)), return_exceptions=True
        )

    assert {type(answer) for answer in scene.run(flood())} == {Unauthenticated}
    # 200 to a query, and the first goes before the others have come.
    assert scene.counted.reads <= 6


def test_a_wrong_key_tried_again_costs_nothing(scene, authenticator):
    door = authenticator()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            scene.run(door.identify("x_v1_wrong"))
    assert scene.counted.reads == 1


def test_what_is_remembered_is_bounded(scene, authenticator):
    door = authenticator(size=10)
    for number in range(30):
        with pytest.raises(Unauthenticated):
            scene.run(door.identify(f"x_v1_{number}"))
    assert len(door._unknown) == 10


def test_keys_asked_for_together_get_their_own_answers(scene, authenticator):
    keys = [scene.key(label=str(number)) for number in range(5)]
    door = authenticator()

    async def all_at_once():
        return await asyncio.gather(
            *(door.identify(key.secret) for key in keys),
            *(door.identify(f"x_v1_{number}") for number in range(5)),
            return_exceptions=True,
        )

    answers = scene.run(all_at_once())
    assert [answer.key_id for answer in answers[:5]] == [key.id for key in keys]
    assert {type(answer) for answer in answers[5:]} == {Unauthenticated}


def test_one_who_leaves_does_not_take_the_answer_from_the_others(scene, authenticator):
    key = scene.key()
    door = authenticator()

    async def leave():
        first = asyncio.create_task(door.identify(key.secret))
        second = asyncio.create_task(door.identify(key.secret))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert scene.run(leave()).key_id == key.id


def test_a_record_that_is_away_is_told_and_asked_again(scene, authenticator):
    key = scene.key()
    door = authenticator()
    scene.counted.away = True
    with pytest.raises(Unavailable):
        scene.run(door.identify(key.secret))
    scene.counted.away = False
    assert scene.run(door.identify(key.secret)).key_id == key.id


def test_a_disabled_account_has_no_working_keys(scene, authenticator):
    key = scene.key()
    door = authenticator(ttl=0)
    assert scene.run(door.identify(key.secret))
    scene.write(lambda c: c.execute(t.account.update().values(disabled_at=now())) and None)
    with pytest.raises(Unauthenticated):
        scene.run(door.identify(key.secret))


@pytest.mark.parametrize(
    ("peer", "welcome"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.7", False),
        ("2001:db8::1", True),
        ("2001:db8::1%eth0", True),
        ("2001:db9::1", False),
        ("somewhere", False),
        (None, False),
    ],
)
def test_a_key_with_networks_works_from_there_only(scene, authenticator, peer, welcome):
    key = scene.key(networks=["192.0.2.0/24", "2001:db8::/32"])
    door = authenticator()
    if welcome:
        assert scene.run(door.identify(key.secret, peer)).key_id == key.id
        return
    with pytest.raises(NotAllowed):
        scene.run(door.identify(key.secret, peer))


def test_a_key_without_networks_works_from_anywhere(scene, authenticator):
    assert scene.run(authenticator().identify(scene.key().secret, None))


def test_limits_come_with_the_identity(scene, authenticator):
    key = scene.key(rate_limit=25, daily_quota=1000)
    identity = scene.run(authenticator().identify(key.secret))
    assert (identity.rate_limit, identity.daily_quota) == (25, 1000)


def test_the_last_use_is_noted_once_and_not_with_every_request(scene, authenticator):
    key = scene.key()
    door = authenticator(ttl=0)

    def last_used(connection: sa.Connection):
        return connection.execute(
            sa.select(t.api_key.c.last_used_at).where(t.api_key.c.id == key.id)
        ).scalar()

    before = now()

    async def use():
        await door.identify(key.secret)
        await door._noting

    scene.run(use())
    first = scene.write(last_used)
    assert before <= first <= now()
    scene.run(door.identify(key.secret))
    assert scene.write(last_used) == first
    scene.run(door.close())
    assert scene.write(last_used) > first


def test_networks_are_told_apart():
    networks = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert inside("10.1.2.3", networks)
    assert inside("::1", networks)
    assert not inside("11.0.0.1", networks)
    mapped = (ip_network("::ffff:192.0.2.0/120"),)
    assert inside("192.0.2.7", mapped)
    assert inside("::ffff:192.0.2.7", mapped)
    assert not inside("192.0.3.7", mapped)
    assert not inside("", networks)


@pytest.mark.parametrize("most", [10_000, 2])
def test_suppressed_addresses_are_refused_whatever_the_lists_length(scene, most):
    key = scene.key()
    account_id = scene.run(Authenticator(scene.database).identify(key.secret)).account_id

    def fill(connection: sa.Connection) -> None:
        for number in range(3):
            suppressions.add(connection, account_id, f"own{number}@example.org", source="test")
        suppressions.add(connection, None, "nobody@example.org", source="test")
        past = now() - timedelta(seconds=1)
        suppressions.add(connection, account_id, "again@example.org", source="test", expires_at=past)

    scene.write(fill)
    rules = Suppressions(scene.counted, most=most)
    assert not rules.knows(account_id)
    for address in ("own1@example.org", "OWN2@EXAMPLE.ORG", "nobody@example.org"):
        with pytest.raises(Suppressed):
            scene.run(rules.check(account_id, address))
    for address in ("again@example.org", "own3@example.org"):
        scene.run(rules.check(account_id, address))
    scene.run(rules.check(account_id + 1, "own1@example.org"))
    assert rules.knows(account_id) == (most > 2)
    if rules.knows(account_id):
        with pytest.raises(Suppressed):
            rules.check_known(account_id, "own0@example.org")
        rules.check_known(account_id, "own9@example.org")
