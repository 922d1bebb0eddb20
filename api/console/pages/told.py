"""What was told of mail and could not be recorded: look at it, have it read again, discard it."""

from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from api.console.caller import Said
from api.console.desk import HOME, Desk, Visit
from relay.core.inbox import InboxState

_BASE = "/v1/ingest"
_PAGE = f"{HOME}/reports"


async def reports(visit: Visit) -> Response:
    wanted = {name: visit.asked(name) or None for name in ("state", "source")}
    found = await visit.get(_BASE, limit=50, cursor=visit.asked("cursor") or None, **wanted)
    given = {name: value for name, value in wanted.items() if value}
    return await visit.page(
        "reports.html",
        found=found,
        wanted=wanted,
        filtered=bool(given),
        states=[state.value for state in InboxState],
        aside=not wanted["state"] or wanted["state"] in {InboxState.FAILED, InboxState.ORPHAN},
        next=urlencode({**given, "cursor": found["next_cursor"]}) if found["next_cursor"] else None,
    )


async def report(visit: Visit) -> Response:
    one = await visit.get(f"{_BASE}/{visit.named('id')}")
    return await visit.page("report.html", one=one, payload=_legible(one["payload"]))


def _legible(payload: str) -> str:
    """JSON with an entry on each line; anything else as it is."""
    try:
        return orjson.dumps(orjson.loads(payload), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return payload


async def act(visit: Visit) -> Response:
    identifier, action = visit.named("id"), visit.named("action")
    if action == "replay":
        await visit.call("POST", f"{_BASE}/{identifier}/replay")
        return await visit.done("It is read again; a worker begins within seconds.", _PAGE)
    if action == "discard":
        await visit.call("DELETE", f"{_BASE}/{identifier}")
        return await visit.done("It is discarded.", _PAGE)
    raise Said(404, "not_found", "There is no such action.")


async def replay(visit: Visit) -> Response:
    """All that is set aside, or that of one source."""
    body: dict[str, Any] = {"source": visit.field("source") or None}
    rows = (await visit.call("POST", f"{_BASE}/replay", body=body)).json()["rows"]
    what = "1 report is" if rows == 1 else f"{rows} reports are"
    return await visit.done(f"{what} read again; a worker begins within seconds.", _PAGE)


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/reports", reports)
    desk.add(routes, "POST", "/reports/replay", replay)
    desk.add(routes, "GET", "/reports/{id}", report)
    desk.add(routes, "POST", "/reports/{id}/{action}", act)
