"""Finding mail, one mail's page, and captured mail as an inbox."""

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from api.console import reading
from api.console.caller import Said
from api.console.desk import HOME, SECURITY, Desk, Visit
from relay.core.status import Status

MESSAGES = "/v1/messages"
_FILTERS = (
    "recipient", "from", "subject", "tag", "status", "error_code", "provider", "door",
    "created_from", "created_before", "account_id", "cursor",
)  # fmt: skip
_VIEWS = ("html", "text", "headers", "source")
_MAX_SOURCE = 400_000

#: for a stranger's HTML: nothing from the network, no script, no form, and no way to the page around it
_FRAME = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_EMPTY = {**_FRAME, "Content-Security-Policy": "default-src 'none'; sandbox"}


async def search(visit: Visit) -> Response:
    """One line that is taken for an id, an address or a subject; and every filter by itself."""
    line = visit.asked("q")
    if line.isdigit() and len(line) >= 15:
        return RedirectResponse(f"{HOME}/messages/{line}", 303, headers=SECURITY)
    if line:
        filters = {"recipient": line} if "@" in line else {"subject": line}
        return RedirectResponse(f"{HOME}/messages?{urlencode(filters)}", 303, headers=SECURITY)
    wanted = {name: visit.asked(name) or None for name in _FILTERS}
    problem = ""
    found: dict[str, Any] = {"data": [], "next_cursor": None}
    try:
        found = await visit.get(MESSAGES, limit=50, **{**wanted, "account_id": wanted["account_id"] or "all"})
    except Said as error:
        if error.status != 400:
            raise
        problem = error.message
    more = {name: value for name, value in wanted.items() if value and name != "cursor"}
    return await visit.page(
        "messages.html",
        found=found,
        wanted=wanted,
        filtered=bool(more),
        problem=problem,
        next=urlencode({**more, "cursor": found["next_cursor"]}) if found["next_cursor"] else None,
        statuses=[status.value for status in Status],
        accounts=await accounts(visit),
        ways=await ways(visit),
    )


async def one(visit: Visit) -> Response:
    identifier = visit.named("id")
    mail = await visit.get(f"{MESSAGES}/{identifier}")
    raw = await _raw(visit, identifier)
    read = await asyncio.to_thread(reading.read, raw) if raw else reading.Reading()
    view = visit.asked("view")
    if view not in _VIEWS:
        view = "html" if read.html is not None else "text" if read.text is not None else "headers"
    waits = [one for one in mail["recipients"] if one["state"] in {"queued", "sending", "held", "parked"}]
    return await visit.page(
        "message.html",
        mail=mail,
        read=read,
        redacted=raw is None,
        view=view,
        source=_shown_source(raw or b"") if view == "source" else "",
        waits=waits,
        ways=await _explained(visit, identifier) if waits else [],
        account=next((own["name"] for own in await accounts(visit) if own["id"] == mail["account_id"]), ""),
    )


def _shown_source(raw: bytes) -> str:
    text = raw[:_MAX_SOURCE].decode("utf-8", "replace").replace("\r\n", "\n")
    return text + ("\n… the rest is in the download" if len(raw) > _MAX_SOURCE else "")


async def _explained(visit: Visit, identifier: str) -> list[dict[str, Any]]:
    try:
        explained: list[dict[str, Any]] = (await visit.get("/v1/routes/explain", message=identifier))["data"]
    except Said:
        return []
    return explained


async def _raw(visit: Visit, identifier: str) -> bytes | None:
    """The mail itself; None once it has been redacted."""
    try:
        return (await visit.call("GET", f"{MESSAGES}/{identifier}/source")).body
    except Said as error:
        if error.status != 410:
            raise
        return None


async def frame(visit: Visit) -> Response:
    """The HTML of a mail, for the sandboxed frame of its page."""
    raw = await _raw(visit, visit.named("id"))
    read = await asyncio.to_thread(reading.read, raw or b"")
    return Response(read.html or "", media_type="text/html; charset=utf-8", headers=_FRAME)


