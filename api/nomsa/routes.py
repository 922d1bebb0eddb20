"""The contract's three calls under `/v1/transactional/email`."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer

from api.nomsa import schema
from api.nomsa.read import Reader
from api.nomsa.send import Sender
from api.services import Services
from api.thin import ThinRoute

PREFIX = "/v1/transactional/email"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schema.Problem} for status in statuses}


def router(services: Services) -> APIRouter:
    # Thin routes run no dependencies; this one has the description ask for a key.
    routes = APIRouter(
        route_class=ThinRoute,
        tags=["Transactional email"],
        dependencies=[Depends(HTTPBearer(auto_error=False))],
    )
    sender = Sender(services)
    reader = Reader(services)
    routes.add_api_route(
        f"{PREFIX}/send",
        sender.__call__,
        methods=["POST"],
        name="send_email",
        summary="Send an email",
        status_code=201,
        response_model=schema.Email,
        responses=problems(400, 401, 403, 413, 500, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema.SendEmail.model_json_schema()}},
            }
        },
    )
    routes.add_api_route(
        PREFIX,
        reader.page,
        methods=["GET"],
        name="list_emails",
        summary="List emails",
        response_model=schema.EmailPage,
        responses=problems(400, 401, 403, 500, 503),
        openapi_extra={"parameters": schema.LIST_PARAMETERS},
    )
    routes.add_api_route(
        f"{PREFIX}/{{email_id}}",
        reader.one,
        methods=["GET"],
        name="get_email",
        summary="Get an email by its id",
        response_model=schema.Email,
        responses=problems(400, 401, 403, 404, 500, 503),
        openapi_extra={"parameters": [schema.ID_PARAMETER]},
    )
    return routes
