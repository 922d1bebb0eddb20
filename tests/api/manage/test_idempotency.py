"""A repeated send is one message, whichever process, however close together, before and after a restart."""

import asyncio
from datetime import timedelta

import pytest

from relay.core.clock import now
from relay.store import idempotency, messages
from tests.api.conftest import EMAILS, Door, refused


def keyed(door: Door, key: str, **fields):
    return door.send(headers={"Idempotency-Key": key}, **fields)


@pytest.fixture(autouse=True)
def _headers(monkeypatch):
    def send(self, headers=None, **fields):
        body = {"recipient": "recipient@example.com", "subject": "One time OTP", "body": "It is 1", **fields}
        return self.request("POST", f"{EMAILS}/send", json=body, headers=headers)

    monkeypatch.setattr(Door, "send", send)


def count(door: Door) -> int:
    return len(door.get(f"{EMAILS}?limit=100").json()["data"])


def test_the_same_answer_is_replayed_and_one_message_is_stored(door):
    first = keyed(door, "order-1")
    again = keyed(door, "order-1")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(door) == 1


def test_another_key_and_no_key_are_other_messages(door):
    keyed(door, "a")
    keyed(door, "b")
    door.send()
    assert count(door) == 3


def test_another_body_under_the_same_key_is_a_conflict(door):
    keyed(door, "a")
    refused(keyed(door, "a", subject="Another"), 409, "idempotency_key_reused")
    assert count(door) == 1


def test_a_refusal_that_was_stored_is_replayed(door):
    first = keyed(door, "a", **{"from": "someone@elsewhere.example"})
    again = keyed(door, "a", **{"from": "someone@elsewhere.example"})
    refused(first, 400, "invalid_from_address")
    assert (again.status_code, again.content) == (400, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(door) == 1


def test_a_request_that_was_malformed_leaves_its_key_free(door):
    assert keyed(door, "a", recipient="nobody").status_code == 400
    assert keyed(door, "a").status_code == 201


def test_keys_belong_to_accounts(door):
    keyed(door, "a")
    other = door.new_account("other", senders=["*"])
    answer = door.request(
        "POST",
        f"{EMAILS}/send",
        key=other,
        json={"recipient": "r@example.com", "subject": "s", "body": "b"},
        headers={"Idempotency-Key": "a"},
    )
    assert answer.status_code == 201
    assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", " ", "x" * 257, "caf\u00e9".encode("latin-1"), "a\tb"])
def test_a_key_that_is_none_is_refused(door, key):
    refused(keyed(door, key), 400, "api_validation")


def test_the_longest_key_is_taken(door):
    assert keyed(door, "~" * 256).status_code == 201
    assert keyed(door, "~" * 256).headers["Idempotency-Replayed"] == "true"


def test_a_key_is_free_again_after_a_day(door, monkeypatch):
    first = keyed(door, "a").json()["id"]
    later = now() + idempotency.LIFETIME + timedelta(seconds=1)
    monkeypatch.setattr("api.idempotency.now", lambda: later)
    # The record goes by the time in the new message's id.
    monkeypatch.setattr(messages, "made_at", lambda identifier: later)
    second = keyed(door, "a")
    assert second.status_code == 201
    assert second.json()["id"] != first


def test_two_at_once_in_one_process_are_one_message(door):
    async def both():
        body = {"recipient": "r@example.com", "subject": "s", "body": "b"}
        headers = {"Authorization": f"Bearer {door.key}", "Idempotency-Key": "a"}
        return await asyncio.gather(
            *(door._client.post(f"{EMAILS}/send", json=body, headers=headers) for _ in range(5))
        )

    answers = door.run(both())
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 201
    assert set(statuses) <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    for answer in answers:
        if answer.status_code == 409:
            refused(answer, 409, "idempotency_in_progress")
            assert answer.headers["Retry-After"] == "1"
    assert count(door) == 1


def test_two_at_once_in_two_processes_are_one_message(door):
    """Neither knows of the other until the record tells them."""
    other = Door.__new__(Door)
    other.__dict__.update(door.__dict__)
    from httpx2 import ASGITransport, AsyncClient

    from api.main import build

    client = AsyncClient(transport=ASGITransport(app=build(door.context)), base_url="http://door.example")
    body = {"recipient": "r@example.com", "subject": "s", "body": "b"}

    async def race(key):
        headers = {"Authorization": f"Bearer {door.key}", "Idempotency-Key": key}
        return await asyncio.gather(
            door._client.post(f"{EMAILS}/send", json=body, headers=headers),
            client.post(f"{EMAILS}/send", json=body, headers=headers),
        )

    for number in range(10):
        one, two = door.run(race(f"race-{number}"))
        assert (one.status_code, two.status_code) == (201, 201)
        assert one.content == two.content
        replayed = [answer.headers.get("Idempotency-Replayed") for answer in (one, two)]
        assert sorted(map(str, replayed)) == ["None", "true"]
    door.run(client.aclose())
    assert count(door) == 10


def test_a_restart_changes_nothing(door):
    first = keyed(door, "a")
    door.reopen(door.settings)
    again = keyed(door, "a")
    assert (again.status_code, again.content) == (201, first.content)


def test_expired_keys_are_forgotten_in_small_batches(door):
    for number in range(5):
        keyed(door, f"old-{number}")
    later = now() + idempotency.LIFETIME + timedelta(seconds=1)
    assert door.work(idempotency.prune, now=now(), limit=2) == 0
    assert [door.work(idempotency.prune, now=later, limit=2) for _ in range(4)] == [2, 2, 1, 0]