async def download(visit: Visit) -> Response:
    identifier = visit.named("id")
    raw = await _raw(visit, identifier)
    if raw is None:
        raise Said(410, "redacted", "The content of this mail has been redacted.")
    return _attachment(f"{identifier}.eml", raw)


async def attachment(visit: Visit) -> Response:
    raw = await _raw(visit, visit.named("id"))
    number = visit.named("number")
    found = await asyncio.to_thread(reading.file, raw or b"", int(number)) if number.isdigit() else None
    if found is None:
        raise Said(404, "not_found", "There is no such attachment.")
    return _attachment(found[0], found[2])


def _attachment(name: str, content: bytes) -> Response:
    """Always a download of bytes: no type of a stranger's may be believed by a browser."""
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(
        content,
        media_type="application/octet-stream",
        headers={**_EMPTY, "Content-Disposition": disposition},
    )


async def act(visit: Visit) -> Response:
    """Cancel, send again, or one of the queue's tools, for this mail."""
    identifier, action = visit.named("id"), visit.named("action")
    page = f"{HOME}/messages/{identifier}"
    if action == "cancel":
        done = (await visit.call("POST", f"{MESSAGES}/{identifier}/cancel")).json()
        return await visit.done(f"Cancelled for {done['cancelled']} recipients.", page)
    if action == "resend":
        to = [one for one in visit.field("recipients").replace(",", " ").split() if one]
        body = {"recipients": to} if to else {}
        made = (await visit.call("POST", f"{MESSAGES}/{identifier}/resend", body=body)).json()
        return await visit.done(f"Sent again as {made['id']}.", f"{HOME}/messages/{made['id']}")
    if action in {"hold", "release", "retry"}:
        body = {"message_ids": [identifier]}
        done = (await visit.call("POST", f"/v1/queue/{action}", body=body)).json()
        return await visit.done(f"{action.capitalize()}: {done['changed']} recipients.", page)
    raise Said(404, "not_found", "There is no such action.")


async def captured(visit: Visit) -> Response:
    """Mail that went to a provider of the type `capture`, newest first, with one of them open."""
    names = [way["name"] for way in await ways(visit) if way["type"] == "capture"]
    name = visit.asked("provider") or (names[0] if names else "")
    found: dict[str, Any] = {"data": [], "next_cursor": None}
    if name:
        found = await visit.get(
            MESSAGES, provider=name, account_id="all", limit=40, cursor=visit.asked("cursor") or None
        )
    chosen = visit.asked("id") or (found["data"][0]["id"] if found["data"] else "")
    mail, read = None, reading.Reading()
    if chosen:
        mail = await visit.get(f"{MESSAGES}/{chosen}")
        read = await asyncio.to_thread(reading.read, await _raw(visit, chosen) or b"")
    return await visit.page(
        "captured.html",
        found=found,
        mail=mail,
        read=read,
        provider=name,
        names=names,
        opened=bool(visit.asked("id")),
    )


async def accounts(visit: Visit) -> list[dict[str, Any]]:
    """The accounts that lists to choose from have."""
    found: list[dict[str, Any]] = (await visit.get("/v1/accounts", limit=200))["data"]
    return found


async def ways(visit: Visit) -> list[dict[str, Any]]:
    """The providers; none where the configuration file cannot be used, which its own page says."""
    try:
        found: list[dict[str, Any]] = (await visit.get("/v1/providers"))["data"]
    except Said:
        return []
    return found


def add(desk: Desk, routes: APIRouter) -> None:
    one_mail = "/messages/{id}"
    desk.add(routes, "GET", "/messages", search)
    desk.add(routes, "GET", one_mail, one)
    desk.add(routes, "GET", f"{one_mail}/html", frame)
    desk.add(routes, "GET", f"{one_mail}/download", download)
    desk.add(routes, "GET", f"{one_mail}/attachments/{{number}}", attachment)
    desk.add(routes, "POST", f"{one_mail}/{{action}}", act)
    desk.add(routes, "GET", "/captured", captured)
