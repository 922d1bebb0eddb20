"""Mail that waits: why it does, and what is to become of it."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from api.console.desk import HOME, Desk, Trouble, Visit
from api.console.pages.mail import accounts, ways

_FILTERS = (
    "state", "lane", "account_id", "provider", "recipient_domain", "sender_domain", "tag", "stream",
)  # fmt: skip
ACTIONS = ("release", "retry", "hold", "reroute", "cancel", "purge")
_BOX = "r:"


async def queue(visit: Visit) -> Response:
    wanted = {name: visit.asked(name) or None for name in _FILTERS}
    found = await visit.get("/v1/queue", limit=50, cursor=visit.asked("cursor") or None, **wanted)
    given = {name: value for name, value in wanted.items() if value}
    return await visit.page(
        "queue.html",
        summary=await visit.get("/v1/queue/summary"),
        found=found,
        wanted=wanted,
        filtered=bool(given),
        next=urlencode({**given, "cursor": found["next_cursor"]}) if found["next_cursor"] else None,
        actions=ACTIONS,
        accounts=await accounts(visit),
        ways=await ways(visit),
    )


async def act(visit: Visit) -> Response:
    """On the recipients that are ticked, or on all that the filter is about: these are counted and shown first."""
    action = visit.field("action")
    if action not in ACTIONS:
        raise Trouble("Choose what to do.")
    given = {name: visit.field(name) for name in _FILTERS if visit.field(name)}
    ticked = [name.removeprefix(_BOX) for name in visit.form if name.startswith(_BOX)]
    everything = visit.field("scope") == "all"
    body: dict[str, Any] = {"note": visit.field("note") or None}
    if everything:
        if not given:
            raise Trouble(
                "Set at least one filter to act on all that match; everything must not be hit by a slip."
            )
        body["filter"] = given
    elif ticked:
        body["recipient_ids"] = ticked
    else:
        raise Trouble("Tick what it is about, or choose all that match.")
    if action == "reroute":
        body["provider"] = visit.field("to_provider") or None
    if everything and visit.field("sure") != "yes":
        counted = (await visit.call("POST", f"/v1/queue/{action}", body={**body, "dry_run": True})).json()
        return await visit.page(
            "queue_sure.html", action=action, given=given, counted=counted, form=visit.form
        )
    done = (await visit.call("POST", f"/v1/queue/{action}", body=body)).json()
    rest = "" if done["complete"] else " There is more: repeat it to go on."
    return await visit.done(
        f"{action.capitalize()}: {done['changed']} recipients changed, {done['unchanged']} left as they were.{rest}",
        f"{HOME}/queue?{urlencode(given)}" if given else f"{HOME}/queue",
    )


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/queue", queue)
    desk.add(routes, "POST", "/queue", act)
