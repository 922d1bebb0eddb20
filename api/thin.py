"""Routes that the framework describes but does not run through its machinery."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


class ThinRoute(APIRoute):
    """Calls its endpoint with the bare request.

    The contract's messages are its own, and half the time of a send would go into dependencies and models; so the
    endpoints check what they are given themselves, and the declarations are there for OpenAPI alone.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint
