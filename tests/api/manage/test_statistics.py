"""Counts, erasures and redaction through HTTP, on both databases."""

import csv
import io
import time
from datetime import timedelta

import pytest

from relay import retention as cleaning
from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.status import State
from relay.store import deliveries, messages, settling
from relay.store.settling import Settlement
from workers.statistics import count_some

#: seconds that a test of an hour's counts may take
_ENOUGH = 20
SENT = {"recipient": "ada@person.example", "subject": "Hello", "body": "<p>Ada</p>"}


@pytest.fixture
def sent(door):
    """Sends a mail of these fields and has it taken by a provider."""

    def call(**fields):
        identifier = int(door.sent(**{**SENT, **fields})["id"])
        for mail in door.work(deliveries.claim, [identifier], now=now(), lease=30):
            settlements = [
                Settlement(claim, State.DONE, EventKind.SENT, now(), "250 ok", "ses") for claim in mail.claims
            ]
            assert door.work(settling.settle, settlements) == []
        return identifier

    return call


def not_at_the_end_of_an_hour():
    """An hour that ends within the test would have its counts in two: wait for the next one."""
    moment = now()
    if moment.minute == 59 and moment.second >= 60 - _ENOUGH:
        time.sleep(60 - moment.second)


def test_what_happened_is_counted_for_its_account(ask, door, sent, admin):
    not_at_the_end_of_an_hour()
    sent(tag="welcome", cc=["bob@other.example"])
    sent(tag="welcome")
    sent(tag="=cmd()")
    door.run(count_some(door.database, set()))
    door.run(count_some(door.database, set()))
    status, answer = ask(door.key, "GET", "/v1/statistics")
    assert (status, answer["by"], answer["timezone"]) == (200, "day", "UTC")
    assert answer["totals"]["messages"] == 3
    (day,) = answer["data"]
    assert day["at"] == now().strftime("%Y-%m-%dT00:00:00.000Z")
    assert (day["accepted"], day["sent"], day["delivered"]) == (4, 4, 0)
    by_tag = ask(door.key, "GET", "/v1/statistics?dimension=tag&by=total")[1]["data"]
    assert [(one["at"], one["value"], one["sent"]) for one in by_tag] == [
        (None, "=cmd()", 1),
        (None, "welcome", 3),
    ]
    top = ask(door.key, "GET", "/v1/statistics?dimension=tag&by=hour&top=1")[1]
    assert ([one["value"] for one in top["data"]], top["totals"]["sent"]) == (["welcome"], 3)
    one = ask(door.key, "GET", "/v1/statistics?dimension=domain&value=other.example&by=hour")[1]
    assert one["totals"]["sent"] == 1
    other = door.new_account("other", scopes=("read",))
    assert ask(other, "GET", "/v1/statistics")[1]["data"] == []
    assert ask(other, "GET", "/v1/statistics?account_id=all")[0] == 403
    assert ask(admin, "GET", "/v1/statistics?account_id=all&dimension=provider")[1]["totals"]["sent"] == 4
    report = door.get(f"/v1/statistics/report?dimension=tag&month={now():%Y-%m}")
    assert report.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(report.text)))
    assert [(line["tag"], line["sent"]) for line in lines] == [("welcome", "3"), ("'=cmd()", "1")]
    assert door.get("/v1/statistics/report").text.count("\r\n") == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("dimension=colour", "dimension"),
        ("by=minute", "by"),
        ("from=yesterday", "from"),
        ("month=2026-05", "month"),
    ],
)
def test_what_cannot_be_counted(ask, door, query, said):
    status, error = ask(door.key, "GET", f"/v1/statistics?{query}")
    assert (status, error["code"]) == (400, "api_validation")
    assert said in error["message"]


def test_a_person_is_erased(ask, door, sent, admin):
    identifier = sent()
    status, made = ask(admin, "POST", "/v1/erasures", {"address": "Ada@Person.example"})
    assert (status, made["state"], made["ended_at"]) == (202, "waiting", None)
    assert "person.example" not in str(made)
    row = door.work(lambda connection: cleaning.erasure.get(connection, int(made["id"])))
    while row["state"] != "done":
        row = door.run(cleaning.erase_some(door.database, row, steps=100))
    status, shown = ask(admin, "GET", f"/v1/erasures/{made['id']}")
    assert (shown["state"], shown["searches"], shown["counts"]["redacted"]) == ("done", 2, 1)
    assert ask(admin, "GET", "/v1/erasures")[1]["data"] == [shown]
    assert door.get(f"/v1/transactional/email/{identifier}").status_code == 410
    assert ask(door.key, "GET", "/v1/erasures")[0] == 403
    assert ask(admin, "POST", "/v1/erasures", {"address": "nobody"})[0] == 400
    assert ask(admin, "GET", "/v1/erasures/5")[0] == 404


def test_the_content_of_a_message_goes_and_its_status_stays(ask, door, sent, manager):
    identifier = sent()
    path = f"/v1/messages/{identifier}"
    assert ask(door.key, "POST", f"{path}/redact", {})[0] == 403
    status, answer = ask(manager, "POST", f"{path}/redact", {"addresses": True})
    assert (status, answer) == (200, {"id": str(identifier), "redacted": True})
    gone = door.get(f"/v1/transactional/email/{identifier}")
    assert (gone.status_code, gone.json()["code"]) == (410, "redacted")
    assert ask(door.key, "GET", f"{path}/source")[0] == 410
    shown = ask(door.key, "GET", path)[1]
    assert (shown["status"], shown["subject"], shown["recipient"]) == ("SENT", "", "redacted@invalid")
    (listed,) = door.get("/v1/transactional/email").json()["data"]
    assert listed["status"] == "SENT"
    waiting = door.sent(**SENT, send_at=(now() + timedelta(days=1)).isoformat())["id"]
    status, error = ask(manager, "POST", f"/v1/messages/{waiting}/redact", {})
    assert (status, error["code"]) == (409, "conflict")
    assert door.work(messages.raw, int(waiting))
    stranger = door.new_account("other", scopes=("manage",))
    assert ask(stranger, "POST", f"{path}/redact", {})[0] == 404
