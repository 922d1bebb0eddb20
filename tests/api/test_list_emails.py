"""GET /v1/transactional/email: the query table, the edge cases, and the guide's own examples."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from relay.core.ids import floor_at
from relay.store import tables as t
from tests.api.conftest import EMAILS, Door, refused

START = datetime(2024, 5, 10, 3, 3, 54, 163000, tzinfo=UTC)
ISO = "must be in ISO 8601 date format"
ENUM = "must be one of [UNSENT, ACCEPTED, SENT, BOUNCED, DELIVERED, OPENED, COMPLAINT]"


def fill(door: Door, count: int, *, step: timedelta = timedelta(hours=1), **values: Any) -> list[int]:
    """Emails made at START, START + step …, oldest first; `updated_at` runs the other way round."""
    ids = []
    for number in range(count):
        email = door.sent(subject=f"mail {number}")
        at = START + step * number
        identifier = floor_at(at) + number

        def change(
            connection: sa.Connection, was: int = int(email["id"]), now: int = identifier, at: datetime = at
        ) -> None:
            row = dict(connection.execute(sa.select(t.message).where(t.message.c.id == was)).mappings().one())
            row |= {"id": now, "created_at": at, "updated_at": START + timedelta(days=40) - (at - START)}
            row |= values
            connection.execute(t.message.insert(), row)
            for table in (t.params, t.recipient, t.body):
                connection.execute(table.update().where(table.c.message_id == was).values(message_id=now))
            connection.execute(t.message.delete().where(t.message.c.id == was))

        door.work(change)
        ids.append(identifier)
    return ids


def page(door: Door, query: str = "") -> tuple[list[int], bool]:
    answer = door.get(f"{EMAILS}{query}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["has_more", "data"]
    return [int(email["id"]) for email in body["data"]], body["has_more"]


@pytest.mark.parametrize(
    "query, message",
    [
        ("limit=0", '"limit" must be larger than or equal to 1'),
        ("limit=-1", '"limit" must be larger than or equal to 1'),
        ("limit=1001", '"limit" must be less than or equal to 1000'),
        ("limit=1.5", '"limit" must be an integer'),
        ("limit=ten", '"limit" must be a number'),
        ("limit=", '"limit" must be a number'),
        ("limit=0x10", '"limit" must be a number'),
        ("limit=1e999", '"limit" must be a safe number'),
        ("limit=99999999999999999999", '"limit" must be a safe number'),
        ("limit=1&limit=2", '"limit" must be a number'),
        ("limit[gt]=1", '"limit" must be a number'),
        ("offset=-1", '"offset" must be larger than or equal to 0'),
        ("offset=x", '"offset" must be a number'),
        ("offset=", '"offset" must be a number'),
        ("offset=0.5", '"offset" must be an integer'),
        ("offset=9007199254740992", '"offset" must be a safe number'),
        ("status=GONE", f'"status" {ENUM}'),
        ("status=", f'"status" {ENUM}'),
        ("status=SENT&status=OPENED", f'"status" {ENUM}'),
        ("status[]=SENT", f'"status" {ENUM}'),
        ("tag=", '"tag" is not allowed to be empty'),
        (f"tag={'x' * 256}", '"tag" length must be less than or equal to 255 characters long'),
        ("tag=a&tag=b", '"tag" must be a string'),
        ("tag=a%00b", '"tag" must not contain NUL'),
        ("created_at=2023-01-01", '"created_at" must be of type object'),
        ("created_at[eq]=2023-01-01", '"created_at.eq" is not allowed'),
        ("created_at[]=2023-01-01", '"created_at." is not allowed'),
        ("created_at[gt]=20200101", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=1696400000", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=2023-02-30", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=0000", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=2023-01-01T25:00:00Z", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=0001-01-01T00:00:00%2B14:00", f'"created_at.gt" {ISO}'),
        ("created_at[gt]=2023-01-01&created_at[gt]=2023-01-02", f'"created_at.gt" {ISO}'),
        ("created_at[lt]=yesterday", f'"created_at.lt" {ISO}'),
        ("sort_by=", '"sort_by" is not allowed to be empty'),
        ("sort_by=created_at&sort_by=updated_at", '"sort_by" must be a string'),
        ("exclude_params=1", '"exclude_params" must be a boolean'),
        ("exclude_params=yes", '"exclude_params" must be a boolean'),
        ("exclude_params=", '"exclude_params" must be a boolean'),
        ("exclude_params=true&exclude_params=true", '"exclude_params" must be a boolean'),
        ("foo=1", '"foo" is not allowed'),
        ("created_at.gt=2023-01-01", '"created_at.gt" is not allowed'),
        ("foo=1&limit=0", '"limit" must be larger than or equal to 1'),
    ],
)  # fmt: skip
def test_a_bad_query_is_refused_in_the_contracts_words(shared_door: Door, query: str, message: str) -> None:
    refused(shared_door.get(f"{EMAILS}?{query}"), 400, "api_validation", message)


@pytest.mark.parametrize("value", ["id", "created_atXX", "xxupdated_at", "*created_at", "created_at;--"])
def test_an_unknown_order_is_refused(shared_door: Door, value: str) -> None:
    message = refused(shared_door.get(EMAILS, params={"sort_by": value}), 400, "api_validation")
    assert "fails to match the required pattern" in message


@pytest.mark.parametrize("name", ["a" * 10_000, "x" * 100 + "[y]", "'; DROP TABLE message; --", "\0", "%"])
def test_hostile_names_are_refused(shared_door: Door, name: str) -> None:
    assert len(refused(shared_door.get(EMAILS, params={name: "1"}), 400, "api_validation")) < 200


def test_too_many_parameters_are_refused(shared_door: Door) -> None:
    refused(shared_door.get(f"{EMAILS}?{'&'.join('a=1' for _ in range(2000))}"), 400, "api_validation")


def test_a_limit_in_any_spelling(door: Door) -> None:
    fill(door, 12)
    for value, count in [("3", 3), (" 3", 3), ("3e0", 3), ("1e2", 12), ("1000", 12)]:
        answer = door.get(EMAILS, params={"limit": value})
        assert len(answer.json()["data"]) == count, value


def test_pages_follow_each_other(door: Door) -> None:
    newest_first = fill(door, 12)[::-1]
    assert page(door) == (newest_first[:10], True)
    assert page(door, "?offset=10") == (newest_first[10:], False)
    assert page(door, "?limit=12") == (newest_first, False)
    assert page(door, "?limit=11") == (newest_first[:11], True)
    assert page(door, "?limit=5&offset=7") == (newest_first[7:], False)
    assert page(door, "?offset=12") == ([], False)
    assert page(door, "?offset=9007199254740991") == ([], False)


def test_copies_do_not_count_as_emails(door: Door) -> None:
    door.sent(cc=["a@example.com", "b@example.com"], bcc=["c@example.com", "d@example.com"])
    assert page(door, "?limit=1")[1] is False


def test_emails_of_one_moment_keep_their_order(door: Door) -> None:
    ids = fill(door, 6, step=timedelta(0))
    assert page(door, "?sort_by=%2Bcreated_at")[0] == ids
    assert page(door, "?sort_by=-created_at")[0] == ids[::-1]
    assert page(door, "?sort_by=%2Bupdated_at")[0] == ids
    assert [page(door, f"?sort_by=updated_at&limit=1&offset={n}")[0][0] for n in range(6)] == ids[::-1]


ORDERS = [
    ("", True),
    ("sort_by=created_at", True),
    ("sort_by=-created_at", True),
    ("sort_by=%2Bcreated_at", False),
    ("sort_by=+created_at", False),
    ("sort_by=updated_at", False),
    ("sort_by=-updated_at", False),
    ("sort_by=+updated_at", True),
    ("sort_by=%2Bupdated_at", True),
]


def test_orders(door: Door) -> None:
    ids = fill(door, 4)
    for query, newest_first in ORDERS:
        assert page(door, f"?{query}")[0] == (ids[::-1] if newest_first else ids), query


def test_status_is_matched_in_any_case(door: Door) -> None:
    (delivered,) = fill(door, 1, status="DELIVERED")
    accepted = int(door.sent()["id"])
    assert page(door, "?status=DELIVERED") == ([delivered], False)
    assert page(door, "?status=delivered") == ([delivered], False)
    assert page(door, "?status=Accepted") == ([accepted], False)
    assert page(door, "?status=complaint") == ([], False)


def test_a_tag_is_matched_exactly(door: Door) -> None:
    tags = ["Greetings v2", "100%", "100x", "a_b", "axb", "A_b", "'; --", "ស្លាក", "a+b", "a b", "[x]"]
    tagged = {tag: int(door.sent(tag=tag)["id"]) for tag in tags}
    for tag, identifier in tagged.items():
        answer = door.get(EMAILS, params={"tag": tag})
        assert [int(email["id"]) for email in answer.json()["data"]] == [identifier], tag


RANGES = [
    ("created_at[gt]=2024-05-10T03:03:54.163Z", [1, 2, 3]),
    ("created_at[gte]=2024-05-10T03:03:54.163Z", [0, 1, 2, 3]),
    ("created_at[lt]=2024-05-10T04:03:54.163Z", [0]),
    ("created_at[lte]=2024-05-10T04:03:54.163Z", [0, 1]),
    ("created_at[gt]=2024-05-10T03:03:54.1629Z", [0, 1, 2, 3]),
    ("created_at[gt]=2024-05-10T03:03:54.1635Z", [1, 2, 3]),
    ("created_at[lte]=2024-05-10T03:03:54.1629Z", []),
    ("created_at[gte]=2024-05-10T04:03:54.163&created_at[lt]=2024-05-10T06:03:54.163", [1, 2]),
    ("created_at[gt]=2024-05-10T03:03:54.163Z&created_at[gte]=2024-05-10T05:03:54.163Z", [2, 3]),
    ("created_at%5Bgte%5D=2024-05-10T05:03:54.163Z", [2, 3]),
    ("created_at[gte]=2024-05-10T11:03:54.163%2B08:00", [0, 1, 2, 3]),
    ("created_at[gt]=2024-05-10T11:03:54.163+08:00", [1, 2, 3]),
    ("created_at[gt]=2024-05-09T23:03:54.163-0400", [1, 2, 3]),
    ("created_at[gt]=2024-05-10T03:03", [0, 1, 2, 3]),
    ("created_at[gte]=2024", [0, 1, 2, 3]),
    ("created_at[lt]=2024-05", []),
    ("created_at[lt]=2024-05-10", []),
    ("created_at[lt]=2024-05-11", [0, 1, 2, 3]),
    ("created_at[gt]=0001-01-01", [0, 1, 2, 3]),
    ("created_at[lt]=0001-01-01", []),
    ("created_at[lte]=9999-12-31T23:59:59.999999Z", [0, 1, 2, 3]),
    ("created_at[gt]=9999-12-31T23:59:59.999999Z", []),
]


def test_ranges_of_time(door: Door) -> None:
    ids = fill(door, 4)
    for query, found in RANGES:
        shown, _ = page(door, f"?sort_by=%2Bcreated_at&{query}")
        assert shown == [ids[index] for index in found], query


@pytest.mark.parametrize("value", ["true", "TRUE", "True"])
def test_params_are_left_out_when_asked(door: Door, value: str) -> None:
    whole = door.sent()
    (email,) = door.get(f"{EMAILS}?exclude_params={value}").json()["data"]
    del whole["params"]
    assert email == whole
    assert "params" in door.get(f"{EMAILS}?exclude_params=false").json()["data"][0]


def test_the_guides_examples_work_as_printed(door: Door) -> None:
    ids = fill(door, 12, step=timedelta(days=1), status="DELIVERED")
    newest_first = ids[::-1]
    assert page(door, "") == (newest_first[:10], True)
    assert page(door, "?limit=20&offset=10") == (newest_first[10:], False)
    assert page(door, "?status=DELIVERED") == (newest_first[:10], True)
    assert page(door, "?created_at[gt]=2023-05-10T03:03:54.163Z") == (newest_first[:10], True)
    assert page(door, "?created_at[gt]=2024-05-12&created_at[lt]=2024-05-15") == (ids[2:5][::-1], False)
    example = "?sort_by=+created_at&created_at[gte]=2022-11-01&status=delivered&limit=48"
    assert page(door, example) == (ids, False)


def test_more_than_one_batch_of_contents(door: Door) -> None:
    for number in range(60):
        door.sent(subject=f"mail {number}")
    data = door.get(f"{EMAILS}?limit=60&sort_by=%2Bcreated_at").json()["data"]
    assert [email["params"]["subject"] for email in data] == [f"mail {number}" for number in range(60)]


def test_a_page_of_large_mails_is_the_same_as_one_by_one(door: Door) -> None:
    sent = [door.sent(subject=f"No. {number}", body=str(number) * 700_000) for number in range(3)]
    small = door.sent(subject="Small")
    page = door.get(EMAILS)
    assert page.json() == {"has_more": False, "data": [small, *reversed(sent)]}
    # Written piece by piece, so nobody knows its length beforehand.
    assert "content-length" not in page.headers
    assert page.headers["content-type"] == "application/json"
    assert page.headers["cache-control"] == "no-cache"
    assert door.get(EMAILS, params={"limit": "2"}).json()["has_more"] is True
