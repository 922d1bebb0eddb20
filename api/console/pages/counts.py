"""Statistics as charts and tables, and a month of them to take away."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from api.console import charts
from api.console.caller import Said
from api.console.charts import Chart, Point
from api.console.desk import SECURITY, Desk, Visit
from api.console.pages.mail import accounts
from api.console.words import count
from relay.core.clock import now
from relay.store.statistics import Dimension

_STATISTICS = "/v1/statistics"
#: values that have a colour of their own, and those that have a row
_COLOURS, _ROWS = 6, 50
#: how long a look back, by its name: the steps it is counted in, and how many
SPANS = {
    "day": ("hour", 24, "the last 24 hours, by hour"),
    "week": ("hour", 7 * 24, "the last 7 days, by hour"),
    "month": ("day", 30, "the last 30 days, by day"),
    "quarter": ("day", 91, "the last 13 weeks, by day"),
    "year": ("month", 12, "the last 12 months, by month"),
}
DIMENSIONS = {
    Dimension.ACCOUNT: "all together",
    Dimension.TAG: "by tag",
    Dimension.STREAM: "by stream",
    Dimension.KEY: "by API key",
    Dimension.PROVIDER: "by provider",
    Dimension.DOMAIN: "by domain of the recipient",
}
#: what is drawn, from the bottom up, and the counts that are in it
_LAYERS = {
    "sent": ("sent",),
    "deferred": ("deferred",),
    "bounced": ("bounced_hard", "bounced_soft", "bounced_block", "complained", "expired"),
}
_BOUNCED = ("bounced_hard", "bounced_soft", "bounced_block")
_RESPONSES = ("delivered", "opened", "clicked")

Counts = Mapping[str, Any]


async def statistics(visit: Visit) -> Response:
    span = visit.asked("span") if visit.asked("span") in SPANS else "day"
    dimension = Dimension(visit.asked("dimension")) if visit.asked("dimension") in set(Dimension) else None
    dimension = dimension or Dimension.ACCOUNT
    value, account_id = visit.asked("value"), visit.asked("account_id")
    by, steps, _ = SPANS[span]
    times = _times(by, steps)
    problem, series, rows = "", {}, []
    try:
        whose = {"account_id": account_id or "all", "from": _wire(times[0]), "by": by}
        one = {"dimension": dimension.value, "value": value} if value else {}
        series = await visit.get(_STATISTICS, **whose, **one)
        if dimension is not Dimension.ACCOUNT and not value:
            rows = await _rows(visit, dimension, whose)
    except Said as error:
        if error.status != 400:
            raise
        problem = error.message
    found = _by_time(series.get("data", ()), times)
    names = await _names(visit, rows) if dimension is Dimension.KEY else {}
    measure = "sent" if dimension is Dimension.PROVIDER else "accepted"
    shown = {"span": span, "dimension": dimension.value, "value": value, "account_id": account_id}
    split = None
    if rows:
        top = rows[:_COLOURS]
        split = await _split(visit, dimension, whose, times, found, measure, [row["value"] for row in top])
    return await visit.page(
        "statistics.html",
        problem=problem,
        spans={name: words for name, (_, _, words) in SPANS.items()},
        dimensions={one.value: words for one, words in DIMENSIONS.items()},
        shown=shown,
        link=urlencode({name: text for name, text in shown.items() if text and name != "value"}),
        totals=series.get("totals"),
        bounced=_BOUNCED,
        outcomes=_outcomes(found, times, by),
        share=_share(found, times, by),
        responses=_responses(found, times, by),
        split=split,
        measure=measure,
        rows=rows,
        most=max((row[measure] for row in rows), default=0),
        colours=_COLOURS,
        names=names,
        points=[(_label(at, by), counts) for at, counts in zip(times, found, strict=True)],
        counted_until=series.get("counted_until"),
        months=_months(),
        accounts=await accounts(visit),
    )


async def report(visit: Visit) -> Response:
    """A month as the API's own file."""
    asked = {name: visit.asked(name) or None for name in ("month", "dimension", "account_id")}
    asked["account_id"] = asked["account_id"] or "all"
    made = await visit.call("GET", f"{_STATISTICS}/report", asked)
    headers = {**SECURITY, "Content-Disposition": made.headers["content-disposition"]}
    return Response(made.body, media_type="text/csv; charset=utf-8", headers=headers)


async def _rows(visit: Visit, dimension: Dimension, whose: Mapping[str, str]) -> list[dict[str, Any]]:
    """What each value came to in all of the time, most first."""
    asked = {**whose, "by": "total", "dimension": dimension.value, "top": _ROWS}
    rows: list[dict[str, Any]] = (await visit.get(_STATISTICS, **asked))["data"]
    return sorted(rows, key=lambda row: (-row["accepted"], -row["sent"], row["value"]))


