"""What customers, and operators for them, do with endpoints: both the API and the command line call these."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from relay.core import notice
from relay.core.clock import now
from relay.core.errors import Conflict, Misconfigured, Refused
from relay.core.ids import new_id
from relay.core.notice import KINDS, EndpointState
from relay.notices import secrets
from relay.notices.guard import Resolver, Rules, checked, look_up
from relay.notices.post import Post, Reply
from relay.notices.secrets import Safe
from relay.notices.sender import name_of, result_of, valid_secrets
from relay.sections import NoticeSettings
from relay.store import endpoints, notices, outbox, replay
from relay.store.database import Database
from relay.store.notices import Claimed

#: how long the secret before a rotation is signed with as well
OVERLAP = timedelta(hours=24)
#: the longest time that is told again at once
MAX_SPAN = timedelta(days=31)


class Endpoints:
    """The endpoints of accounts; where an account's id is None, of any account.

    Ids that are not there raise `NotFound`.
    """

    def __init__(
        self, database: Database, settings: NoticeSettings, safe: Callable[[], Awaitable[Safe]]
    ) -> None:
        self._database = database
        self._settings = settings
        self._rules = Rules.of(settings)
        self._safe = safe

    async def create(self, account_id: int, url: str, **wanted: Any) -> tuple[dict[str, Any], str]:
        """A new endpoint and its secret, which is not shown again.

        `wanted` may have `description`, `kinds`, `streams` and `tags`. Raises `Refused` and `Conflict`.
        """
        await self._check(url)
        identifier, written, moment = new_id(), secrets.new_secret(), now()
        row = {
            "id": identifier,
            "account_id": account_id,
            "url": url,
            "description": wanted.pop("description", ""),
            **_filters(wanted),
            "secret": (await self._safe()).seal(identifier, written),
            "previous_secret": None,
            "previous_until": None,
            "state": EndpointState.ENABLED,
            "reason": None,
            "state_at": moment,
            "failing_since": None,
            "failures": 0,
            "paused_until": None,
            "created_at": moment,
        }
        await self._database.write(endpoints.add, row, most=self._settings.max_endpoints)
        return row, written

    async def change(
        self, account_id: int | None, endpoint_id: int, wanted: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change what `wanted` has: `url`, `description`, `kinds`, `streams`, `tags`, `enabled`. Raises `Refused`."""
        changes = {name: wanted[name] for name in ("url", "description") if name in wanted}
        changes |= _filters({name: wanted[name] for name in _FILTERS if name in wanted})
        if "url" in changes:
            await self._check(changes["url"])
        if wanted.get("enabled") is True:
            changes |= endpoints.enabling(now())
        elif wanted.get("enabled") is False:
            changes |= endpoints.disabling("disabled by its owner", now())
        row = await self._database.write(endpoints.update, account_id, endpoint_id, changes)
        if wanted.get("enabled") is True:
            await self._database.write(notices.hurry, endpoint_id, now=now())
        return row

    async def remove(self, account_id: int | None, endpoint_id: int) -> None:
        """It is told nothing any more, and its notices go."""
        await self._database.write(endpoints.remove, account_id, endpoint_id, at=now())

    async def rotate(self, account_id: int | None, endpoint_id: int) -> tuple[dict[str, Any], str]:
        """A new secret; calls are signed with both for `OVERLAP`."""
        written = secrets.new_secret()
        sealed = (await self._safe()).seal(endpoint_id, written)
        row = await self._database.write(
            endpoints.rotate, account_id, endpoint_id, sealed, until=now() + OVERLAP
        )
        return row, written

    async def reseal(self) -> tuple[int, list[int]]:
        """Encrypt all endpoints' secrets with the key in force.

        Returns how many endpoints were changed, and the ids of those whose secrets are encrypted with a key that is
        not known.
        """
        safe, changed, lost = await self._safe(), 0, []
        for row in await self._database.read(endpoints.sealed):
            sealed = {name: row[name] for name in ("secret", "previous_secret") if row[name] is not None}
            if all(safe.is_current(row["id"], one) for one in sealed.values()):
                continue
            try:
                fresh = {
                    name: safe.seal(row["id"], safe.unseal(row["id"], one)) for name, one in sealed.items()
                }
            except Misconfigured:
                lost.append(row["id"])
                continue
            changed += await self._database.write(endpoints.reseal, row, fresh)
        return changed, lost

    async def ping(self, account_id: int | None, endpoint_id: int) -> Reply:
        """Call the endpoint once, now, with a notice of the type `endpoint.ping`; it is on the lists afterwards."""
        row = await self._database.read(endpoints.get, account_id, endpoint_id)
        safe, at = await self._safe(), now()
        body = outbox.encoded(notice.PING, at, {"endpoint_id": str(endpoint_id)})
        made = outbox.row_of(endpoint_id, notice.PING, body, at)
        signed = secrets.headers(valid_secrets(safe, row, at), name_of(made["id"]), int(at.timestamp()), body)
        post = Post(self._settings)
        try:
            reply = await post.send(row["url"], signed, body)
        finally:
            await post.aclose()
        claimed = Claimed(made["id"], endpoint_id, None, notice.PING, body, 0, 0, at)
        await self._database.write(notices.record, made, result_of(claimed, reply, at))
        return reply

    async def replay_one(self, account_id: int | None, endpoint_id: int, notice_id: int) -> int:
        """Tell one thing again; a pending one at once."""
        await self._enabled(account_id, endpoint_id)
        await self._database.write(replay.one, endpoint_id, notice_id, now=now())
        return 1

    async def replay_failed(self, account_id: int | None, endpoint_id: int) -> int:
        """Tell everything again that was given up; returns how much that is."""
        await self._enabled(account_id, endpoint_id)
        count, below, moment = 0, new_id(), now()
        while some := await self._database.write(replay.failed, endpoint_id, below=below, now=moment):
            count += some
        return count

    async def replay_between(
        self, account_id: int | None, endpoint_id: int, start: datetime, end: datetime
    ) -> int:
        """Tell everything of a time again, and what happened in it to mail while the endpoint was not told anything.

        Returns how much that is. Raises `Refused` for a time that is none, or too long.
        """
        if start >= end:
            raise Refused('"from" must be before "before"')
        if end - start > MAX_SPAN:
            raise Refused(f'"from" and "before" must not be more than {MAX_SPAN.days} days apart')
        row = await self._enabled(account_id, endpoint_id)
        # What is found missing is written after, or it would be found again as a notice of that time.
        count, moment, after = 0, now(), 0
        end = min(end, moment)
        while True:
            some, more = await self._database.write(
                replay.between, endpoint_id, start, end, after=after, now=moment
            )
            count += some
            if more is None:
                break
            after = more
        after = 0
        while True:
            events, more = await self._database.read(replay.untold, row, start, end, after=after)
            if events:
                count += await self._database.write(replay.tell, row, events, moment)
            if more is None:
                return count
            after = more

    async def _enabled(self, account_id: int | None, endpoint_id: int) -> dict[str, Any]:
        row = await self._database.read(endpoints.get, account_id, endpoint_id)
        if row["state"] != EndpointState.ENABLED:
            raise Conflict("The endpoint is disabled; enable it first.")
        return row

    async def _check(self, url: str) -> None:
        read = checked(url, self._rules)
        resolver = Resolver()
        try:
            await look_up(read, self._rules, resolver.resolve)
        finally:
            resolver.close()


_FILTERS = ("kinds", "streams", "tags")


def _filters(wanted: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(wanted.get("kinds") or ()) - set(KINDS))
    if unknown:
        raise Refused(f'"kinds" has the unknown {unknown[0]!r}; known: {", ".join(KINDS)}')
    return {name: sorted(set(wanted[name])) if wanted[name] else None for name in wanted}
