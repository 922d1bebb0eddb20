"""Providers and their circuits, and the configuration they come from."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from api.console.caller import Said
from api.console.desk import HOME, Desk, Visit

_PAGE = f"{HOME}/providers"
_DONE = {"pause": "is paused: it gets no mail", "resume": "takes mail again", "drain": "gets no new mail"}


async def providers(visit: Visit) -> Response:
    fault, rows = None, []
    try:
        rows = (await visit.get("/v1/providers"))["data"]
    except Said as error:
        if error.status != 409:
            raise
        fault = error.message
    return await visit.page(
        "providers.html", providers=rows, fault=fault, configuration=await visit.get("/v1/configuration")
    )


async def act(visit: Visit) -> Response:
    name, action = visit.named("name"), visit.named("action")
    path = f"/v1/providers/{name}/{action}"
    if action in _DONE:
        await visit.call("POST", path)
        return await visit.done(f"{name} {_DONE[action]}.", _PAGE)
    if action == "check":
        found = (await visit.call("POST", path)).json()
        return await visit.tell(f"{name}: {found['message']}", _PAGE, tone="good" if found["ok"] else "bad")
    if action == "test":
        body = {"recipient": visit.field("recipient"), "sender": visit.field("sender")}
        sent: dict[str, Any] = (await visit.call("POST", path, body=body)).json()
        tone = "good" if sent["outcome"] == "accepted" else "bad"
        return await visit.tell(f"{name}: {sent['outcome']}. {sent['reply']}", _PAGE, tone=tone)
    raise Said(404, "not_found", "There is no such action.")


async def reload(visit: Visit) -> Response:
    done = (await visit.call("POST", "/v1/providers/reload")).json()
    return await visit.done(f"{done['workers']} workers read their configuration again.", _PAGE)


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/providers", providers)
    desk.add(routes, "POST", "/providers/reload", reload)
    desk.add(routes, "POST", "/providers/{name}/{action}", act)
