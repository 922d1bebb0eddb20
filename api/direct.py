"""The short way for the calls that make up nearly all traffic: from the border to the endpoint.

The framework's layers cost a third of a send. It still describes these calls, and answers everything else.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors

Endpoint = Callable[[Request], Awaitable[Response]]


class Direct:
    """Wraps the application. Endpoints are by method and path, or by method and the path of what they are one of."""

    def __init__(
        self,
        app: ASGIApp,
        exact: Mapping[tuple[str, str], Endpoint],
        one_of: Mapping[tuple[str, str], tuple[Endpoint, str]],
    ) -> None:
        """`one_of` names the path parameter as well."""
        self._app = app
        self._exact = exact
        self._one_of = one_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            answer: Response = await endpoint(Request(scope, receive))
        except Exception as error:
            answer = errors.answer_to(error)
        await answer(scope, receive, send)

    def _find(self, scope: Scope) -> Endpoint | None:
        method, path = scope["method"], scope["path"]
        endpoint = self._exact.get((method, path))
        if endpoint is not None:
            return endpoint
        parent, _, name = path.rpartition("/")
        found = self._one_of.get((method, parent))
        if found is None or not name or (method, path) in self._exact:
            return None
        scope["path_params"] = {found[1]: name}
        return found[0]
