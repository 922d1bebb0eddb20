"""The contract's three calls under `/v1/transactional/email`."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

from api.direct import Direct
from api.nomsa import schema
from api.nomsa.read import Reader
from api.nomsa.request import request_body
from api.nomsa.send import Sender
from api.services import Services
from api.thin import ThinRoute

PREFIX = "/v1/transactional/email"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    # A validator is made of every model that FastAPI is given, which is half of a door's start; one does for all.
    described: dict[int | str, dict[str, Any]] = {status: {"content": schema.PROBLEM} for status in statuses}
    described[statuses[0]] = {"model": schema.Problem}
    return described


def _with_headers(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {
        201: {"headers": schema.RATE_HEADERS, "links": schema.SENT_LINKS}
    }
    for status, response in responses.items():
        headers = {} if status in {401, 405} else schema.RATE_HEADERS
        waits = schema.RETRY_AFTER if status in {409, 429, 503} else {}
        described[status] = {**response, "headers": {**headers, **waits}}
    return described


class Calls:
    """The endpoints, for the router and for the short way to them."""

    def __init__(self, services: Services) -> None:
        self.settings = services.settings
        self.sender = Sender(services)
        self.reader = Reader(services)

    def direct(self, app: ASGIApp) -> Direct:
        return Direct(
            app,
            {("POST", f"{PREFIX}/send"): self.sender, ("GET", PREFIX): self.reader.page},
            {("GET", PREFIX): (self.reader.one, "email_id")},
        )


def router(calls: Calls) -> APIRouter:
    # Thin routes run no dependencies; this one has the description ask for a key.
    routes = APIRouter(
        route_class=ThinRoute,
        tags=["Transactional email"],
        dependencies=[Depends(HTTPBearer(auto_error=False))],
    )
    sender, reader = calls.sender, calls.reader
    routes.add_api_route(
        f"{PREFIX}/send",
        sender.__call__,
        methods=["POST"],
        name="send_email",
        operation_id="send_email",
        summary="Send an email",
        status_code=201,
        response_model=schema.Email,
        responses=_with_headers(problems(400, 401, 403, 405, 409, 413, 429, 500, 503)),
        openapi_extra={
            "parameters": [schema.IDEMPOTENCY_KEY],
            "requestBody": request_body(calls.settings.attachments),
        },
    )
    routes.add_api_route(
        PREFIX,
        reader.page,
        methods=["GET"],
        name="list_emails",
        operation_id="list_emails",
        summary="List emails",
        response_model=schema.EmailPage,
        responses=problems(400, 401, 403, 405, 500, 503),
        openapi_extra={"parameters": schema.LIST_PARAMETERS},
    )
    routes.add_api_route(
        f"{PREFIX}/{{email_id}}",
        reader.one,
        methods=["GET"],
        name="get_email",
        operation_id="get_email",
        summary="Get an email by its id",
        response_model=schema.Email,
        responses=problems(400, 401, 403, 404, 405, 410, 500, 503),
        openapi_extra={"parameters": [schema.ID_PARAMETER]},
    )
    return routes
