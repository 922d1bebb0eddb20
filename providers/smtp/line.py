"""One connection, after aiosmtplib has opened it: replies in, commands and bodies out.

aiosmtplib pairs one reply with one command and drops what it did not ask for, which rules out pipelining (RFC
2920). So its transport changes hands once the session stands: `Line` is the protocol from then on. Replies are
given to the running `Conversation` from the reader's callback, and that writes on from there: a mail costs its
sender one wake-up, not one for every round trip.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

_LONGEST_LINE = 8_192
_LONGEST_REPLY = 100  # lines
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Offers:
    """The extensions of the server's EHLO that change what we say."""

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    size: bool = False
    #: octets of a mail the server takes; 0 when it names no limit (RFC 1870)
    max_size: int = 0


class Conversation(Protocol):
    """Whoever the replies are for, until it calls `Line.done`."""

    def replied(self, line: "Line", code: int, text: bytes) -> None: ...

    def broken(self, line: "Line", why: str) -> None:
        """The line is gone, out of step, or silent for too long; there will be no more replies."""
        ...


class Following(Conversation, Protocol):
    """A conversation whose first commands were sent behind the end of the mail before it."""

    def taken_up(self, line: "Line") -> bool:
        """The replies from now on are for it; False when nobody wants them any more."""
        ...


class Line(asyncio.Protocol):
    """A signed-in connection. `on_free` is called when it can take the next mail, `on_lost` when it never will."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.BaseTransport,
        offers: Offers,
        *,
        on_free: Callable[["Line"], None],
        on_lost: Callable[["Line"], None],
    ) -> None:
        self._loop = loop
        self._transport = cast("asyncio.Transport", transport)
        self.offers = offers
        self._on_free = on_free
        self._on_lost = on_lost
        #: mails begun on this line
        self.used = 0
        #: a transaction may still be open at the server: RSET comes first
        self.dirty = False
        #: loop time at which it was put aside
        self.idle_since = 0.0
        #: no use any more
        self.closed = False
        self.gone: asyncio.Future[None] = loop.create_future()
        self._talk: Conversation | None = None
        self._next: Following | None = None
        #: octets of commands behind a body, and the wait for their replies
        self._behind = 0
        self._behind_timeout = 0.0
        #: replies will come that are nobody's: no use for another mail
        self._spoilt = False
        self._partial = b""
        self._continued: list[bytes] = []
        self._rest: memoryview | None = None
        self._paused = False
        self._timeout = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        # At this mark "paused" means that the kernel has not taken everything yet, so that a line lost in the
        # middle of a body is told from one lost after it. TLS misreads a mark of 0.
        self._transport.set_write_buffer_limits(high=1, low=0)
        transport.set_protocol(self)

    # What conversations do.

    def begin(self, talk: Conversation) -> None:
        self._talk = talk
        self.used += 1

    def write(self, commands: bytes, timeout: float) -> None:
        """Send commands; `timeout` is the wait for each reply."""
        self._timeout = timeout
        self._await()
        self._transport.write(commands)

    def pour(self, body: bytes, timeout: float) -> None:
        """Send a body in pieces, as fast as the server takes it; `timeout` is the wait for progress and reply."""
        self._timeout = timeout
        self._await()
        self._rest = memoryview(body)
        self._pour_on()

    def pour_with(self, body: bytes, timeout: float, after: Following, commands: bytes, later: float) -> None:
        """As `pour`, with the first commands of the mail after it (RFC 2920 3.1); `later` is their timeout."""
        self._next = after
        self.used += 1
        self._behind = len(commands)
        self._behind_timeout = later
        self.pour(body + commands, timeout)

    def has_taken_up(self, talk: Following) -> bool:
        return self._next is not talk

    def take_back(self) -> None:
        """The mail behind the one under way goes elsewhere. This line ends with what it has begun."""
        self._next = None
        self._spoilt = True

    @property
    def flushed(self) -> bool:
        """The whole mail has left this process, and so may have arrived."""
        if self._rest is not None:
            return False
        return not self._paused or self._transport.get_write_buffer_size() <= self._behind

    def done(self) -> None:
        """The conversation is over; replies after this are the next one's, or else nobody's."""
        self._talk = self._next
        self._next = None
        self._behind = 0
        if self._talk is None:
            self._deadline = None
            return
        self._timeout = self._behind_timeout
        self._await()
        if not self._talk.taken_up(self):
            self._talk = None
            self._spoilt = True

    def out_of_step(self) -> None:
        """The last reply cannot be the answer to what was asked."""
        self._break("the server's replies are out of order")

    # What the pool does.

    def quit(self) -> None:
        """Say goodbye and close once it is returned, or soon anyway."""
        if self.closed:
            return
        self.closed = True
        self._timeout = 2.0
        self._await()
        self._transport.write(b"QUIT\r\n")

    def abort(self) -> None:
        self.closed = True
        self._transport.abort()

    # What the event loop does.

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        lines = data.split(b"\n")
        self._partial = lines.pop()
        began_with = self._talk
        if lines and began_with is not None:
            self._await()
        for line in lines:
            if self._talk is None:
                # An unasked-for line: a farewell, or we are out of step. Nothing may be asked here again.
                self._hang_up()
                return
            if not self._take(line):
                return
        if len(self._partial) > _LONGEST_LINE:
            self._break("the server's reply is too long")
        elif self._talk is None:
            if self._partial or began_with is None or self._spoilt:
                self._hang_up()
            elif not self.closed:
                self._on_free(self)

    def _take(self, line: bytes) -> bool:
        code, mark = line[:3], line[3:4]
        if not (len(code) == 3 and code.isdigit() and b"2" <= code < b"6" and mark in b" -\r"):
            self._break("the server's reply makes no sense")
            return False
        if mark == b"-":
            self._continued.append(line[4:].rstrip())
            if len(self._continued) > _LONGEST_REPLY:
                self._break("the server's reply is too long")
                return False
            return True
        text = line[4:].rstrip()
        if self._continued:
            text = b"\n".join([*self._continued, text])
            self._continued = []
        talk = self._talk
        assert talk is not None
        talk.replied(self, int(code), text)
        return not self.closed

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell("the connection was lost")
        if not self.gone.done():
            self.gone.set_result(None)
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._rest is not None:
            self._await()
            self._pour_on()

    def _pour_on(self) -> None:
        while self._rest is not None and not self._paused:
            self._transport.write(self._rest[:_PIECE])
            if self._transport.is_closing():
                # The write failed, without a word to us until `connection_lost`: this piece stays unsent.
                return
            self._rest = self._rest[_PIECE:] or None

    def _hang_up(self) -> None:
        self.closed = True
        self._transport.close()

    def _break(self, why: str) -> None:
        self.closed = True
        self._tell(why)
        self._transport.abort()

    def _tell(self, why: str) -> None:
        talk, self._talk = self._talk, None
        after, self._next = self._next, None
        for one in (talk, after):
            if one is not None:
                one.broken(self, why)

    # One timer is kept through many mails: deadlines move later, and the timer is set anew when it rings early.

    def _await(self) -> None:
        self._deadline = deadline = self._loop.time() + self._timeout
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        else:
            self._break("the server did not answer in time")
