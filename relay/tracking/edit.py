"""What a mail gets on its way in, before it is signed and stored: its stream's lane, a way to leave, a pixel, links.

Mail that nobody wants tracked, and that may not be left, goes through without a single octet looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.core import mime
from relay.core.clock import now
from relay.core.ids import new_id
from relay.core.message import MemoryTail, Submission
from relay.core.status import Classification, Lane
from relay.core.stream import DEFAULT, UNSAID, Stream, Track
from relay.core.timing import QUIET, QuietHours
from relay.observe import facts
from relay.policy import Streams
from relay.sections import TrackingSettings
from relay.tracking import html
from relay.tracking.structure import HtmlPart, Untouchable, html_parts
from relay.tracking.tokens import Leaver, Mail, Tokens, TokenSource

OPEN = "/t/o/"
CLICK = "/t/c/"
LEAVE = "/u/"

_PIXEL = '<img src="{}" width="1" height="1" alt="" style="border:0">'
#: octets of a mail's body that is edited beside the event loop
_LARGE = 64 * 1024
#: a piece of a body read at once
_PIECE = 1024 * 1024
#: characters of a link of ours where the transfer encoding cannot break its line
_MAX_UNBROKEN = 900


@dataclass(frozen=True, slots=True)
class Tracked:
    """What was added to a mail."""

    opens: bool
    links: int


class Editor:
    """One per door process; `relay.intake.Intake` calls it for every submission."""

    def __init__(
        self,
        settings: TrackingSettings,
        url: str,
        streams: Streams,
        secret: Callable[[], Awaitable[bytes]],
    ) -> None:
        """`url` is where the links of this installation are found from outside; empty when that is not known."""
        self._settings = settings
        self._url = url.rstrip("/")
        self._streams = streams
        self._tokens = TokenSource(secret)

    async def __call__(self, submission: Submission) -> None:
        """Edit the submission in place. Raises `NoSuchStream` when it names a stream that its account has not."""
        options = submission.options
        name = options.get("stream") or DEFAULT
        stream = self._streams.known(submission.account_id, name)
        if stream is None:
            stream = await self._streams.get(submission.account_id, name)
        if stream.lane is not Lane.NORMAL and submission.classification is not Classification.URGENT:
            options.setdefault("lane", stream.lane)
        if stream.provider is not None:
            options.setdefault("provider", stream.provider)
        options.pop(QUIET, None)
        if stream.quiet is not None and submission.classification is not Classification.URGENT:
            _mind_quiet(submission, stream.quiet)
        if "error_code" in options:
            return
        wanted = wish_of(options).over(stream.track).over(submission.track)
        if wanted.opens or wanted.clicks:
            await self._track(submission, Track(bool(wanted.opens), bool(wanted.clicks)))
        if stream.unsubscribe:
            await self._let_leave(submission, stream)

    async def _track(self, submission: Submission, wanted: Track) -> None:
        opens = bool(wanted.opens) and self._settings.opens
        clicks = bool(wanted.clicks) and self._settings.clicks
        try:
            if not opens and not clicks:
                raise Untouchable("tracking is switched off here")
            if not self._url:
                raise Untouchable("public_url is not set, so nobody could come back")
            if submission.size > self._settings.max_size:
                raise Untouchable(f"it is larger than {self._settings.max_size} octets")
            links = Links(
                await self._tokens.get(), self._mail(submission), self._url, opens=opens, clicks=clicks
            )
            if submission.tail.size > _LARGE:
                tracked = await asyncio.to_thread(edit, submission, links)
            else:
                tracked = edit(submission, links)
        except Untouchable as reason:
            submission.options["untracked"] = str(reason)
            facts.untracked(submission, str(reason))
        else:
            submission.options["tracked"] = {"opens": tracked.opens, "links": tracked.links}

    async def _let_leave(self, submission: Submission, stream: Stream) -> None:
        """Add List-Unsubscribe and List-Unsubscribe-Post (RFC 2369 3.2, RFC 8058) where the mail has neither.

        Only for one recipient: with several, the first to press the button would speak for the others.
        """
        if not self._url or len(submission.recipients) != 1 or not _may_be_left(submission.head):
            return
        recipient = submission.recipients[0]
        leaver = Leaver(submission.account_id, self._mail(submission), stream.name, recipient.address)
        token = (await self._tokens.get()).leave(leaver)
        fields = f"List-Unsubscribe: <{self._url}{LEAVE}{token}>"
        if self._settings.unsubscribe_mailto:
            fields += f",\r\n <mailto:{self._settings.unsubscribe_mailto}?subject=unsubscribe>"
        fields += "\r\n"
        if self._url.startswith("https://"):
            fields += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        submission.head = submission.head[:-2] + fields.encode() + b"\r\n"

    def _mail(self, submission: Submission) -> Mail:
        """The mail's name in links; it gets its ids for that."""
        if submission.id is None:
            submission.id = new_id()
        if len(submission.recipients) > 1:
            return Mail(submission.id, None)
        recipient = submission.recipients[0]
        if recipient.id is None:
            recipient.id = new_id()
        return Mail(submission.id, recipient.id)


