"""Where the keys come from: the configuration, or botocore's chain (environment, profile, role of the machine)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from providers import outcomes
from providers.http import NoAnswer
from providers.ses.signing import Keys
from relay.core.errors import Misconfigured

Credentials = Callable[[], Awaitable[Keys]]


def credentials(access_key: str | None, secret_key: str | None, session_token: str | None) -> Credentials:
    """Raises `Misconfigured` for half a pair of keys, or when botocore is needed and not there."""
    if (access_key is None) != (secret_key is None):
        raise Misconfigured("access_key and secret_key are needed together")
    if access_key is not None and secret_key is not None:
        keys = Keys(access_key, secret_key, session_token)

        async def given() -> Keys:
            return keys

        return given
    return _Chain()


class _Chain:
    """botocore's. It renews what expires, and asks the machine over HTTP for that, so it runs in a thread."""

    def __init__(self) -> None:
        try:
            import botocore.session
        except ModuleNotFoundError:
            raise Misconfigured(
                "access_key and secret_key are needed, or botocore to find them: pip install pillarbox[aws]"
            ) from None
        module: Any = botocore.session
        self._session = module.Session()
        self._found: Any = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> Keys:
        async with self._lock:
            try:
                frozen = await asyncio.to_thread(self._look)
            except Exception as error:
                raise NoAnswer(outcomes.config(f"AWS credentials: {type(error).__name__}")) from None
        if frozen is None:
            raise NoAnswer(outcomes.config("no AWS credentials were found on this machine"))
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    def _look(self) -> Any:
        if self._found is None:
            self._found = self._session.get_credentials()
        return None if self._found is None else self._found.get_frozen_credentials()
