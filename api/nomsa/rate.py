"""The contract's rate limit on a send: counted before anything of the body is read, told in every answer."""

import time

from starlette.requests import Request

from api.limits import ANSWER_HEADERS
from relay.core.errors import RateLimited
from relay.core.identity import Identity
from relay.ratelimit import RateLimiter, Verdict


async def spend(limiter: RateLimiter, identity: Identity, request: Request) -> None:
    """Count this request and note what its answer, whatever it will be, says of the limit. Raises `RateLimited`."""
    verdict = await limiter.hit(identity)
    if verdict.limit:
        request.scope.get(ANSWER_HEADERS, []).extend(_headers(verdict))
    if not verdict.allowed:
        raise RateLimited(retry_after=verdict.retry_after)


def _headers(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    limit = b"%d" % verdict.limit
    remaining = b"%d" % verdict.remaining
    return [
        (b"x-ratelimit-limit", limit),
        (b"x-ratelimit-remaining", remaining),
        (b"x-ratelimit-reset", b"%d" % (int(time.time()) + verdict.reset_seconds)),
        (b"ratelimit-limit", limit),
        (b"ratelimit-remaining", remaining),
        (b"ratelimit-reset", b"%d" % verdict.reset_seconds),
    ]
