"""One call to a customer's endpoint: no redirects, a limit on everything, and whatever happens is a value."""

import asyncio
import contextlib
import email.utils
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpcore2

from relay import __version__
from relay.core.errors import Misconfigured, Refused
from relay.notices.guard import Forbidden, GuardedBackend, Resolve, Resolver, Rules, checked
from relay.sections import NoticeSettings

_HEADERS = {
    "content-type": "application/json",
    "user-agent": f"pillarbox/{__version__}",
    "accept": "*/*",
    # What is packed could be large once it is unpacked.
    "accept-encoding": "identity",
}
#: octets of an answer that are read, and those that are kept
_MAX_ANSWER = 64 * 1024
_KEPT = 1024
_KEEP_ALIVE = 15.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call."""

    ms: int
    status: int | None = None
    error: str | None = None  #: in words for the customer; None when it was taken
    answer: str | None = None
    #: seconds for which the endpoint wants to be left alone
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        return self.error is None


class Post:
    """Calls endpoints over kept connections. Make one per process; `aclose` ends it."""

    def __init__(self, settings: NoticeSettings, resolve: Resolve | None = None) -> None:
        """`resolve` is for those who know better than the system's name service what addresses a name has."""
        self._rules = Rules.of(settings)
        self._timeout = settings.timeout
        self._resolver = Resolver()
        self.resolve = resolve or self._resolver.resolve
        try:
            tls = ssl.create_default_context()
            if settings.ca_file is not None:
                tls.load_verify_locations(settings.ca_file)
        except OSError as error:
            raise Misconfigured(f"webhooks.ca_file cannot be used: {error.strerror}") from None
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=settings.max_concurrency,
            max_keepalive_connections=settings.max_concurrency,
            keepalive_expiry=_KEEP_ALIVE,
            network_backend=GuardedBackend(self._rules, self.resolve),
        )

    async def aclose(self) -> None:
        await self._pool.aclose()
        self._resolver.close()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POST a notice. Raises nothing for what the other side, the network or a forbidden address does."""
        started = time.monotonic()
        found = _Found()
        error: str | None = None
        try:
            async with asyncio.timeout(self._timeout):
                await self._call(url, headers, body, found)
        except TimeoutError:
            error = f"no answer within {self._timeout:g} s"
        except Refused as refused:
            error = refused.message.replace('"url"', "the URL")
        except Forbidden as forbidden:
            error = str(forbidden)
        except (
            httpcore2.TimeoutException,
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            OSError,
        ) as fault:
            error = _words(fault)
        ms = round((time.monotonic() - started) * 1000)
        if found.status is None:
            return Reply(ms, error=error)
        # An answer that began has said whether it was taken; how it goes on makes no difference.
        return Reply(ms, found.status, _meaning(found.status), _shown(found.answer), found.retry_after)

    async def _call(self, url: str, headers: Mapping[str, str], body: bytes, found: "_Found") -> None:
        read = checked(url, self._rules)
        target = httpcore2.URL(
            scheme=read.raw_scheme, host=read.raw_host, port=read.port, target=read.raw_path
        )
        fields = [*_HEADERS.items(), *headers.items()]
        call = self._pool.stream("POST", target, headers=fields, content=body)
        async with call as response:
            found.status = response.status
            found.retry_after = _retry_after(response.headers)
            async with contextlib.aclosing(response.aiter_stream()) as pieces:
                async for piece in pieces:
                    found.read += len(piece)
                    found.answer += piece[: _KEPT - len(found.answer)]
                    if found.read >= _MAX_ANSWER:
                        break


@dataclass(slots=True)
class _Found:
    status: int | None = None
    retry_after: float | None = None
    answer: bytes = b""
    read: int = 0


def _meaning(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed, so give the URL that they lead to"
    return f"answered {status}"


def _shown(answer: bytes) -> str:
    text = answer.decode("utf-8", "replace")
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def _retry_after(fields: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds from a Retry-After field: a number, or a date (RFC 9110 10.2.3)."""
    written = next((value for name, value in fields if name.lower() == b"retry-after"), b"")
    text = written.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _words(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore2.TimeoutException):
        return "no connection within the time allowed"
    if isinstance(error, httpcore2.ConnectError):
        words = str(error)
        return words if words.endswith("cannot be found") else "no connection"
    if isinstance(error, httpcore2.ProtocolError) and "disconnected" not in str(error):
        return "what came back is no HTTP answer"
    return "the connection was lost before an answer came"
