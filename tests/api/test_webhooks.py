"""The door for vendors: who gets in, what is kept, what comes of it."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api import webhooks
from relay import config
from relay.config import Settings
from relay.core.errors import Unavailable
from relay.core.inbox import InboxKind
from relay.store import inbox
from relay.tracking import hooks
from tests.api.conftest import Door, refused
from workers.ingest import Ingest, reports_reader, webhook_reader
from workers.setups import build_providers

KEY = "signing-secret"
SECRET = "a-long-enough-path-secret"
PROVIDERS = {
    "vendor": {"type": "mailersend", "api_key": "k", "webhook_key": KEY, "webhook_secret": SECRET},
    "unsure": {"type": "mailersend", "api_key": "k", "webhook_secret": SECRET},
    "office": {"type": "smtp", "host": "smtp.example.net", "webhook_secret": SECRET},
}
ROUTES = {"default": {"use": "vendor"}}


@pytest.fixture
def vendors_door(door: Door) -> Door:
    return _with_vendors(door)


@pytest.fixture
def sqlite_vendors_door(sqlite_door: Door) -> Door:
    """`vendors_door` for what does not depend on the database."""
    return _with_vendors(sqlite_door)


def _with_vendors(door: Door) -> Door:
    door.reopen(Settings(**{**_tables(door), "providers": PROVIDERS, "routes": ROUTES}))
    return door


def _tables(door: Door) -> dict[str, Any]:
    told = door.settings.model_dump()
    told["database"] = {"url": door.settings.database_url}
    return {name: told[name] for name in ("data_dir", "database", "limits", "api")}


def event(token: str, kind: str = "activity.delivered", key: str = "1", **data: Any) -> bytes:
    said = {
        "type": kind,
        "data": {
            "id": key,
            "created_at": "2026-01-02T03:04:05.000000Z",
            "email": {
                "tags": [f"pillarbox:{token}"],
                "message": {"id": "m-1"},
                "recipient": {"email": "recipient@example.com"},
            },
            **data,
        },
    }
    return json.dumps(said).encode()


def signed(body: bytes, key: str = KEY) -> dict[str, str]:
    return {"Signature": hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}


def tell(
    door: Door,
    body: bytes,
    *,
    name: str = "vendor",
    secret: str = SECRET,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    return door.request(
        "POST",
        f"/v1/webhooks/{name}/{secret}",
        key=None,
        content=body,
        headers=signed(body) if headers is None else headers,
    )


def ingest(door: Door) -> None:
    """What a worker does with all that is in the inbox."""

    async def run() -> None:
        providers = build_providers(door.settings)
        readers = {InboxKind.WEBHOOK: webhook_reader(lambda: providers), InboxKind.REPORTS: reports_reader}
        worker = Ingest(door.database, readers, door.settings.ingest)
        while await worker.once():
            pass
        for one in providers.values():
            await one.aclose()

    door.run(run())


def kept(door: Door) -> list[dict[str, Any]]:
    return door.work(inbox.page, limit=100, state=inbox.InboxState.NEW)


def sent(door: Door) -> tuple[str, str]:
    """A mail's id and the token it travels with."""
    identifier = door.sent()["id"]
    message = door.work(_recipient, int(identifier))
    return identifier, f"{identifier}.{message}"


def _recipient(connection: Any, identifier: int) -> int:
    from relay.store import messages

    return int(messages.recipients(connection, identifier)[0]["id"])


def test_what_a_vendor_reports_becomes_the_status(vendors_door: Door) -> None:
    door = vendors_door
    identifier, token = sent(door)
    answer = tell(door, event(token))
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = kept(door)
    assert (row["source"], row["kind"]) == ("vendor", "webhook")
    ingest(door)
    assert kept(door) == []
    message = door.get(f"/v1/messages/{identifier}").json()
    assert (message["status"], message["delivered_at"]) == ("DELIVERED", "2026-01-02T03:04:05.000Z")
    line = message["events"][-1]
    assert (line["kind"], line["provider"], line["recipient"]) == (
        "delivered",
        "vendor",
        "recipient@example.com",
    )
    assert line["detail"]["original"]["data"]["id"] == "1"
    assert door.get(f"/v1/transactional/email/{identifier}").json()["status"] == "DELIVERED"


def test_a_bounce_says_why_and_the_address_is_not_written_to_again(vendors_door: Door) -> None:
    door = vendors_door
    identifier, token = sent(door)
    tell(door, event(token, "activity.hard_bounced", morph={"reason": "550 5.1.1 no such user"}))
    ingest(door)
    email = door.get(f"/v1/transactional/email/{identifier}").json()
    assert (email["status"], email["error_code"], email["error_sub_type"]) == (
        "BOUNCED",
        "Hard bounce",
        "NoEmail",
    )
    message = door.get(f"/v1/messages/{identifier}").json()
    (recipient,) = message["recipients"]
    assert (recipient["bounce_class"], recipient["bounce_reason"]) == ("hard", "no_such_user")
    assert message["events"][-1]["detail"]["bounce"] == {"class": "hard", "reason": "no_such_user"}
    suppressed = door.get("/v1/suppressions/recipient@example.com").json()
    assert (suppressed["reason"], suppressed["source"]) == ("bounce", "vendor")


