"""The one place where a refusal or a fault becomes `{code, message}`, the body of every error we answer."""

import functools
import math
import re
import secrets
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from api.answers import Answer
from relay.core.errors import Malformed, RelayError, Unauthenticated
from relay.observe import facts, metrics

#: what only the web framework says no to, with what it means
FRAMEWORK = {
    405: ("method_not_allowed", "The `Allow` header of the answer names the methods."),
    415: ("unsupported_media_type", "The call takes another `Content-Type`; the message names it."),
}
_CODES = {
    400: "api_validation",
    401: "unauthenticated",
    403: "unauthorized",
    404: "not_found",
    413: "attachment_limit",
    429: "rate_limit",
    503: "service_unavailable",
    **{status: code for status, (code, _) in FRAMEWORK.items()},
}
_MESSAGES = {
    404: "The requested resource does not exist.",
    405: "This method is not allowed here.",
}


def problem(status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An error answer; nothing else may write one."""
    metrics.REFUSED.add("rest", str(status))
    return Answer({"code": code, "message": message}, status, headers)


def refusal(error: RelayError) -> Answer:
    """What the client is told of one of our own errors."""
    headers: list[tuple[bytes, bytes]] = []
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after))))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    return problem(error.http_status, error.code, error.message, tuple(headers))


def fault(error: Exception) -> Answer:
    """What the client is told of an error nobody expected: a reference, under which the log has the rest."""
    reference = secrets.token_hex(6)
    facts.fault("api", error, reference=reference)
    return problem(500, RelayError.code, f"Something went wrong on our side. Reference: {reference}")


def answer_to(error: Exception) -> Answer:
    """What the client is told of an error, whatever it is."""
    if isinstance(error, RelayError):
        return refusal(error)
    if isinstance(error, ClientDisconnect):
        # Nobody is there to read it; it is no fault of ours.
        return refusal(Malformed())
    if isinstance(error, HTTPException):
        return _of_framework(error)
    return fault(error)


def install(app: FastAPI) -> None:
    """Have every error of the framework's and of ours answered here."""
    app.add_exception_handler(RelayError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ClientDisconnect, _on_error)
    app.add_exception_handler(Exception, _on_error)


async def _on_error(_request: Request, error: Exception) -> Answer:
    return answer_to(error)


async def _on_http_exception(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        # The framework names the methods of the first route it tried; a path may have several.
        allowed = _methods(request.app, request.scope["path"])
        if allowed:
            error = HTTPException(405, headers={"Allow": ", ".join(allowed)})
    return _of_framework(error)


def _of_framework(error: HTTPException) -> Answer:
    status = error.status_code
    message = _MESSAGES.get(status) or str(error.detail) or HTTPStatus(status).phrase
    headers = tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (error.headers or {}).items()
    )
    return problem(
        status, _CODES.get(status, "internal_server" if status >= 500 else "malformed"), message, headers
    )


def _methods(app: FastAPI, path: str) -> list[str]:
    """What a path may be asked, as described."""
    paths = app.openapi()["paths"]
    found: set[str] = set()
    for template, methods in paths.items():
        if template == path or _pattern(template).fullmatch(path):
            found.update(method.upper() for method in methods)
            if template == path:
                return sorted(method.upper() for method in methods)
    return sorted(found)


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{[^}]*\}", template))))


async def _on_invalid(_request: Request, error: Exception) -> Answer:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return refusal(Malformed())
    # The first part of the place is where in the request ("query", "body"), which the contract never names.
    where = ".".join(str(part) for part in first["loc"][1:]) or "value"
    if first["type"] == "extra_forbidden":
        return problem(400, "api_validation", f'"{where}" is not allowed')
    if first["type"] == "missing":
        return problem(400, "api_validation", f'"{where}" is required')
    reason = first["msg"].removeprefix("Value error, ")
    return problem(400, "api_validation", f'"{where}" is invalid: {reason}')
