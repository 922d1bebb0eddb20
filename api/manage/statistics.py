"""/v1/statistics: how much of what happened, by hour, day or month."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import whose
from api.manage.asking import Moment, query
from api.manage.routes import add
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import now, wire_time
from relay.core.errors import Refused
from relay.store import statistics
from relay.store.statistics import Dimension, Query

MAX_ROWS = 10_000
_DEFAULT = timedelta(days=30)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)

Whose = Annotated[
    str | None,
    Field(
        pattern=r"^([0-9]{1,19}|all)$",
        description="Another account's, or `all` together; needs an admin key.",
    ),
]
Month = Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Such as 2026-05, in UTC.")]


class Wanted(BaseModel):
    """Hours are of UTC, and days and months too; the hours in which `from` and `before` lie count whole."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    dimension: Dimension = Dimension.ACCOUNT
    value: Annotated[
        str | None,
        Field(max_length=255, description="Only this tag, stream, provider, domain or id of a key."),
    ] = None
    by: Literal["hour", "day", "month", "total"] = "day"
    from_: Annotated[Moment | None, Field(alias="from", description="Left out: 30 days ago.")] = None
    before: Annotated[Moment | None, Field(description="Left out: now.")] = None
    top: Annotated[
        int | None,
        Field(
            ge=1, le=1000, description="Only so many values: those with the most accepted in all of the time."
        ),
    ] = None
    account_id: Whose = None


class Report(BaseModel):
    model_config = ConfigDict(extra="forbid")

    month: Annotated[Month | None, Field(description="Left out: the last whole month.")] = None
    dimension: Dimension = Dimension.ACCOUNT
    account_id: Whose = None


class Statistics:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def read(self, request: Request) -> Answer:
        """Each of the rows is a time and a value; `counted_until` says up to when all has been heard of for good."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Wanted)
        before = max(asked.before or now(), _FIRST)
        first = asked.from_ or before - _DEFAULT
        wanted = Query(
            asked.dimension,
            statistics.hour_of(first),
            before,
            whose.accounts(identity, asked.account_id),
            asked.value,
            asked.by,
            asked.top,
        )
        rows = await self._database.read(statistics.read, wanted, limit=MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            raise Refused(f"These are more than {MAX_ROWS} rows: ask for a shorter time, or for one value")
        until = await self._database.read(statistics.counted_until)
        return Answer(
            {
                "dimension": asked.dimension,
                "by": asked.by,
                "from": wire_time(wanted.first),
                "before": wire_time(before),
                "timezone": "UTC",
                "counted_until": wire_time(until),
                "totals": statistics.totals(rows),
                "data": [{**row, "at": wire_time(row["at"])} for row in rows],
            }
        )

    async def report(self, request: Request) -> Response:
        """One line for each value, most accepted first."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Report)
        first, before = span(asked.month)
        wanted = Query(asked.dimension, first, before, whose.accounts(identity, asked.account_id), by="total")
        rows = await self._database.read(statistics.read, wanted, limit=1_000_000)
        name = f"{asked.dimension}-{first:%Y-%m}.csv"
        headers = {
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
        }
        return Response(
            statistics.as_csv(asked.dimension, first, rows), media_type="text/csv", headers=headers
        )


def span(month: str | None) -> tuple[datetime, datetime]:
    """The first moments of a month, or the last whole one, and of the next."""
    if month is None:
        first = (now().replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)).replace(
            day=1
        )
    else:
        first = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
    return first, (first + timedelta(days=32)).replace(day=1)


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag = Statistics(services), "Statistics"
    add(routes, "GET", "/v1/statistics", calls.read, "Count what happened", tag=tag, query=Wanted)
    add(
        routes,
        "GET",
        "/v1/statistics/report",
        calls.report,
        "One month as CSV",
        tag=tag,
        query=Report,
        answers={"text/csv": {"schema": {"type": "string"}}},
    )
    return routes
