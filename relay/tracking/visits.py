"""What is recorded of opens, clicks and people who leave. Nothing of it may keep a page from being shown."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from relay.core.clock import now
from relay.core.errors import NoSuchStream, Unavailable
from relay.core.event import EventKind
from relay.core.provider import Report
from relay.core.stream import Leaving, Stream
from relay.observe import facts
from relay.policy import Streams
from relay.sections import TrackingSettings
from relay.store import suppressions
from relay.store.database import Database
from relay.store.suppressions import NewSuppression, Reason
from relay.tracking.inbox import Inbox
from relay.tracking.machines import visitor
from relay.tracking.tokens import Leaver, Mail, TokenSource

#: seconds within which the same visit by the same program is told once
_AGAIN = 10.0
_REMEMBERED = 10_000
_MAX_AGENT = 300
SOURCE = "tracking"


class Visits:
    """One per door process."""

    def __init__(
        self,
        settings: TrackingSettings,
        database: Database,
        streams: Streams,
        inbox: Inbox,
        tokens: TokenSource,
    ) -> None:
        self._settings = settings
        self._database = database
        self._streams = streams
        self._inbox = inbox
        self._tokens = tokens
        self._recent: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def opened(self, token: str, method: str, headers: Mapping[str, str], peer: str | None) -> None:
        """Note that a pixel was fetched; what is no token of ours is passed over."""
        try:
            mail = (await self._tokens.get()).opened(token)
        except Unavailable as error:
            facts.fault("opens", error)
            return
        if mail is not None:
            await self._tell(EventKind.OPENED, mail, token, method, headers, peer)

    async def clicked(
        self, token: str, method: str, headers: Mapping[str, str], peer: str | None
    ) -> str | None:
        """Where the link leads, once the click is noted; None for a link that we have not made.

        Raises `Unavailable` when that cannot be told.
        """
        found = (await self._tokens.get()).clicked(token)
        if found is None:
            return None
        mail, target = found
        await self._tell(EventKind.CLICKED, mail, token, method, headers, peer, url=target)
        return target

    async def leaver(self, token: str) -> tuple[Leaver, Stream | None] | None:
        """Who may leave what by this token, and the stream as it is now, if there still is one."""
        leaver = (await self._tokens.get()).left(token)
        if leaver is None:
            return None
        try:
            return leaver, await self._streams.get(leaver.account_id, leaver.stream)
        except NoSuchStream:
            return leaver, None

    async def leave(
        self, leaver: Leaver, stream: Stream | None, headers: Mapping[str, str], peer: str | None
    ) -> None:
        """Stop writing to them, for good; leaving twice changes nothing. Raises `Unavailable`."""
        everything = stream is not None and stream.unsubscribe_from is Leaving.ACCOUNT
        entry = NewSuppression(
            leaver.account_id,
            leaver.address,
            Reason.UNSUBSCRIBE,
            "unsubscribe",
            stream=None if everything else leaver.stream,
        )
        await self._database.write(suppressions.add_many, [entry])
        await self._report(
            Report(
                EventKind.UNSUBSCRIBED,
                now(),
                token=leaver.mail.token,
                recipient=leaver.address,
                key=f"unsubscribed {leaver.mail.token}",
                detail={"stream": leaver.stream, **self._where_from(headers, peer)},
            )
        )

    async def _tell(
        self,
        kind: EventKind,
        mail: Mail,
        token: str,
        method: str,
        headers: Mapping[str, str],
        peer: str | None,
        **more: Any,
    ) -> None:
        came = visitor(method, headers, image=kind is EventKind.OPENED)
        if not self._is_news(token, method, headers.get("user-agent", "")):
            return
        detail = {**more, **self._where_from(headers, peer), "machine": came.machine}
        if came.rule is not None:
            detail["rule"] = came.rule
        if came.proxy is not None:
            detail["proxy"] = came.proxy
        await self._report(Report(kind, now(), token=mail.token, detail=detail))

    async def _report(self, report: Report) -> None:
        try:
            await self._inbox.report(SOURCE, [report])
        except Unavailable as error:
            facts.fault(report.kind.value, error)

    def _is_news(self, *visit: str) -> bool:
        """Whether this has not just happened: a page that is drawn anew, or somebody who would fill the record."""
        key = (visit[0], visit[1], visit[2][:_MAX_AGENT])
        moment = time.monotonic()
        last = self._recent.get(key)
        if last is not None and moment - last < _AGAIN:
            return False
        self._recent[key] = moment
        self._recent.move_to_end(key)
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return True

    def _where_from(self, headers: Mapping[str, str], peer: str | None) -> dict[str, str]:
        found: dict[str, str] = {}
        address = self._address(headers, peer)
        if address is not None:
            found["ip"] = address
        agent = "".join(c if c.isprintable() else " " for c in headers.get("user-agent", ""))[:_MAX_AGENT]
        if agent:
            found["user_agent"] = agent
        return found

    def _address(self, headers: Mapping[str, str], peer: str | None) -> str | None:
        wanted = self._settings.client_address
        if peer is None or wanted == "none":
            return None
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return None
        if wanted == "full":
            return str(address)
        return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))
