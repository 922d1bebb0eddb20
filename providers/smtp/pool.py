"""The lines to one smarthost and the mails that wait for one.

A line that becomes free takes the longest waiting mail in the same callback, so nothing is woken in between; tasks
exist for opening lines only. While none is open a single probe goes out: a provider that is down or that refuses
our password hears from us once, not once per connection, and everybody who waits learns the result.
"""

import asyncio
from collections import deque
from typing import Protocol

from providers.smtp.dial import Dialler, NoLine, Session
from providers.smtp.line import Line
from providers.smtp.options import SmtpOptions
from providers.smtp.transaction import Transaction
from relay.core.provider import Outcome, OutcomeKind, Outgoing, Receipt
from relay.core.reply import Reply

#: seconds without new lines after a server let us have some but not more
_CONTENT = 30.0
#: seconds after which a mail no longer waits behind another one
_HELD_UP = 1.0

_CLOSING = Outcome(OutcomeKind.RETRY, Reply(451, "4.3.2", "the provider is being shut down"))


class Opener(Protocol):
    """What opens lines: `Dialler`, or one that knows several servers."""

    async def session(self) -> Session:
        """A signed-in session; raises `NoLine`."""
        ...


class Pool:
    """Bounded by `max_connections`; first come, first served."""

    def __init__(self, options: SmtpOptions, dialler: Opener | None = None, *, ahead: bool = False) -> None:
        """`ahead` opens a waiting mail behind the end of the one before it, which saves half of its round trips."""
        self._options = options
        self._ahead = self._after if ahead else None
        self._followed: dict[Line, tuple[float, Transaction]] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._dialler = dialler or Dialler(options)
        self._lines: set[Line] = set()
        self._idle: list[Line] = []  # the one used last is taken first, so that spare ones grow old
        self._waiting: deque[Transaction] = deque()
        self._dialling: set[asyncio.Task[None]] = set()
        self._content_until = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._closing = False
        self._settled = asyncio.Event()

    async def send(self, mail: Outgoing) -> Receipt:
        if self._closing:
            return (_CLOSING,) * len(mail.recipients)
        transaction = Transaction(
            mail,
            asyncio.get_running_loop().create_future(),
            command_timeout=self._options.command_timeout,
            data_timeout=self._options.data_timeout,
            again=self._again,
            ahead=self._ahead,
        )
        self._in_flight += 1
        try:
            if not (self._idle and self._start(transaction)):
                self._waiting.append(transaction)
                self._grow()
            return await transaction.receipt
        except asyncio.CancelledError:
            transaction.abandon()
            if transaction in self._waiting:
                self._waiting.remove(transaction)
            raise
        finally:
            self._in_flight -= 1
            if self._closing and not self._in_flight:
                self._settled.set()

    async def aclose(self) -> None:
        """Let sends in flight finish, then say goodbye on every line."""
        self._closing = True
        if self._in_flight:
            await self._settled.wait()
        for task in self._dialling:
            task.cancel()
        for timer in (self._sweep, self._watch):
            if timer is not None:
                timer.cancel()
        for line in tuple(self._lines):
            line.quit()
        await asyncio.gather(*(line.gone for line in self._lines), *self._dialling, return_exceptions=True)

    @property
    def unused(self) -> bool:
        """There is no mail and no line here."""
        return not (self._in_flight or self._lines or self._dialling)

    def spare(self) -> None:
        """Let go of the lines that are aside."""
        for line in self._idle:
            line.quit()
        self._idle.clear()

    def _start(self, transaction: Transaction) -> bool:
        """Give it an idle line, if one is good; True also when it was settled without one."""
        while self._idle:
            line = self._idle.pop()
            if line.closed:
                continue
            if not transaction.start(line):
                self._idle.append(line)
            return True
        return False

    def _after(self, line: Line) -> Transaction | None:
        """The mail to open behind the end of the one that this line is about to send."""
        if not self._waiting or line.used >= self._options.max_messages_per_connection:
            return None
        following = self._waiting.popleft()
        loop = asyncio.get_running_loop()
        self._followed[line] = loop.time(), following
        if self._watch is None:
            self._watch = loop.call_later(_HELD_UP, self._free_followers)
        return following

    def _free_followers(self) -> None:
        """A mail behind one whose end the server does not answer goes by another line."""
        self._watch = None
        loop = asyncio.get_running_loop()
        freed = False
        for line, (since, following) in tuple(self._followed.items()):
            if line.closed or following.receipt.done() or line.has_taken_up(following):
                del self._followed[line]
            elif since + _HELD_UP <= loop.time():
                del self._followed[line]
                line.take_back()
                self._waiting.appendleft(following)
                freed = True
        if self._followed:
            self._watch = loop.call_later(_HELD_UP, self._free_followers)
        if freed:
            while self._waiting and self._idle:
                self._start(self._waiting.popleft())
            self._grow()

    def _free(self, line: Line) -> None:
        if line.used >= self._options.max_messages_per_connection:
            line.quit()
            return
        while self._waiting:
            if self._waiting.popleft().start(line):
                return
        self._put_aside(line)

    def _lost(self, line: Line) -> None:
        self._lines.discard(line)
        if line in self._idle:
            self._idle.remove(line)
        self._grow()

    def _again(self, transaction: Transaction) -> None:
        """A kept line was dead when it was needed; the other ones put aside are no better."""
        self._waiting.appendleft(transaction)
        self.spare()
        self._grow()

    def _grow(self) -> None:
        room = self._options.max_connections - len(self._lines)
        while len(self._dialling) < min(len(self._waiting), room):
            if self._dialling and not self._lines:
                return
            if self._lines and asyncio.get_running_loop().time() < self._content_until:
                return
            task = asyncio.get_running_loop().create_task(self._dial())
            self._dialling.add(task)

    async def _dial(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            session = await self._dialler.session()
        except NoLine as failure:
            self._dialling.discard(task)
            self._failed(failure.outcome)
        except Exception as error:
            self._dialling.discard(task)
            while self._waiting:
                self._waiting.popleft().fail(error)
        else:
            self._dialling.discard(task)
            line = session.line(on_free=self._free, on_lost=self._lost)
            self._lines.add(line)
            self._free(line)
            self._grow()

    def _failed(self, outcome: Outcome) -> None:
        if self._lines:
            # The server lets us have these and no more: they will serve those who wait.
            self._content_until = asyncio.get_running_loop().time() + _CONTENT
        elif not self._dialling:
            while self._waiting:
                self._waiting.popleft().settle(outcome)

    def _put_aside(self, line: Line) -> None:
        loop = asyncio.get_running_loop()
        line.idle_since = loop.time()
        self._idle.append(line)
        if self._sweep is None:
            self._sweep = loop.call_later(self._options.idle, self._close_idle)

    def _close_idle(self) -> None:
        """Close what has been aside for too long; the oldest lie at the bottom."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        now, allowed = loop.time(), self._options.idle
        while self._idle and self._idle[0].idle_since + allowed <= now:
            self._idle.pop(0).quit()
        if self._idle:
            self._sweep = loop.call_at(self._idle[0].idle_since + allowed, self._close_idle)