def test_what_is_told_twice_is_one_line(vendors_door: Door) -> None:
    door = vendors_door
    identifier, token = sent(door)
    for _ in range(3):
        assert tell(door, event(token)).status_code == 200
    ingest(door)
    assert tell(door, event(token)).status_code == 200
    ingest(door)
    kinds = [line["kind"] for line in door.get(f"/v1/messages/{identifier}").json()["events"]]
    assert sorted(kinds) == ["accepted", "delivered"]


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("vendor", "another-secret-of-some-length"),
        ("vendor", SECRET[:-1]),
        ("nobody", SECRET),
        ("nobody", "no secret is like this one"),
        ("vendor", "é"),
    ],
)
def test_a_wrong_name_and_a_wrong_secret_look_alike(
    sqlite_vendors_door: Door, name: str, secret: str
) -> None:
    answer = tell(sqlite_vendors_door, event("1.2"), name=name, secret=secret)
    refused(answer, 404, "not_found", "The requested resource does not exist.")
    assert kept(sqlite_vendors_door) == []


def test_what_does_not_verify_is_refused_and_not_kept(sqlite_vendors_door: Door) -> None:
    body = event("1.2")
    for headers in ({}, signed(body, "another key"), signed(body + b" ")):
        answer = tell(sqlite_vendors_door, body, headers=headers)
        refused(answer, 401, "unauthenticated", "The request could not be verified.")
        assert answer.headers["www-authenticate"].startswith("Basic")
    # Without a key nothing verifies.
    refused(tell(sqlite_vendors_door, body, name="unsure"), 401, "unauthenticated")
    assert kept(sqlite_vendors_door) == []


def test_a_handshake_is_answered_and_not_kept(sqlite_vendors_door: Door) -> None:
    assert tell(sqlite_vendors_door, b'{"type": "webhook.test"}', headers={}).status_code == 200
    assert kept(sqlite_vendors_door) == []


def test_a_provider_without_webhooks_says_so_to_who_knows_its_secret(sqlite_vendors_door: Door) -> None:
    message = refused(tell(sqlite_vendors_door, b"{}", name="office"), 404, "not_found")
    assert message == "The provider office is of a kind that reports nothing by webhook."


def test_a_request_may_not_be_as_large_as_anything(sqlite_vendors_door: Door) -> None:
    body = b" " * (sqlite_vendors_door.settings.ingest.max_webhook + 1)
    refused(tell(sqlite_vendors_door, body), 413, "attachment_limit")


def test_other_methods_are_not_allowed(sqlite_vendors_door: Door) -> None:
    answer = sqlite_vendors_door.get(f"/v1/webhooks/vendor/{SECRET}", key=None)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_while_the_record_is_away_the_vendor_is_to_come_again(
    sqlite_vendors_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = sqlite_vendors_door
    body = event("1.2")
    assert tell(door, body).status_code == 200

    async def away(*_args: Any, **_kwargs: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(door.database, "write", away)
    answer = tell(door, body)
    refused(answer, 503, "service_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_secrets_are_not_kept(sqlite_vendors_door: Door) -> None:
    body = event("1.2")
    headers = {**signed(body), "Authorization": "Basic c2VjcmV0", "Cookie": "a=b", "X-Vendor": "yes"}
    assert tell(sqlite_vendors_door, body, headers=headers).status_code == 200
    (row,) = kept(sqlite_vendors_door)
    whole = sqlite_vendors_door.work(inbox.get, row["id"])
    assert whole["payload"] == body
    assert whole["headers"]["x-vendor"] == "yes"
    assert not {"authorization", "cookie"} & set(whole["headers"])
    assert SECRET not in repr(whole)


def test_without_a_secret_of_the_operators_one_is_made(sqlite_door: Door) -> None:
    door = sqlite_door
    providers = {"vendor": {"type": "mailersend", "api_key": "k", "webhook_key": KEY}}
    settings = Settings(
        **{**_tables(door), "providers": providers, "public_url": "https://mail.example.org/"}
    )
    door.reopen(settings)
    installation = door.run(door.context.secret())
    url = hooks.url_of(settings, "vendor", installation)
    base, _, made = url.rpartition("/")
    assert base == "https://mail.example.org/v1/webhooks/vendor"
    assert len(made) == 32
    assert tell(door, event("1.2"), secret=made).status_code == 200
    refused(tell(door, event("1.2"), secret="0" * 32), 404, "not_found")


def test_the_file_is_followed_and_a_faulty_one_is_not(
    sqlite_door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_FRESH", 0.0)
    door, file = sqlite_door, tmp_path / "pillarbox.toml"
    text = f"""
        data_dir = "{door.settings.data_dir}"
        database.url = "{door.settings.database_url}"
        [providers.vendor]
        type = "mailersend"
        api_key = "k"
        webhook_key = "{KEY}"
        webhook_secret = "{{}}"
    """
    file.write_text(text.format("the-first-secret-there-was"))
    door.reopen(config.load(file))
    body = event("1.2")
    assert tell(door, body, secret="the-first-secret-there-was").status_code == 200
    file.write_text(text.format("the-second-secret-there-is"))
    assert tell(door, body, secret="the-first-secret-there-was").status_code == 404
    assert tell(door, body, secret="the-second-secret-there-is").status_code == 200
    file.write_text(text.format("short"))
    assert tell(door, body, secret="short").status_code == 404
    assert tell(door, body, secret="the-second-secret-there-is").status_code == 200
    file.write_text("[providers")
    assert tell(door, body, secret="the-second-secret-there-is").status_code == 200