def _mind_quiet(submission: Submission, quiet: QuietHours) -> None:
    """Quiet hours travel with the mail, so that workers need not ask for its stream."""
    submission.options[QUIET] = quiet.words()
    wanted = submission.send_at or now()
    until = quiet.until(wanted)
    if until is not None:
        submission.send_at = until


def wish_of(options: Mapping[str, Any]) -> Track:
    """What the mail itself says of tracking."""
    if options.get("disable_tracking"):
        return Track(opens=False, clicks=False)
    asked = options.get("track")
    return Track(asked.get("opens"), asked.get("clicks")) if asked else UNSAID


class Links:
    """Makes the links of one mail."""

    def __init__(self, tokens: Tokens, mail: Mail, url: str, *, opens: bool, clicks: bool) -> None:
        self._tokens = tokens
        self._mail = mail
        self._url = url
        self._clicks = clicks
        self.pixel = _PIXEL.format(f"{url}{OPEN}{tokens.open(mail)}.gif") if opens else None
        #: what must not be tracked: the ways out of the mail's own header
        self.exempt: frozenset[str] = frozenset()
        self.longest = 0
        self.count = 0

    def instead(self, target: str) -> str | None:
        """The link that leads to `target` through us; None for one that is left alone."""
        if not self._clicks or target in self.exempt or target.startswith(self._url + "/"):
            return None
        if "unsubscri" in target.lower():
            return None
        link = f"{self._url}{CLICK}{self._tokens.click(self._mail, target)}"
        if self.longest and len(link) > self.longest:
            return None
        self.count += 1
        return link


def edit(submission: Submission, links: Links) -> Tracked:
    """Put pixel and links into the HTML of a submission. Raises `Untouchable`; the submission is then as it was."""
    body = b"".join(submission.tail.chunks(_PIECE))
    head = submission.head
    parts = html_parts(head, body)
    links.exempt = frozenset(_ways_out(head))
    pieces: list[bytes] = []
    position = 0
    for number, part in enumerate(parts):
        pieces += (
            body[position : part.start],
            _edited(part, body, links, links.pixel if number == 0 else None),
        )
        position = part.end
    if not links.count and links.pixel is None:
        raise Untouchable("it has no links")
    pieces.append(body[position:])
    submission.tail.close()
    submission.tail = MemoryTail(b"".join(pieces))
    return Tracked(opens=links.pixel is not None, links=links.count)


def _edited(part: HtmlPart, body: bytes, links: Links, pixel: str | None) -> bytes:
    text = part.text(body)

    def instead(written: str) -> str | None:
        target = html.target_of(part.characters(written))
        return links.instead(target) if target is not None else None

    before = links.count
    try:
        found = html.edits(text, instead, pixel)
        return part.octets(html.applied(text, found), body) if found else body[part.start : part.end]
    except Untouchable:
        # A line break before each link may be enough.
        links.count, links.longest = before, _MAX_UNBROKEN
        found = html.edits(text, instead, f"\r\n{pixel}" if pixel else None, breaks=True)
        return part.octets(html.applied(text, found), body)
    finally:
        links.longest = 0


def _ways_out(head: bytes) -> list[str]:
    given = mime.values(head, mime.scan(head), b"list-unsubscribe")
    return [one.strip().removeprefix("<").removesuffix(">") for text in given for one in text.split(",")]


_OWN_WAY = frozenset({b"list-unsubscribe", b"list-unsubscribe-post", b"dkim-signature"})


def _may_be_left(head: bytes) -> bool:
    """Whether the fields may be added: there are none, and no signature that could not cover them."""
    return not any(field.name in _OWN_WAY for field in mime.scan(head))