async def _split(
    visit: Visit,
    dimension: Dimension,
    whose: Mapping[str, str],
    times: Sequence[datetime],
    totals: Sequence[Counts],
    measure: str,
    values: Sequence[str],
) -> Chart:
    """One measure over time, its greatest values in colours and the others together."""
    asked = {**whose, "dimension": dimension.value, "top": _COLOURS}
    found = (await visit.get(_STATISTICS, **asked))["data"]
    by_value = {value: _by_time([row for row in found if row["value"] == value], times) for value in values}
    points = []
    for place, at in enumerate(times):
        stack = {f"v{number}": by_value[value][place][measure] for number, value in enumerate(values, 1)}
        stack["rest"] = max(totals[place][measure] - sum(stack.values()), 0)
        words = ", ".join(
            f"{value} {count(by_value[value][place][measure])}"
            for value in values
            if by_value[value][place][measure]
        )
        words += f"{', ' if words else ''}others {count(stack['rest'])}" if stack["rest"] else ""
        said = f"{_label(at, whose['by'])}  {words or 'nothing'}"
        points.append(Point(said, _tick(times, place, whose["by"]), stack))
    return charts.draw(
        points, f"{measure.capitalize()} {DIMENSIONS[dimension]}", nothing="Nothing in this time"
    )


async def _names(visit: Visit, rows: Sequence[Counts]) -> dict[str, str]:
    """What keys are called, as far as the newest thousand have them."""
    if not rows:
        return {}
    keys = (await visit.get("/v1/api-keys", account_id="all", limit=1000))["data"]
    return {one["id"]: one["label"] or f"…{one['last_five']}" for one in keys}


# Times.


def _times(by: str, steps: int) -> list[datetime]:
    """The beginnings of so many steps, the last of which is now's."""
    last = now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if by == "hour":
        return [last - timedelta(hours=steps - 1 - place) for place in range(steps)]
    last = last.replace(hour=0)
    if by == "day":
        return [last - timedelta(days=steps - 1 - place) for place in range(steps)]
    months = [last.year * 12 + last.month - steps + place for place in range(steps)]
    return [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]


def _months() -> list[str]:
    """Those that a report may be wanted of, newest first."""
    return [f"{month:%Y-%m}" for month in reversed(_times("month", 13))]


def _wire(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _label(at: datetime, by: str) -> str:
    return {"hour": f"{at:%d %b %H:%M}", "day": f"{at:%a %d %b}", "month": f"{at:%B %Y}"}[by]


def _tick(times: Sequence[datetime], place: int, by: str) -> str:
    """About eight of them have words: whole days where there are several."""
    at = times[place]
    if by == "hour" and len(times) > 48:
        return f"{at:%d %b}" if at.hour == 12 else ""
    every = -(-len(times) // 8)
    if by == "hour":
        return f"{at:%H:%M}" if at.hour % every == 0 else ""
    if by == "month":
        return f"{at:%b}"
    return f"{at:%d %b}" if (len(times) - 1 - place) % every == every // 2 else ""


def _by_time(rows: Sequence[Counts], times: Sequence[datetime]) -> list[Counts]:
    """The counts of each step; zeros where nothing was counted."""
    known = {datetime.fromisoformat(row["at"]): row for row in rows}
    return [known.get(at, _ZEROS) for at in times]


class _Zeros(dict[str, int]):
    def __missing__(self, _name: str) -> int:
        return 0


_ZEROS = _Zeros()


# Charts.


def _outcomes(found: Sequence[Counts], times: Sequence[datetime], by: str) -> Chart:
    points = []
    for place, counts in enumerate(found):
        stack = {layer: sum(counts[name] for name in names) for layer, names in _LAYERS.items()}
        words = "".join(f", {count(number)} {layer}" for layer, number in stack.items() if number)
        said = f"{_label(times[place], by)}  {count(counts['accepted'])} accepted{words}"
        lines = {"accepted": float(counts["accepted"])}
        points.append(Point(said, _tick(times, place, by), stack, lines))
    total = {
        layer: sum(counts[name] for counts in found for name in names) for layer, names in _LAYERS.items()
    }
    accepted = sum(counts["accepted"] for counts in found)
    said = "".join(f", {count(number)} {layer}" for layer, number in total.items())
    return charts.draw(points, f"{count(accepted)} accepted{said}", nothing="Nothing in this time")


def _share(found: Sequence[Counts], times: Sequence[datetime], by: str) -> Chart:
    """Of a hundred recipients that a provider took, how many bounced, and how many called it spam."""
    points = []
    for place, counts in enumerate(found):
        sent = counts["sent"]
        bounced = 100 * sum(counts[name] for name in _BOUNCED) / sent if sent else None
        complained = 100 * counts["complained"] / sent if sent else None
        words = (
            f"{bounced:.1f} % bounced, {complained:.2f} % complained"
            if bounced is not None and complained is not None
            else "nothing sent"
        )
        said = f"{_label(times[place], by)}  {words}"
        lines = {"bounce": bounced, "complaint": complained}
        points.append(Point(said, _tick(times, place, by), lines=lines))
    return charts.draw(
        points,
        "Bounced and complained in percent of what was sent",
        nothing="Nothing bounced in this time",
        say=lambda value: f"{value:.0f} %",
    )


def _responses(found: Sequence[Counts], times: Sequence[datetime], by: str) -> Chart | None:
    """What is known only of mail that reports come for; None where none came."""
    if not any(counts[name] for counts in found for name in _RESPONSES):
        return None
    points = [
        Point(
            f"{_label(times[place], by)}  "
            + ", ".join(f"{count(counts[name])} {name}" for name in _RESPONSES),
            _tick(times, place, by),
            lines={name: float(counts[name]) for name in _RESPONSES},
        )
        for place, counts in enumerate(found)
    ]
    total = ", ".join(f"{count(sum(counts[name] for counts in found))} {name}" for name in _RESPONSES)
    return charts.draw(points, total, nothing="Nothing in this time")


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/statistics", statistics)
    desk.add(routes, "GET", "/statistics/report", report)
