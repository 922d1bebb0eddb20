"""Where customers are told, what they were told, and how each try went."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from api.console.caller import Said
from api.console.desk import HOME, Desk, Visit
from api.console.pages import mail
from relay.core.notice import KINDS

_BASE = "/v1/webhook-endpoints"


async def endpoints(visit: Visit) -> Response:
    found = await visit.get(_BASE, account_id="all", limit=100, cursor=visit.asked("cursor") or None)
    accounts = await mail.accounts(visit)
    return await visit.page(
        "webhooks.html",
        found=found,
        accounts=accounts,
        names={one["id"]: one["name"] for one in accounts},
        kinds=KINDS,
    )


async def new_endpoint(visit: Visit) -> Response:
    body = {
        "url": visit.field("url"),
        "description": visit.field("description"),
        "kinds": [kind for kind in KINDS if visit.field(kind)],
        "account_id": visit.field("account_id"),
    }
    made = (await visit.call("POST", _BASE, body=body)).json()
    return await _show(visit, made["id"], made["account_id"], secret=made["secret"])


async def endpoint(visit: Visit) -> Response:
    return await _show(visit, visit.named("id"), visit.asked("account_id") or None)


async def _show(
    visit: Visit, identifier: str, account_id: str | None, *, secret: str | None = None
) -> Response:
    whose = {"account_id": account_id}
    one = f"{_BASE}/{identifier}"
    state = visit.asked("state") or None
    return await visit.page(
        "webhook.html",
        endpoint=await visit.get(one, **whose),
        notices=await visit.get(
            f"{one}/notices", limit=30, state=state, cursor=visit.asked("cursor") or None, **whose
        ),
        attempts=await visit.get(
            f"{one}/attempts", limit=30, notice_id=visit.asked("notice_id") or None, **whose
        ),
        state=state,
        secret=secret,
    )


async def act(visit: Visit) -> Response:
    identifier, action, account_id = visit.named("id"), visit.named("action"), visit.field("account_id")
    one, whose = f"{_BASE}/{identifier}", {"account_id": account_id}
    page = f"{HOME}/webhooks/{identifier}?account_id={account_id}"
    if action == "ping":
        said: dict[str, Any] = (await visit.call("POST", f"{one}/ping", whose)).json()
        words = f"status {said['status']}" if said["status"] else said["error"] or "no answer"
        tone = "good" if said["delivered"] else "bad"
        return await visit.tell(f"Ping: {words}, after {said['ms']} ms.", page, tone=tone)
    if action == "replay":
        notice = visit.field("notice_id")
        body = {"notice_id": notice} if notice else {"failed": True}
        count = (await visit.call("POST", f"{one}/replay", whose, body)).json()["notices"]
        return await visit.done(f"{count} notices are told again.", page)
    if action in {"enable", "disable"}:
        await visit.call("PATCH", one, whose, {"enabled": action == "enable"})
        return await visit.done(f"The endpoint is {action}d.", page)
    if action == "rotate-secret":
        made = (await visit.call("POST", f"{one}/rotate-secret", whose)).json()
        return await _show(visit, identifier, account_id, secret=made["secret"])
    if action == "delete":
        await visit.call("DELETE", one, whose)
        return await visit.done("The endpoint is deleted.", f"{HOME}/webhooks")
    raise Said(404, "not_found", "There is no such action.")


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/webhooks", endpoints)
    desk.add(routes, "POST", "/webhooks", new_endpoint)
    desk.add(routes, "GET", "/webhooks/{id}", endpoint)
    desk.add(routes, "POST", "/webhooks/{id}/{action}", act)
