"""/v1/templates and /v1/batches over HTTP, as their owners see them."""

import csv
import io
from typing import Any

import pytest

from relay.intake import Intake
from relay.queue import NoQueue
from relay.sections import BatchSettings
from relay.store import messages
from tests.api.conftest import Door, refused
from workers.batches import Batcher

LETTER = {
    "name": "spring",
    "subject": "Hello {{ name }}",
    "html": "<p>Dear {{ name }}</p>",
    "text": "Dear {{ name }}",
}
LIST = b"recipient,name\nada@x.example,Ada <3\nnobody,Bob\ncarl@x.example,Carl\n"


@pytest.fixture
def owner(door: Door) -> Door:
    door.key = door.new_account(
        "lists", scopes=("send", "read", "manage"), email="ops@lists.example", senders=["lists.example"]
    )
    return door


def template(door: Door, **fields: Any) -> dict[str, Any]:
    answer = door.request("POST", "/v1/templates", json={**LETTER, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def upload(door: Door, content: bytes = LIST, headers: Any = None, **fields: Any) -> Any:
    data = {"template": "spring", "from": "Shop <shop@lists.example>", **fields}
    return door.request(
        "POST", "/v1/batches", data=data, files={"csv": ("list.csv", content)}, headers=headers
    )


def work(door: Door) -> None:
    """What a worker does until no batch wants anything of it."""
    batcher = Batcher(door.database, NoQueue(), Intake(door.database, NoQueue()), BatchSettings())

    async def once() -> bool:
        return await batcher.once()

    while door.run(once()):
        pass


def test_a_template_has_versions_of_which_one_is_active(owner: Door) -> None:
    made = template(owner)
    one = f"/v1/templates/{made['id']}"
    assert (made["active_version"], made["version"], made["variables"]) == (1, 1, ["name"])
    second = owner.request(
        "POST", f"{one}/versions", json={**_said("Hi {{ name }}"), "activate": False}
    ).json()
    assert (second["version"], second["active_version"], second["latest_version"]) == (2, 1, 2)
    preview = owner.request("POST", f"{one}/preview", json={"variables": {"name": "<A>"}}).json()
    assert preview == {"subject": "Hello <A>", "html": "<p>Dear &lt;A&gt;</p>", "text": "Dear <A>"}
    assert owner.request("POST", f"{one}/activate", json={"version": 2}).json()["active_version"] == 2
    preview = owner.request("POST", f"{one}/preview", json={"variables": {"name": "Ada"}}).json()
    assert preview["subject"] == "Hi Ada"
    listed = owner.get(f"{one}/versions").json()["data"]
    assert [version["version"] for version in listed] == [2, 1]
    refused(owner.request("POST", f"{one}/activate", json={"version": 9}), 404, "not_found")
    refused(owner.request("POST", f"{one}/preview", json={"variables": {}}), 400, "invalid_template")
    refused(owner.request("POST", "/v1/templates", json=LETTER), 409, "conflict")
    owner.request("POST", f"{one}/archive")
    assert owner.get("/v1/templates").json()["data"] == []
    assert "archived" in refused(upload(owner), 400, "api_validation")
    assert owner.request("POST", f"{one}/unarchive").json()["archived_at"] is None


def _said(subject: str) -> dict[str, Any]:
    return {"subject": subject, "text": "x"}


def test_a_test_mail_of_a_template_is_sent(owner: Door) -> None:
    made = template(owner)
    fields = {"from": "shop@lists.example", "to": "me@x.example", "variables": {"name": "Me"}}
    answer = owner.request("POST", f"/v1/templates/{made['id']}/test", json=fields)
    assert answer.status_code == 201, answer.text
    mail = owner.work(messages.raw, int(answer.json()["id"]))
    assert b"Subject: Hello Me\r\n" in mail
    refused(
        owner.request("POST", f"/v1/templates/{made['id']}/test", json={**fields, "from": "x@other.example"}),
        400,
        "invalid_from_address",
    )


def test_a_list_is_taken_read_and_told_of(owner: Door) -> None:
    template(owner)
    answer = upload(owner, tag="spring")
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert (batch["state"], batch["name"], batch["size"]) == ("reading", "list.csv", len(LIST))
    again = upload(owner, tag="spring")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == batch["id"]
    work(owner)
    one = f"/v1/batches/{batch['id']}"
    batch = owner.get(one).json()
    assert (batch["state"], batch["rows"], batch["valid"], batch["refused"], batch["queued"]) == (
        "sending",
        3,
        2,
        1,
        2,
    )
    assert batch["messages"] == {"accepted": 2}
    refusals = owner.get(f"{one}/rows?state=refused").json()
    assert [(row["row"], row["recipient"]) for row in refusals["data"]] == [(2, "nobody")]
    page = owner.get(f"{one}/rows?limit=2").json()
    assert page["has_more"]
    rest = owner.get(f"{one}/rows?limit=2&cursor={page['next_cursor']}").json()["data"]
    assert [row["recipient"] for row in rest] == ["carl@x.example"]
    preview = owner.get(f"{one}/preview?row=1").json()
    assert (preview["recipient"], preview["html"]) == ("ada@x.example", "<p>Dear Ada &lt;3</p>")
    assert "refused" in refused(owner.get(f"{one}/preview?row=2"), 400, "api_validation")
    export = owner.get(f"{one}/export")
    assert export.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(export.text)))
    assert [(row["recipient"], row["state"], row["status"]) for row in rows] == [
        ("ada@x.example", "queued", "ACCEPTED"),
        ("nobody", "refused", ""),
        ("carl@x.example", "queued", "ACCEPTED"),
    ]
    assert owner.request("POST", f"{one}/pause").json()["state"] == "paused"
    assert owner.request("POST", f"{one}/resume").json()["state"] == "sending"
    assert owner.request("POST", f"{one}/cancel").json()["messages"] == {"unsent": 2}
    refused(owner.request("POST", f"{one}/start"), 409, "conflict", "The batch is cancelled.")
    assert owner.get("/v1/batches").json()["data"][0]["id"] == batch["id"]


