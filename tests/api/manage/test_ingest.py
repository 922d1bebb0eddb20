"""What could not be recorded is looked at, read again and discarded, by admins."""

import pytest

from relay.core.clock import now
from relay.core.inbox import InboxKind, InboxState
from relay.store import inbox
from relay.store.inbox import Told


@pytest.fixture
def told(door):
    """Puts one row into the inbox and returns its id."""

    def put(state=InboxState.FAILED, source="postmark", payload=b'{"RecordType":"Bounce"}', **more):
        row = Told(InboxKind.WEBHOOK, source, payload, now(), state=state, reason="nobody knows it", **more)
        door.work(inbox.put, [row])
        (newest,) = door.work(inbox.page, limit=1, state=state)
        return str(newest["id"])

    return put


def ids(answer):
    status, found = answer
    assert status == 200, found
    return [one["id"] for one in found["data"]]


def test_what_is_set_aside_is_listed_newest_first_and_by_page(ask, admin, told):
    failed, orphan = told(), told(InboxState.ORPHAN, "ses")
    waiting = told(InboxState.RETRY)
    assert ids(ask(admin, "GET", "/v1/ingest")) == [orphan, failed]
    assert ids(ask(admin, "GET", "/v1/ingest?state=retry")) == [waiting]
    assert ids(ask(admin, "GET", "/v1/ingest?source=ses")) == [orphan]
    first = ask(admin, "GET", "/v1/ingest?limit=1")[1]
    assert ids(ask(admin, "GET", f"/v1/ingest?limit=1&cursor={first['next_cursor']}")) == [failed]
    assert ask(admin, "GET", "/v1/ingest?state=lost")[0] == 400


def test_one_has_what_was_told(ask, admin, told):
    payload = b"\xff" + b"x" * 120_000
    one = told(payload=payload, headers={"user-agent": "Postmark"}, query="a=b")
    status, found = ask(admin, "GET", f"/v1/ingest/{one}")
    assert status == 200
    assert (found["kind"], found["state"], found["reason"]) == ("webhook", "failed", "nobody knows it")
    assert (found["headers"], found["query"]) == ({"user-agent": "Postmark"}, "a=b")
    assert (found["size"], found["complete"], len(found["payload"])) == (120_001, False, 100_000)
    assert found["payload"].startswith("\ufffdxx")


def test_it_is_read_again_and_only_if_nobody_is_to_read_it_anyway(ask, admin, told):
    failed, orphan = told(), told(InboxState.ORPHAN)
    assert ask(admin, "POST", f"/v1/ingest/{failed}/replay") == (200, {"rows": 1})
    assert ask(admin, "POST", f"/v1/ingest/{failed}/replay")[0] == 409
    assert ids(ask(admin, "GET", "/v1/ingest?state=retry")) == [failed]
    other = told(source="ses")
    assert ask(admin, "POST", "/v1/ingest/replay", {"source": "postmark"}) == (200, {"rows": 1})
    assert ids(ask(admin, "GET", "/v1/ingest?state=early")) == [orphan]
    assert ids(ask(admin, "GET", "/v1/ingest")) == [other]
    assert ask(admin, "POST", "/v1/ingest/replay", {}) == (200, {"rows": 1})


def test_it_is_discarded_once(ask, admin, told):
    failed, waiting = told(), told(InboxState.RETRY)
    assert ask(admin, "DELETE", f"/v1/ingest/{failed}")[0] == 204
    assert ask(admin, "DELETE", f"/v1/ingest/{failed}")[0] == 404
    assert ask(admin, "DELETE", f"/v1/ingest/{waiting}")[0] == 409
    assert ask(admin, "DELETE", "/v1/ingest/replay")[0] == 405
    log = ask(admin, "GET", "/v1/audit?action=ingest")[1]
    assert [one["subject"] for one in log["data"]] == [failed]


def test_it_is_for_admins(ask, manager, told):
    one = told()
    for method, path, body in (
        ("GET", "", None),
        ("GET", f"/{one}", None),
        ("POST", f"/{one}/replay", None),
        ("POST", "/replay", {}),
        ("DELETE", f"/{one}", None),
    ):
        assert ask(manager, method, f"/v1/ingest{path}", body)[0] == 403
