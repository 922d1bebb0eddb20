"""What everything but a success looks like."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import structlog.testing

from api.main import listen
from relay.core.errors import Misconfigured, RateLimited, Unavailable
from relay.sections import ApiSettings
from tests.api.conftest import EMAILS, Door, refused

UNAUTHENTICATED = "Unauthenticated request. Please try again with correct authentication"


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", "Bearer  {key}", "bearer {key}", "Basic {key}", "{key}", "Bearer {key}x",
        "Bearer a_b", "Bearer a__b", "Bearer a_v1_b_c", "Bearer acme_v1_unknown", "Bearer \xff\xfe_v1_x",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "method, path", [("POST", f"{EMAILS}/send"), ("GET", EMAILS), ("GET", f"{EMAILS}/1")]
)
def test_a_working_key_is_needed(shared_door: Door, header: str | None, method: str, path: str) -> None:
    headers = (
        {} if header is None else {"Authorization": header.format(key=shared_door.key).encode("latin-1")}
    )
    answer = shared_door.request(method, path, key=None, headers=headers)
    refused(answer, 401, "unauthenticated", UNAUTHENTICATED)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_expired_and_revoked_keys_do_not_work(door: Door) -> None:
    from datetime import timedelta

    from relay.core.clock import now
    from relay.store import accounts

    expired = door.work(accounts.create_key, "acme", expires_at=now() - timedelta(seconds=1))
    revoked = door.work(accounts.create_key, "acme")
    door.work(accounts.revoke_key, revoked.id)
    for key in (expired.secret, revoked.secret):
        refused(door.get(EMAILS, key=key), 401, "unauthenticated", UNAUTHENTICATED)


def test_a_key_does_what_its_scopes_say(door: Door) -> None:
    sends = door.new_account("sends", scopes=("send",), senders=["*"])
    reads = door.new_account("reads", scopes=("read",))
    admin = door.new_account("admin", scopes=("admin",))
    fields = {"recipient": "a@example.com", "subject": "s", "body": "b"}
    assert door.post(fields, key=sends).status_code == 201
    refused(door.get(EMAILS, key=sends), 403, "unauthorized")
    refused(door.get(f"{EMAILS}/1", key=sends), 403, "unauthorized")
    refused(door.post(fields, key=reads), 403, "unauthorized")
    assert door.get(EMAILS, key=reads).status_code == 200
    assert door.post(fields, key=admin).status_code == 201


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/transactional/sms", "//", "/v1/messages/1/2"]
)
def test_an_unknown_path(shared_door: Door, path: str) -> None:
    refused(shared_door.get(path), 404, "not_found", "The requested resource does not exist.")


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("GET", "/v1/health/livex", None),
        ("DELETE", EMAILS, "GET"),
        ("POST", EMAILS, "GET"),
        ("PUT", f"{EMAILS}/send", "POST"),
        ("POST", f"{EMAILS}/1", "GET"),
        ("POST", "/v1/health/live", "GET"),
        ("GET", "/v1/messages/batch", "POST"),
        ("PATCH", "/v1/messages/batch", "POST"),
    ],
)
def test_a_method_that_is_not_there(shared_door: Door, method: str, path: str, allow: str | None) -> None:
    answer = shared_door.request(method, path)
    if allow is None:
        refused(answer, 404, "not_found")
        return
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_a_trailing_slash_makes_no_difference(shared_door: Door) -> None:
    assert set(shared_door.get(f"{EMAILS}/").json()) == {"has_more", "data"}


@pytest.mark.parametrize(
    "body, headers",
    [
        (b"{", {}),
        (b'{"recipient": }', {}),
        (b'"a string"', {}),
        (b"5", {}),
        (b"null", {}),
        (b"NaN", {}),
        (b'{"recipient": NaN}', {}),
        (b'{"recipient": "\xff\xfe"}', {}),
        (b'{"recipient": "\\ud800"}', {}),
        (b"[" * 100_000, {}),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, {}),
        (b"{}", {"Content-Type": "application/json; charset=latin-1"}),
        (b"{}", {"Content-Encoding": "gzip"}),
        (b'{"body": "' + b"x" * (10 * 1024 * 1024) + b'"}', {}),
    ],
)
def test_a_body_that_cannot_be_read(shared_door: Door, body: bytes, headers: dict[str, str]) -> None:
    answer = shared_door.request(
        "POST", f"{EMAILS}/send", content=body, headers={"Content-Type": "application/json", **headers}
    )
    refused(answer, 400, "malformed", "Malformed request body")


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", '"recipient" is required'),
        (b"{}", '"recipient" is required'),
        (b"[]", '"value" must be of type object'),
        (b'{"recipient": 1e999}', '"recipient" must be a string'),
        (b'{"recipient": 123456789012345678901234567890}', '"recipient" must be a string'),
        (b'{"recipient": "a@example.com", "recipient": 5}', '"recipient" must be a string'),
        (b'\xef\xbb\xbf{"recipient": ""}', '"recipient" is not allowed to be empty'),
    ],
)
def test_an_odd_body_is_refused_for_its_fields(shared_door: Door, body: bytes, message: str) -> None:
    answer = shared_door.request(
        "POST",
        f"{EMAILS}/send",
        content=body,
        headers={"Content-Type": "application/json; charset=UTF-8"},
    )
    if body.startswith(b'{"recipient": 1e999'):
        assert answer.status_code == 400
        return
    refused(answer, 400, "api_validation", message)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "application/vnd.api+json"])
def test_an_unknown_content_type_counts_as_empty(shared_door: Door, kind: str) -> None:
    answer = shared_door.request("POST", f"{EMAILS}/send", content=b"{}", headers={"Content-Type": kind})
    refused(answer, 400, "api_validation", '"recipient" is required')


def test_a_declared_body_beyond_the_limit_is_refused_before_it_is_read(shared_door: Door) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield b"x" * 65536

    answer = shared_door.request(
        "POST",
        f"{EMAILS}/send",
        content=body(),
        headers={"Content-Type": "application/json", "Content-Length": str(200 * 1024 * 1024)},
    )
    refused(answer, 413, "attachment_limit")
    assert answer.headers["connection"] == "close"
    # What a client sends on is thrown away, up to a bound, so that it comes to read its answer.
    assert read < 160 * 1024 * 1024


@pytest.fixture
def broken(door: Door, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the next look into the database fail with an error of one's choice."""

    def fail(error: Exception) -> None:
        async def read(*_args: Any, **_kwargs: Any) -> Any:
            raise error

        monkeypatch.setattr(door.database, "read", read)

    return fail