def test_a_list_may_only_be_looked_at(owner: Door) -> None:
    template(owner)
    batch = upload(owner, validate_only="true").json()
    work(owner)
    batch = owner.get(f"/v1/batches/{batch['id']}").json()
    assert (batch["state"], batch["valid"], batch["refused"], batch["messages"]) == ("done", 2, 1, {})


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"from": "x@other.example"}, "invalid_from_address", "x@other.example"),
        ({"template": "none"}, "not_found", "no template"),
        ({"colour": "red"}, "api_validation", '"colour" is not allowed'),
        ({"start": "soon"}, "api_validation", '"start"'),
        ({"columns": "{"}, "api_validation", '"columns"'),
        ({"delimiter": "x"}, "api_validation", '"delimiter"'),
        ({"encoding": "ebcdic"}, "api_validation", '"encoding"'),
        ({"subject": "{{ 'a' * 9 }"}, "api_validation", '"subject"'),
        ({"stream": "none"}, "not_found", "no stream"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    owner: Door, fields: dict[str, str], code: str, words: str
) -> None:
    template(owner)
    answer = upload(owner, **fields)
    assert words in refused(answer, 404 if code == "not_found" else 400, code)
    assert owner.get("/v1/batches").json()["data"] == []


def test_a_list_is_a_file_of_a_form(owner: Door) -> None:
    template(owner)
    refused(owner.request("POST", "/v1/batches", json={}), 415, "unsupported_media_type")
    fields = {"template": "spring", "from": "shop@lists.example"}
    answer = owner.request("POST", "/v1/batches", data=fields, files={"other": ("x", b"x")})
    assert '"csv" is required' in refused(answer, 400, "api_validation")


def test_other_accounts_see_nothing_of_it(owner: Door) -> None:
    made = template(owner)
    batch = upload(owner).json()
    other = owner.new_account("others", scopes=("send", "read", "manage"), senders=["others.example"])
    for method, path in (
        ("GET", f"/v1/batches/{batch['id']}"),
        ("GET", f"/v1/batches/{batch['id']}/export"),
        ("POST", f"/v1/batches/{batch['id']}/cancel"),
        ("GET", f"/v1/templates/{made['id']}"),
        ("POST", f"/v1/templates/{made['id']}/archive"),
    ):
        refused(owner.request(method, path, key=other), 404, "not_found")
    assert owner.get("/v1/batches", key=other).json()["data"] == []


def test_a_single_send_may_be_made_from_a_template(owner: Door) -> None:
    template(owner)
    fields = {"from": "shop@lists.example", "template": "spring", "variables": {"name": "<Ada>"}}
    answer = owner.request("POST", "/v1/messages", json={**fields, "to": "ada@x.example"})
    assert answer.status_code == 201, answer.text
    mail = owner.work(messages.raw, int(answer.json()["id"]))
    assert b"Subject: Hello <Ada>\r\n" in mail
    assert b"<p>Dear &lt;Ada&gt;</p>" in mail
    sent = owner.post({**fields, "recipient": "ada@x.example"}).json()
    assert (sent["params"]["subject"], sent["params"]["body"]) == ("Hello <Ada>", "<p>Dear &lt;Ada&gt;</p>")
    form = owner.request(
        "POST",
        "/v1/transactional/email/send",
        data={**fields, "recipient": "ada@x.example", "variables": '{"name": "Ada"}'},
    )
    assert form.json()["params"]["subject"] == "Hello Ada"
    for wrong, code, words in (
        ({"variables": {}}, "invalid_template", "no variable name"),
        ({"variables": "["}, "api_validation", '"variables"'),
        ({"template": "none"}, "api_validation", "no template none"),
        ({"subject": "mine"}, "api_validation", '"subject" is not allowed beside "template"'),
    ):
        answer = owner.request("POST", "/v1/messages", json={**fields, "to": "ada@x.example", **wrong})
        assert words in refused(answer, 400, code)
    assert '"variables" is not allowed' in refused(
        owner.request(
            "POST",
            "/v1/messages",
            json={
                "from": "shop@lists.example",
                "to": "a@x.example",
                "subject": "s",
                "text": "t",
                "variables": {},
            },
        ),
        400,
        "api_validation",
    )
