"""Bearer keys: who is calling, and what for."""

from starlette.requests import Request

from relay.core.errors import Unauthenticated
from relay.core.identity import Identity
from relay.policy import Authenticator, check_scope

_SCHEME = "Bearer "


class Gate:
    """Lets in who has a key with the scope a route needs. Called before anything of the body is read."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def admit(self, request: Request, scope: str) -> Identity:
        """Raises `Unauthenticated` without a working key, `NotAllowed` where it lacks `scope`."""
        for name, value in request.scope["headers"]:
            if name == b"authorization":
                client = request.scope.get("client")
                identity = await self._authenticator.identify(_key(value), client[0] if client else None)
                check_scope(identity, scope)
                return identity
        raise Unauthenticated


def _key(header: bytes) -> str:
    """The contract's rule: the word as it is written, one space, and a key of three parts."""
    text = header.decode("latin-1")
    key = text[len(_SCHEME) :]
    parts = key.split("_")
    if not text.startswith(_SCHEME) or len(parts) != 3 or not all(parts):
        raise Unauthenticated
    return key
