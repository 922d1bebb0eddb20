"""One HTTP client for every vendor's API: kept connections, limits on everything, and failures as outcomes.

What matters most after a failure is whether the request had left: only then may the mail have been sent. The
client says so itself, through httpcore's trace, because the exceptions do not tell.
"""

import asyncio
import base64
import contextlib
import functools
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import httpx2
import orjson

from providers import outcomes
from providers.options import Options
from relay import __version__
from relay.core.errors import Misconfigured
from relay.core.provider import Outcome

USER_AGENT = f"pillarbox/{__version__}"

_LARGE = 5_000_000  # octets; beyond, a vendor gets more time to answer
_LONGEST_ANSWER = 1_000_000
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What an operator may say about any vendor's API; times in seconds."""

    base_url: str
    timeout: float  #: for each wait within a request; doubled for mails of more than 5 MB
    connect_timeout: float
    max_connections: int
    ca_file: str | None
    proxy: str | None = field(repr=False)


def read_http(read: Options, base_url: str, *, connections: int = 20) -> HttpOptions:
    """Takes `base_url`, `timeout`, `connect_timeout`, `max_connections`, `ca_file` and `proxy`."""
    url = checked_url(read.text("base_url", base_url) or base_url, "base_url")
    return HttpOptions(
        base_url=url.rstrip("/"),
        timeout=read.seconds("timeout", 30),
        connect_timeout=read.seconds("connect_timeout", 5),
        max_connections=read.integer("max_connections", connections, least=1, most=1_000),
        ca_file=read.text("ca_file"),
        proxy=read.text("proxy"),
    )


def checked_url(url: str, option: str) -> str:
    """A URL that a secret may be sent to. Raises `Misconfigured` naming the option, never the URL's user-info."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise Misconfigured(f"{option} is not a URL") from None
    if parts.scheme not in {"http", "https"} or not host or parts.username or parts.password:
        raise Misconfigured(f"{option} must be an https URL without user name or password")
    if parts.scheme == "http" and not _is_here(host):
        raise Misconfigured(f"{option} must be https: anything else than this machine is across a network")
    return url


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    path: str  #: after the base URL, with any query; or a whole URL
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


def json_call(path: str, body: Any, headers: Mapping[str, str] | None = None) -> Call:
    return Call(path, orjson.dumps(body), {"content-type": "application/json", **(headers or {})})


def json_of(body: bytes) -> Any:
    """What is written there; None when it is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. Its words have every secret of ours blotted out."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes

    @property
    def data(self) -> Any:
        """The JSON of the body; None when it is none."""
        return json_of(self.body)

    @property
    def table(self) -> dict[str, Any]:
        """The JSON object of the body; empty when it is none."""
        data = self.data
        return data if isinstance(data, dict) else {}

    @property
    def text(self) -> str:
        return " ".join(self.body[:2_000].decode("utf-8", "replace").split())[:300]


class NoAnswer(Exception):
    """No complete answer came; `outcome` says what that means for the mail."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.reply))
        self.outcome = outcome


class Http:
    """A vendor's API for one provider. Connections open with the first call and close with `aclose`."""

    def __init__(
        self, options: HttpOptions, *, headers: Mapping[str, str] | None = None, secrets: Sequence[str] = ()
    ) -> None:
        self._options = options
        self._headers = {"user-agent": USER_AGENT, "accept": "application/json", **(headers or {})}
        spelt = {spelling for one in secrets if one for spelling in _spellings(one)}
        self._secrets = tuple(sorted(spelt, key=len, reverse=True))
        self._token = b""
        self._turns = asyncio.Semaphore(options.max_connections)
        self._client: httpx2.AsyncClient | None = None
        if options.ca_file is not None:
            _tls(options.ca_file)

    @property
    def base_url(self) -> str:
        return self._options.base_url

    def hide(self, token: str) -> None:
        """Blot this out as well: an access token that takes the place of the one before it."""
        self._token = token.encode()

    async def call(self, call: Call) -> Answer:
        """The answer, whatever its status. Raises `NoAnswer`."""
        # Waiting here is fair and cheap; httpx's own pool looks at every waiter for every connection.
        async with self._turns:
            return await self._call(call)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _call(self, call: Call) -> Answer:
        written = False

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            nonlocal written
            if event.endswith("send_request_body.complete"):
                written = True

        options = self._options
        wait = options.timeout * (2 if len(call.content) > _LARGE else 1)
        try:
            client = self._opened()
            request = client.build_request(
                call.method,
                call.path if "://" in call.path else options.base_url + call.path,
                content=_pieces(call.content),
                headers={**self._headers, "content-length": str(len(call.content)), **call.headers},
                timeout=httpx2.Timeout(wait, connect=options.connect_timeout, pool=None),
                extensions={"trace": trace},
            )
            response = await client.send(request, stream=True)
            try:
                body = await _read(response)
            finally:
                with contextlib.suppress(httpx2.HTTPError):
                    await response.aclose()
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError):
            raise NoAnswer(
                outcomes.config("the address or a credential cannot be put into a request")
            ) from None
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise NoAnswer(_meaning(error, written=written)) from None
        headers = {
            name.lower(): self._blot(value.encode()).decode() for name, value in response.headers.items()
        }
        return Answer(response.status_code, headers, self._blot(body))

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            options = self._options
            self._client = httpx2.AsyncClient(
                verify=_tls(options.ca_file),
                limits=httpx2.Limits(
                    max_connections=options.max_connections,
                    max_keepalive_connections=options.max_connections,
                    keepalive_expiry=15,
                ),
                proxy=options.proxy,
                trust_env=False,
                follow_redirects=False,
            )
        return self._client

    def _blot(self, data: bytes) -> bytes:
        for secret in (*self._secrets, self._token) if self._token else self._secrets:
            data = data.replace(secret, b"********")
        return data


def _spellings(secret: str) -> Iterator[bytes]:
    """How it may come back from a far end that quotes what it was sent: as it is, in a form, in a sign-in."""
    yield secret.encode()
    yield quote_plus(secret).encode()
    yield quote(secret, safe="").encode()
    yield base64.b64encode(secret.encode())


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """Piece by piece, because a line lost within one write goes unnoticed until the next."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


async def _read(response: httpx2.Response) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > _LONGEST_ANSWER:
            break
        pieces.append(piece)
    return b"".join(pieces)


@functools.lru_cache(maxsize=32)
def _tls(ca_file: str | None) -> ssl.SSLContext:
    """One for all clients: loading the system's certificates takes 17 ms."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Misconfigured(f"ca_file cannot be used: {error.strerror or type(error).__name__}") from None


def _meaning(error: Exception, *, written: bool) -> Outcome:
    if written:
        late = isinstance(error, httpx2.TimeoutException)
        how = "did not answer in time" if late else "was lost before the answer"
        return outcomes.ambiguous(f"the mail was handed over, but the connection {how}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return outcomes.config(f"the server's certificate is not accepted: {cause.verify_message}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.TimeoutException):
        return outcomes.retry("no connection within the time allowed")
    return outcomes.retry("no connection, or one lost before the mail had left")
