"""Accounts with their keys and senders, and the addresses that are not written to."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from api.console.caller import Said
from api.console.desk import HOME, Desk, Visit
from api.console.pages import mail
from relay.store.suppressions import Reason

_SCOPES = ("send", "read", "manage", "admin")


async def accounts(visit: Visit) -> Response:
    found = await visit.get("/v1/accounts", limit=100, cursor=visit.asked("cursor") or None)
    return await visit.page("accounts.html", found=found)


async def new_account(visit: Visit) -> Response:
    body = {
        "name": visit.field("name"),
        "email": visit.field("email") or None,
        "senders": visit.field("senders").replace(",", " ").split(),
    }
    made = (await visit.call("POST", "/v1/accounts", body=body)).json()
    return await visit.done(f"The account {made['name']} is there.", f"{HOME}/accounts/{made['id']}")


async def account(visit: Visit) -> Response:
    return await visit.page("account.html", **await _account(visit), secret=None)


async def _account(visit: Visit) -> dict[str, Any]:
    identifier = visit.named("id")
    return {
        "account": await visit.get(f"/v1/accounts/{identifier}"),
        "keys": await visit.get("/v1/api-keys", account_id=identifier, limit=200),
        "senders": await visit.get("/v1/senders", account_id=identifier, limit=200),
        "scopes": _SCOPES,
    }


async def change_account(visit: Visit) -> Response:
    """Everything on an account's page. A new key is shown at once and never again, so that answer is no redirect."""
    identifier, action = visit.named("id"), visit.named("action")
    page, whose, what = f"{HOME}/accounts/{identifier}", {"account_id": identifier}, visit.field("id")
    if action in {"disable", "enable"}:
        await visit.call("PATCH", f"/v1/accounts/{identifier}", body={"disabled": action == "disable"})
        return await visit.done(f"The account is {action}d.", page)
    if action == "new-key":
        body = {
            "label": visit.field("label"),
            "scopes": [scope for scope in _SCOPES if visit.field(scope)] or ["send", "read"],
            "networks": visit.field("networks").replace(",", " ").split(),
            **whose,
        }
        made = (await visit.call("POST", "/v1/api-keys", body=body)).json()
        return await visit.page("account.html", **await _account(visit), secret=made)
    if action == "rotate":
        made = (await visit.call("POST", f"/v1/api-keys/{what}/rotate", whose)).json()
        return await visit.page("account.html", **await _account(visit), secret=made)
    if action == "revoke":
        await visit.call("DELETE", f"/v1/api-keys/{what}", whose)
        return await visit.done("The key is revoked.", page)
    if action == "new-sender":
        body = {"pattern": visit.field("pattern"), **whose}
        added = (await visit.call("POST", "/v1/senders", body=body)).json()
        return await visit.done(f"The account may send as {added['pattern']}.", page)
    if action == "remove-sender":
        await visit.call("DELETE", f"/v1/senders/{what}", whose)
        return await visit.done("The sender is removed.", page)
    raise Said(404, "not_found", "There is no such action.")


async def suppressions(visit: Visit) -> Response:
    account_id = visit.asked("account_id")
    known = await mail.accounts(visit)
    if not account_id:
        account_id = str(visit.identity.account_id)
    everywhere = account_id == "everywhere"
    whose = {"everywhere": "true"} if everywhere else {"account_id": account_id}
    address = visit.asked("address")
    if address:
        entries: list[dict[str, Any]] = []
        try:
            asked = {} if everywhere else whose
            entries = [(await visit.call("GET", f"/v1/suppressions/{address}", asked)).json()]
        except Said as error:
            if error.status != 404:
                raise
        found: dict[str, Any] = {"data": entries, "next_cursor": None}
    else:
        found = await visit.get(
            "/v1/suppressions",
            limit=100,
            reason=visit.asked("reason") or None,
            cursor=visit.asked("cursor") or None,
            **whose,
        )
    more = {"account_id": account_id, "reason": visit.asked("reason"), "cursor": found["next_cursor"]}
    return await visit.page(
        "suppressions.html",
        found=found,
        next=urlencode({name: value for name, value in more.items() if value}) if more["cursor"] else None,
        account_id=account_id,
        accounts=known,
        address=address,
        reasons=[reason.value for reason in Reason],
    )


async def suppress(visit: Visit) -> Response:
    whose = visit.field("account_id")
    page = f"{HOME}/suppressions?account_id={whose}"
    everywhere = whose == "everywhere"
    if visit.field("remove"):
        query = {"stream": visit.field("stream") or None}
        query |= {"everywhere": "true"} if everywhere else {"account_id": whose}
        await visit.call("DELETE", f"/v1/suppressions/{visit.field('remove')}", query)
        return await visit.done(f"{visit.field('remove')} may be written to again.", page)
    body = {
        "address": visit.field("address"),
        "reason": visit.field("reason") or "manual",
        "note": visit.field("note") or None,
        **({"everywhere": True} if everywhere else {"account_id": whose}),
    }
    made = (await visit.call("POST", "/v1/suppressions", body=body)).json()
    return await visit.done(f"{made['address']} is not written to any more.", page)


def add(desk: Desk, routes: APIRouter) -> None:
    desk.add(routes, "GET", "/accounts", accounts)
    desk.add(routes, "POST", "/accounts", new_account)
    desk.add(routes, "GET", "/accounts/{id}", account)
    desk.add(routes, "POST", "/accounts/{id}/{action}", change_account)
    desk.add(routes, "GET", "/suppressions", suppressions)
    desk.add(routes, "POST", "/suppressions", suppress)
