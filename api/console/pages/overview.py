"""How everything is doing, live; and who changed what."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from api.console import charts
from api.console.caller import Said
from api.console.desk import Desk, Visit


async def overview(visit: Visit) -> Response:
    return await visit.page("overview.html", **await _look(visit))


async def live(visit: Visit) -> Response:
    """What of the overview is asked for again and again."""
    return visit.part("_live.html", **await _look(visit))


async def _look(visit: Visit) -> dict[str, Any]:
    seen = await visit.get("/v1/overview")
    try:
        providers = (await visit.get("/v1/providers"))["data"]
        fault = None
    except Said as error:
        # A configuration file with a fault must not hide how the mail is doing.
        providers, fault = [], error.message
    minutes = seen["minutes"]
    return {
        "seen": seen,
        "providers": providers,
        "fault": fault,
        "mails": charts.mails(minutes),
        "latency": charts.latency(minutes),
        "layers": charts.LAYERS,
        "last": _last(minutes),
    }


def _last(minutes: list[dict[str, Any]]) -> dict[str, Any]:
    """The hour in figures."""
    events: dict[str, int] = {}
    for one in minutes:
        for kind, number in (one["events"] or {}).items():
            events[kind] = events.get(kind, 0) + number
    medians = [one["median_seconds"] for one in minutes[-5:] if one["median_seconds"] is not None]
    return {
        "accepted": sum(one["accepted"] or 0 for one in minutes),
        "events": events,
        "median": max(medians) if medians else None,
    }


async def audit(visit: Visit) -> Response:
    wanted = {name: visit.asked(name) or None for name in ("action", "subject", "key_id", "door", "cursor")}
    found = await visit.get("/v1/audit", limit=100, **wanted)
    more = {name: value for name, value in {**wanted, "cursor": found["next_cursor"]}.items() if value}
    return await visit.page("audit.html", found=found, next=urlencode(more) if found["next_cursor"] else None)


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "", overview)
    desk.add(routes, "GET", "/live", live)
    desk.add(routes, "GET", "/audit", audit)
