"""Where these calls are found, and how OpenAPI describes them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from api.manage.accounts import Accounts, ChangedAccount, NewAccount
from api.manage.asking import ADDRESS_PATTERN, Page
from api.manage.describe import inlined, query_parameters
from api.manage.keys import ChangedKey, Everyones, Keys, NewKey, Rotation
from api.manage.keys import Whose as WhoseKeys
from api.manage.providers import Asking as AskingRoutes
from api.manage.providers import Providers, TestMail
from api.manage.queue import Doing, Queue, Rerouting, Wanted
from api.manage.queue import Whose as WhoseQueue
from api.manage.senders import NewSender, Senders
from api.manage.senders import Whose as WhoseSenders
from api.manage.streams import NAME_PATTERN, ChangedStream, NewStream, Streams
from api.manage.streams import Whose as WhoseStreams
from api.manage.suppressions import NewSuppression, Suppressions, What, Where, Which
from api.nomsa.routes import problems
from api.services import Services
from api.thin import ThinRoute

_ID = {"type": "string", "pattern": "^[0-9]+$"}
#: what a name in a path looks like, where it is not an address
_IN_PATH = {
    "id": _ID,
    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$", "examples": ["capture"]},
    "stream": {"type": "string", "pattern": NAME_PATTERN},
}
_WORDS = str.maketrans({"/": "_", "{": None, "}": None})


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    _accounts(routes, Accounts(services))
    _senders(routes, Senders(services))
    _keys(routes, Keys(services))
    _streams(routes, Streams(services))
    _suppressions(routes, Suppressions(services))
    _providers(routes, Providers(services))
    _queue(routes, Queue(services))
    return routes


def add(
    routes: APIRouter,
    method: str,
    path: str,
    endpoint: Callable[..., Any],
    summary: str,
    *,
    tag: str,
    status: int = 200,
    asks: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    refuses: tuple[int, ...] = (),
    also: Mapping[str, Any] | None = None,
    parameters: Sequence[dict[str, Any]] = (),
    answers: Mapping[str, Any] | None = None,
    known: Mapping[str, dict[str, Any]] | None = None,
    leads_to: tuple[str, ...] = (),
    form: Mapping[str, Any] | None = None,
) -> None:
    """Describe and register one call. Path parameters are an `id`, a `name`, or else addresses.

    `answers` has what a success looks like where it is no JSON, `also` further kinds of bodies,
    `parameters` those that are neither in the path nor in a model of the query. `known` has the schemas of models
    within `asks` whose description depends on the settings. `form` is the body of a call that takes no JSON.
    `leads_to` are the calls, as `METHOD path`, about what a success answers.
    """
    described: dict[str, Any] = {}
    named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _IN_PATH.get(name) or {"type": "string", "pattern": ADDRESS_PATTERN},
        }
        for name in named
    ]
    described["parameters"] = [
        *in_path,
        *(query_parameters(query) if query is not None else ()),
        *parameters,
    ]
    if asks is not None:
        described["requestBody"] = {
            "required": asks is not Rotation,
            "content": {"application/json": {"schema": inlined(asks, known)}, **(also or {})},
        }
    if form is not None:
        described["requestBody"] = dict(form)
    refusals: tuple[int, ...] = (400, 401, 403, *refuses, 500, 503)
    if named:
        refusals = (*refusals, 404)
    if asks is not None:
        refusals = (*refusals, 413, 415)
    routes.add_api_route(
        # A local part may hold a slash (RFC 5322 3.2.3), which reaches us as one, however it was written.
        path.replace("{address}", "{address:path}"),
        endpoint,
        methods=[method],
        name=operation(method, path),
        operation_id=operation(method, path),
        summary=summary,
        tags=[tag],
        status_code=status,
        responses={
            **problems(*sorted(set(refusals))),
            status: {
                **({"content": dict(answers)} if answers else {}),
                **({"links": links(leads_to)} if leads_to else {}),
            },
        },
        response_class=Response if answers else JSONResponse,
        openapi_extra=described,
    )


def operation(method: str, path: str) -> str:
    """The `operationId` of a call."""
    words = path.removeprefix("/v1/").translate(_WORDS)
    return f"{method.lower()}_{words}"


def links(leads_to: Sequence[str]) -> dict[str, Any]:
    """OpenAPI's Link Objects: the field of the answer that a call's path names is its parameter."""
    found: dict[str, Any] = {}
    for call in leads_to:
        method, _, path = call.partition(" ")
        (parameter,) = (part[1:-1] for part in path.split("/") if part.startswith("{"))
        name = operation(method, path)
        found[name] = {"operationId": name, "parameters": {parameter: f"$response.body#/{parameter}"}}
    return found


def _accounts(routes: APIRouter, calls: Accounts) -> None:
    tag, base = "Accounts", "/v1/accounts"
    add(
        routes,
        "POST",
        base,
        calls.create,
        "Create an account",
        tag=tag,
        status=201,
        asks=NewAccount,
        leads_to=("GET /v1/accounts/{id}", "PATCH /v1/accounts/{id}"),
        refuses=(409,),
    )
    add(routes, "GET", base, calls.list, "List accounts", tag=tag, query=Page)
    add(routes, "GET", f"{base}/{{id}}", calls.get, "Get an account", tag=tag)
    add(
        routes,
        "PATCH",
        f"{base}/{{id}}",
        calls.change,
        "Change or disable an account",
        tag=tag,
        asks=ChangedAccount,
        refuses=(409,),
    )


def _senders(routes: APIRouter, calls: Senders) -> None:
    tag, base = "Senders", "/v1/senders"
    add(
        routes,
        "POST",
        base,
        calls.create,
        "Add an address or domain to send as",
        tag=tag,
        status=201,
        asks=NewSender,
        leads_to=("GET /v1/senders/{id}", "DELETE /v1/senders/{id}"),
        refuses=(404, 409),
    )
    add(routes, "GET", base, calls.list, "List senders", tag=tag, query=WhoseSenders)
    add(routes, "GET", f"{base}/{{id}}", calls.get, "Get a sender", tag=tag, query=WhoseSenders)
    add(
        routes,
        "DELETE",
        f"{base}/{{id}}",
        calls.remove,
        "Remove a sender",
        tag=tag,
        status=204,
        query=WhoseSenders,
    )


def _keys(routes: APIRouter, calls: Keys) -> None:
    tag, base = "API keys", "/v1/api-keys"
    one = f"{base}/{{id}}"
    add(
        routes,
        "POST",
        base,
        calls.create,
        "Create a key; the answer shows it once",
        tag=tag,
        status=201,
        asks=NewKey,
        leads_to=(
            "GET /v1/api-keys/{id}",
            "PATCH /v1/api-keys/{id}",
            "POST /v1/api-keys/{id}/rotate",
            "DELETE /v1/api-keys/{id}",
        ),
        refuses=(404,),
    )
    add(routes, "GET", base, calls.list, "List keys", tag=tag, query=Everyones)
    add(routes, "GET", one, calls.get, "Get a key", tag=tag, query=WhoseKeys)
    add(
        routes,
        "PATCH",
        one,
        calls.change,
        "Change what a key may do",
        tag=tag,
        asks=ChangedKey,
        query=WhoseKeys,
        refuses=(409,),
    )
    add(
        routes,
        "POST",
        f"{one}/rotate",
        calls.rotate,
        "Create a key's successor; the old one works on for a while",
        tag=tag,
        status=201,
        asks=Rotation,
        query=WhoseKeys,
        refuses=(409,),
    )
    add(routes, "DELETE", one, calls.revoke, "Revoke a key", tag=tag, status=204, query=WhoseKeys)


def _streams(routes: APIRouter, calls: Streams) -> None:
    tag, base = "Streams", "/v1/streams"
    one = f"{base}/{{stream}}"
    add(
        routes,
        "POST",
        base,
        calls.create,
        "Add a stream",
        tag=tag,
        status=201,
        asks=NewStream,
        refuses=(404, 409),
    )
    add(routes, "GET", base, calls.list, "List streams", tag=tag, query=WhoseStreams)
    add(routes, "GET", one, calls.get, "Get a stream", tag=tag, query=WhoseStreams)
    add(
        routes,
        "PATCH",
        one,
        calls.change,
        "Change a stream, a built-in one too",
        tag=tag,
        asks=ChangedStream,
        query=WhoseStreams,
    )
    add(
        routes,
        "DELETE",
        one,
        calls.remove,
        "Remove a stream; a built-in one gets its first settings back",
        tag=tag,
        status=204,
        query=WhoseStreams,
    )


def _suppressions(routes: APIRouter, calls: Suppressions) -> None:
    tag, base = "Suppressions", "/v1/suppressions"
    one = f"{base}/{{address}}"
    add(
        routes,
        "POST",
        base,
        calls.add,
        "Stop writing to an address",
        tag=tag,
        status=201,
        asks=NewSuppression,
        leads_to=(f"GET {one}", f"DELETE {one}"),
        refuses=(404,),
    )
    add(routes, "GET", base, calls.list, "List suppressed addresses", tag=tag, query=Which)
    add(routes, "GET", one, calls.ask, "Ask whether an address is suppressed", tag=tag, query=What)
    add(routes, "DELETE", one, calls.remove, "Write to an address again", tag=tag, status=204, query=Where)


def _providers(routes: APIRouter, calls: Providers) -> None:
    tag, base = "Providers", "/v1/providers"
    one = f"{base}/{{name}}"
    faulty = (409,)  # the configuration file
    add(routes, "GET", base, calls.list, "List providers and how they are doing", tag=tag, refuses=faulty)
    add(
        routes,
        "POST",
        f"{base}/reload",
        calls.reload,
        "Have the workers read their configuration again",
        tag=tag,
        status=202,
        refuses=faulty,
    )
    add(routes, "GET", one, calls.get, "Get a provider", tag=tag, refuses=faulty)
    for word, call, summary in (
        ("pause", calls.pause, "Give a provider no mail at all"),
        ("resume", calls.resume, "Give a provider mail again, and close its circuit"),
        ("drain", calls.drain, "Give a provider no new mail"),
        ("check", calls.check, "Log in to a provider without sending"),
    ):
        add(routes, "POST", f"{one}/{word}", call, summary, tag=tag, refuses=faulty)
    add(
        routes,
        "POST",
        f"{one}/test",
        calls.test,
        "Send one test mail by a provider, past queue and routes",
        tag=tag,
        asks=TestMail,
        refuses=faulty,
    )
    add(
        routes,
        "GET",
        "/v1/routes/explain",
        calls.explain,
        "Say which way a mail takes, and why",
        tag=tag,
        query=AskingRoutes,
        refuses=(404, *faulty),
    )


def _queue(routes: APIRouter, calls: Queue) -> None:
    tag, base = "Queue", "/v1/queue"
    add(routes, "GET", base, calls.list, "List mail that waits, and why it does", tag=tag, query=Wanted)
    add(routes, "GET", f"{base}/summary", calls.summary, "Count what waits", tag=tag, query=WhoseQueue)
    for word, call, asks, summary in (
        ("hold", calls.hold, Doing, "Stop queued mail until it is released"),
        ("release", calls.release, Doing, "Put held or parked mail back into the queue"),
        ("retry", calls.retry, Doing, "Try queued mail now"),
        ("reroute", calls.reroute, Rerouting, "Send waiting mail by a provider of your choice"),
        ("cancel", calls.cancel, Doing, "Take waiting mail out of the queue for good"),
        ("purge", calls.purge, Doing, "Cancel waiting mail and delete what it says"),
    ):
        refuses = (404,) if asks is Rerouting else ()
        add(routes, "POST", f"{base}/{word}", call, summary, tag=tag, asks=asks, refuses=refuses)
