"""Access tokens (RFC 6749): fetched when first needed, kept until shortly before they end."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from providers import outcomes
from providers.http import Answer, Call, Http, NoAnswer, checked_url
from providers.options import Options
from relay.core.errors import Misconfigured
from relay.core.provider import Outcome

_EARLY = 120  # seconds before its end that a token is no longer used
_MICROSOFT = "https://login.microsoftonline.com"
_GOOGLE = "https://oauth2.googleapis.com/token"


class Tokens:
    """One grant at one token endpoint. `secrets` are to be kept out of sight by whoever has this."""

    def __init__(self, url: str, grant: Mapping[str, str]) -> None:
        self._url = url
        self._grant = dict(grant)
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(self._grant[key] for key in ("client_secret", "refresh_token") if key in self._grant)

    async def token(self, http: Http) -> str:
        """From now on `http` keeps it out of sight. Raises `NoAnswer`; no mail was sent by then."""
        async with self._lock:
            if time.monotonic() >= self._until:
                await self._fetch(http)
            return self._token

    def forget(self) -> None:
        """The API did not take the token; the next call fetches another."""
        self._until = 0.0

    async def _fetch(self, http: Http) -> None:
        form = urlencode(self._grant).encode()
        call = Call(self._url, form, {"content-type": "application/x-www-form-urlencoded"})
        try:
            answer = await http.call(call)
        except NoAnswer as failure:
            # No mail was in that request, so nothing is in doubt.
            raise NoAnswer(outcomes.retry(f"no access token: {failure.outcome.reply.text}")) from None
        said = answer.table
        token, lasts = said.get("access_token"), said.get("expires_in")
        if answer.status != 200 or not isinstance(token, str):
            raise NoAnswer(_refused(answer, said))
        self._token = token
        http.hide(token)
        self._until = time.monotonic() + max((lasts if isinstance(lasts, int) else 3600) - _EARLY, 0)


def _refused(answer: Answer, said: Mapping[str, Any]) -> Outcome:
    """https://datatracker.ietf.org/doc/html/rfc6749#section-5.2"""
    words = (
        f"no access token: {answer.status} {said.get('error') or ''} {said.get('error_description') or ''}"
    )
    if answer.status in {400, 401, 403}:
        return outcomes.config(words, "5.7.8")
    return outcomes.by_status(answer, words)


def microsoft(read: Options, scope: str) -> Tokens:
    """Client credentials, or a refresh token. Options `tenant`, `client_id`, `client_secret`, `refresh_token`.

    https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    """
    tenant = read.needed("tenant")
    if not tenant.replace("-", "").replace(".", "").isalnum():
        raise Misconfigured("tenant must be an id or a domain name")
    usual = f"{_MICROSOFT}/{tenant}/oauth2/v2.0/token"
    url = checked_url(read.text("token_url", usual) or usual, "token_url")
    grant = {"client_id": read.needed("client_id"), "scope": scope}
    secret = read.text("client_secret", secret=True)
    refresh = read.text("refresh_token", secret=True)
    if refresh:
        grant |= {"grant_type": "refresh_token", "refresh_token": refresh}
    else:
        grant["grant_type"] = "client_credentials"
    if secret:
        grant["client_secret"] = secret
    elif not refresh:
        raise Misconfigured("client_secret is needed")
    return Tokens(url, grant)


def google(read: Options) -> Tokens:
    """A refresh token. Options `client_id`, `client_secret`, `refresh_token`.

    https://developers.google.com/identity/protocols/oauth2/web-server#offline
    """
    url = checked_url(read.text("token_url", _GOOGLE) or _GOOGLE, "token_url")
    grant = {
        "grant_type": "refresh_token",
        "client_id": read.needed("client_id"),
        "client_secret": read.needed("client_secret"),
        "refresh_token": read.needed("refresh_token"),
    }
    return Tokens(url, grant)
