"""Bearer keys: who is calling, and what for."""

from starlette.requests import Request

from api.trail import CALLER
from relay.core.errors import Unauthenticated
from relay.core.identity import Identity
from relay.policy import Authenticator, check_scope

_SCHEME = "Bearer "

#: where in a request's scope the console says who is signed in; a server never fills it from the network
SIGNED_IN = "pillarbox.signed_in"


class Gate:
    """Lets in who has a key with the scope a route needs. Called before anything of the body is read."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def admit(self, request: Request, scope: str) -> Identity:
        """Raises `Unauthenticated` without a working key, `NotAllowed` where it lacks `scope`.

        The console's own calls bring whoever is signed in, by a way that no client has.
        """
        signed_in = request.scope.get(SIGNED_IN)
        if isinstance(signed_in, Identity):
            check_scope(signed_in, scope)
            request.scope[CALLER] = signed_in
            return signed_in
        for name, value in request.scope["headers"]:
            if name == b"authorization":
                client = request.scope.get("client")
                identity = await self._authenticator.identify(_key(value), client[0] if client else None)
                check_scope(identity, scope)
                request.scope[CALLER] = identity
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