def test_a_fault_tells_a_reference_that_the_log_has_too(door: Door, broken: Any) -> None:
    door.get(EMAILS)
    broken(RuntimeError("password=hunter2 in /srv/secret.py"))
    with structlog.testing.capture_logs() as lines:
        message = refused(door.get(EMAILS), 500, "internal_server")
    assert "hunter2" not in message
    reference = message.rpartition(" ")[2]
    (line,) = [line for line in lines if line["event"] == "fault"]
    assert line["reference"] == reference
    assert "hunter2" in line["error"]


def test_an_error_with_a_time_says_when_to_come_back(door: Door, broken: Any) -> None:
    door.get(EMAILS)
    broken(Unavailable(retry_after=7.2))
    answer = door.get(EMAILS)
    refused(answer, 503, "service_unavailable")
    assert answer.headers["retry-after"] == "8"
    broken(RateLimited())
    answer = door.get(EMAILS)
    refused(answer, 429, "rate_limit", "Too many requests. Please try again later.")
    assert answer.headers["retry-after"] == "1"


def test_health(door: Door, broken: Any) -> None:
    assert door.get("/v1/health/live", key=None).json() == {"status": "live"}
    shown = door.get("/v1/health/ready", key=None).json()
    assert shown["status"] == "degraded"
    assert shown["checks"]["database"] == shown["checks"]["disk"] == "ok"
    assert shown["checks"]["queue"].startswith("away")
    assert shown["checks"]["workers"].startswith("none is alive")
    broken(Unavailable())
    refused(door.get("/v1/health/ready", key=None), 503, "service_unavailable")
    assert door.get("/v1/health/live", key=None).status_code == 200


def test_a_stopping_door_is_not_ready(door: Door) -> None:
    door.stop.set()
    refused(door.get("/v1/health/ready", key=None), 503, "service_unavailable")


def test_the_description_names_every_call(shared_door: Door) -> None:
    answer = shared_door.get("/openapi.json", key=None)
    described = orjson.loads(answer.content)
    assert set(described["paths"]) >= {
        f"{EMAILS}/send", EMAILS, f"{EMAILS}/{{email_id}}", "/v1/messages/{id}", "/v1/health/live",
        "/v1/health/ready",
    }  # fmt: skip
    names = {parameter["name"] for parameter in described["paths"][EMAILS]["get"]["parameters"]}
    assert "created_at[gte]" in names
    assert described["paths"][f"{EMAILS}/send"]["post"]["security"]
    assert "422" not in str(described["paths"])


def test_a_port_in_use_is_explained() -> None:
    first = listen(ApiSettings(port=0))
    try:
        with pytest.raises(Misconfigured, match=r"api\.port: 127\.0\.0\.1:\d+ is in use"):
            listen(ApiSettings(port=first.getsockname()[1]))
    finally:
        first.close()


def test_processes_of_one_door_share_its_port() -> None:
    first = listen(ApiSettings(port=0, processes=2))
    second = listen(ApiSettings(port=first.getsockname()[1], processes=2))
    assert first.getsockname() == second.getsockname()
    first.close()
    second.close()


def test_an_address_that_is_not_ours_is_explained() -> None:
    with pytest.raises(Misconfigured, match=r"192\.0\.2\.1"):
        listen(ApiSettings(host="192.0.2.1", port=0))


def test_a_mail_is_stored_when_its_sender_hangs_up(door: Door) -> None:
    async def hang_up() -> None:
        from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
        from relay.core.status import Door as By
        from relay.intake import Intake

        intake = Intake(door.database, door.context.queue)
        submission = Submission(
            account_id=door.account_id, key_id=None, door=By.REST, sender="a@acme.example",
            recipients=[EnvelopeRecipient("b@example.com")], head=b"Subject: x\r\n\r\n", tail=MemoryTail(b"x"),
            from_="a@acme.example",
        )  # fmt: skip
        task = asyncio.ensure_future(intake.accept(submission))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await intake.close()

    door.run(hang_up())
    assert len(door.get(EMAILS).json()["data"]) == 1
