"""Statistics as charts and tables, and a month of them to take away."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from api.console import trends
from api.console.caller import Said
from api.console.desk import SECURITY, Desk, Visit
from api.console.pages.mail import accounts
from api.console.trends import Steps

_STATISTICS = "/v1/statistics"
#: values that have a colour of their own, and those that have a row
_COLOURS, _ROWS = 6, 50
#: how far back, by name: what it is counted in, how many of these, and in words
_SPANS = {
    "day": ("hour", 24, "last 24 hours, by hour"),
    "week": ("hour", 7 * 24, "last 7 days, by hour"),
    "month": ("day", 30, "last 30 days, by day"),
    "quarter": ("day", 91, "last 13 weeks, by day"),
    "year": ("month", 12, "last 12 months, by month"),
}
#: by what, and what that is called
_DIMENSIONS = {
    "account": "all together",
    "tag": "by tag",
    "stream": "by stream",
    "key": "by API key",
    "provider": "by provider",
    "domain": "by domain of the recipient",
}


async def statistics(visit: Visit) -> Response:
    shown = {
        "span": visit.asked("span") if visit.asked("span") in _SPANS else "day",
        "dimension": visit.asked("dimension") if visit.asked("dimension") in _DIMENSIONS else "account",
        "value": visit.asked("value"),
        "account_id": visit.asked("account_id"),
    }
    by, number, _ = _SPANS[shown["span"]]
    steps = Steps.until_now(by, number)
    first = steps.times[0].strftime("%Y-%m-%dT%H:%M:%SZ")
    query = {"from": first, "by": by, "account_id": shown["account_id"] or "all"}
    problem = ""
    counted: dict[str, Any] = {"data": [], "totals": None, "counted_until": None}
    rows: list[dict[str, Any]] = []
    try:
        only = {"dimension": shown["dimension"], "value": shown["value"]} if shown["value"] else {}
        counted = await visit.get(_STATISTICS, **query, **only)
        if shown["dimension"] != "account" and not only:
            rows = await _rows(visit, shown["dimension"], query)
    except Said as error:
        if error.status != 400:
            raise
        problem = error.message
    found = steps.spread(counted["data"])
    names = await _names(visit) if rows and shown["dimension"] == "key" else {}
    # Mail is accepted before anybody knows its provider.
    measure = "sent" if shown["dimension"] == "provider" else "accepted"
    split = None
    if rows:
        query["dimension"] = shown["dimension"]
        parts = (await visit.get(_STATISTICS, **query, top=_COLOURS))["data"]
        values = {
            names.get(value, value): steps.spread([part for part in parts if part["value"] == value])
            for value in (row["value"] for row in rows[:_COLOURS])
        }
        label = f"{measure.capitalize()} {_DIMENSIONS[shown['dimension']]}"
        split = trends.split(steps, measure, label, values, found)
    return await visit.page(
        "statistics.html",
        problem=problem,
        spans={name: words for name, (_, _, words) in _SPANS.items()},
        dimensions=_DIMENSIONS,
        shown=shown,
        link=urlencode({name: text for name, text in shown.items() if text and name != "value"}),
        totals=counted["totals"],
        outcomes=trends.outcomes(steps, found),
        losses=trends.losses(steps, found),
        responses=trends.responses(steps, found),
        split=split,
        measure=measure,
        rows=rows,
        all_rows=len(rows) < _ROWS,
        most=max((row[measure] for row in rows), default=0),
        colours=_COLOURS,
        names=names,
        points=[(steps.label(place), counts) for place, counts in enumerate(found)],
        counted_until=counted["counted_until"],
        months=[f"{month:%Y-%m}" for month in reversed(Steps.until_now("month", 13).times)],
        accounts=await accounts(visit),
    )


async def _rows(visit: Visit, dimension: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """What each value came to in all of the time, most first."""
    asked = {**query, "by": "total", "dimension": dimension, "top": _ROWS}
    rows: Sequence[dict[str, Any]] = (await visit.get(_STATISTICS, **asked))["data"]
    return sorted(rows, key=lambda row: (-row["accepted"], -row["sent"], row["value"]))


async def _names(visit: Visit) -> dict[str, str]:
    """What keys are called, as far as they are among the newest thousand."""
    keys = (await visit.get("/v1/api-keys", account_id="all", limit=1000))["data"]
    return {one["id"]: f"{one['label'] or '(no label)'} …{one['last_five']}" for one in keys}


async def report(visit: Visit) -> Response:
    """A month, as the API's own file."""
    asked = {name: visit.asked(name) or None for name in ("month", "dimension")}
    made = await visit.call(
        "GET", f"{_STATISTICS}/report", {**asked, "account_id": visit.asked("account_id") or "all"}
    )
    headers = {**SECURITY, "Content-Disposition": made.headers["content-disposition"]}
    return Response(made.body, media_type="text/csv; charset=utf-8", headers=headers)


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/statistics", statistics)
    desk.add(routes, "GET", "/statistics/report", report)
