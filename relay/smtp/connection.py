"""One client connection: octets in, replies out, and the time they may take.

aiosmtpd's protocol class reads line by line through a StreamReader, one task switch and one write per command, and
trusts the client in ways an open port cannot. This subclass keeps its place in the event loop and replaces what it
does: one buffer, every command that has arrived worked through at once, their replies in one write.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiosmtpd.smtp import SMTP

from relay.core.errors import RelayError
from relay.observe import facts
from relay.smtp import auth, replies
from relay.smtp.data import DataReader
from relay.smtp.replies import Rejected
from relay.smtp.service import Listener, Service
from relay.smtp.session import Mode, Session

#: octets without a line end after which a line counts as endless
_MAX_LINE = auth.MAX_LINE
#: octets a client may send ahead while it waits for us
_MAX_AHEAD = 64 * 1024
#: octets of replies collected before they are written
_MAX_REPLIES = 16 * 1024
#: commands worked through before other connections get their turn
_BURST = 100
#: seconds a TLS handshake may take
HANDSHAKE = 30.0
#: seconds a client has to take our last words before the connection is cut
_LINGER = 5.0
_OVER = (Mode.CLOSED, Mode.QUIT)


class Connection(SMTP):
    """The protocol of one socket. It holds no task while it waits for its client."""

    # The parent's constructor looks every method up by name, which costs more than a whole transaction here.
    def __init__(self, service: Service, listener: Listener) -> None:
        self.loop = service.loop
        self.transport: Any = None
        self._service = service
        self._listener = listener
        self._buffer = bytearray()
        self._scanned = 0
        self._skipping = False
        self._replies: list[bytes] = []
        self._reply_size = 0
        self._body: DataReader | None = None
        self._busy = False
        self._choked = False
        self._held_back = False
        self._ended = False
        self._tls = False
        self._heard = 0.0
        self._time = self.loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""
        self._dialogue: Session

    def __del__(self) -> None:
        # The parent's looks for what its constructor would have made.
        pass

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._tls = transport.get_extra_info("ssl_object") is not None
        self._dialogue = Session(self._service, self._listener, self._peer, tls=self._tls)
        service = self._service
        if service.stopping or len(service.connections) >= service.settings.max_connections:
            self._say(replies.SHUTTING_DOWN if service.stopping else replies.TOO_MANY_CONNECTIONS)
            self._hang_up()
            return
        service.connections.add(self)
        self._heard = self._time()
        self._watch(min(service.settings.command_timeout, service.settings.data_timeout))
        self._say(replies.lines(220, f"{service.hostname} ESMTP Pillarbox"))
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._dialogue.mode in _OVER:
            return
        self._buffer += data
        if self._body is not None:
            self._heard = self._time()
        if self._busy or self._choked:
            if len(self._buffer) > _MAX_AHEAD and not self._held_back:
                self._held_back = True
                self.transport.pause_reading()
        else:
            self._advance()

    def eof_received(self) -> bool:
        self._ended = True
        if not self._busy:
            self._hang_up()
        # While a commit is under way the other half stays open for its reply; TLS knows no half-open state.
        return self._busy and not self._tls

    def connection_lost(self, exc: Exception | None) -> None:
        # Work in progress goes on: what was handed in whole is stored, and only the reply has nobody to go to.
        self._dialogue.mode = Mode.CLOSED
        self._service.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._body is not None:
            self._body.close()
            self._body = None
        self._buffer.clear()
        self.transport = None

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        if not self._busy:
            self._advance()

    # What the server calls.

    def stop_when_idle(self) -> None:
        """End the connection with 421 now, or when its transaction is over."""
        if self._dialogue.idle and not self._busy:
            self._say(replies.SHUTTING_DOWN)
            self._hang_up()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # The dialogue.

    def _advance(self) -> None:
        """Work through what has arrived until it runs dry or an answer has to be waited for."""
        budget = _BURST
        while not self._busy and self._dialogue.mode not in _OVER:
            if self._reply_size > _MAX_REPLIES:
                self._flush()
                if self._choked:
                    break
            if self._body is not None:
                if not self._read_data(self._body):
                    break
                continue
            line = self._next_line()
            if line is None:
                break
            self._answer(line)
            budget -= 1
            if not budget and self._buffer:
                self._busy = True
                self.loop.call_soon(self._go_on)
        self._flush()
        self._settle()

    def _go_on(self) -> None:
        self._busy = False
        if self.transport is not None:
            self._advance()

    def _settle(self) -> None:
        """After a burst of work: hang up, or listen on."""
        if self._busy:
            return
        mode = self._dialogue.mode
        if mode is Mode.CLOSED or mode is Mode.QUIT:
            self._hang_up(linger=mode is Mode.CLOSED)
        elif self._ended:
            self._hang_up()
        elif self._service.stopping and self._dialogue.idle:
            self._say(replies.SHUTTING_DOWN)
            self._hang_up()
        elif self._held_back and not self._choked:
            self._held_back = False
            self.transport.resume_reading()

    def _next_line(self) -> bytes | None:
        """The next whole line without its line end; a bare LF ends one too, as old clients have it."""
        buffer = self._buffer
        if not buffer:
            return None
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(buffer)
            if self._scanned > _MAX_LINE:
                self._skipping = True
                buffer.clear()
                self._scanned = 0
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._scanned = 0
        self._heard = self._time()
        return line[:-1] if line.endswith(b"\r") else line

    def _answer(self, line: bytes) -> None:
        dialogue = self._dialogue
        if self._skipping or len(line) > _MAX_LINE:
            self._skipping = False
            self._say(dialogue.too_long())
            return
        try:
            answer = dialogue.line(line)
        except Rejected as rejected:
            answer = rejected.reply
        except RelayError as error:
            answer = replies.of(error)
        except Exception as error:
            facts.fault("smtp", error, peer=self._peer)
            answer = replies.TROUBLE
        if not isinstance(answer, bytes):
            self._work(answer)
            return
        self._say(answer)
        if dialogue.mode is Mode.DATA:
            self._body = DataReader(self._service.limits)
        elif dialogue.mode is Mode.TLS:
            self._busy = True
            # Nothing sent in clear may be taken for something sent under TLS (RFC 3207 4.2, CVE-2011-0411), and
            # the handshake must not be read by us.
            self.transport.pause_reading()
            self._buffer.clear()
            self._flush()
            self._service.run(self._start_tls())
        elif dialogue.mode is Mode.NO_DATA:
            dialogue.mode = Mode.COMMAND
            if self._buffer:
                # DATA is the last of a group (RFC 2920 3.1): what follows is a mail, and not to be read as commands.
                dialogue.mode = Mode.CLOSED
                self._say(replies.UNSYNCHRONISED)

    def _read_data(self, reader: DataReader) -> bool:
        """Whether the mail that is arriving is complete, or given up."""
        try:
            done = reader.feed(self._buffer)
        except Exception as error:
            facts.fault("smtp data", error, peer=self._peer)
            reader.close()
            self._body = None
            self._dialogue.mode = Mode.CLOSED
            self._say(replies.TROUBLE)
            return True
        if done:
            self._body = None
            self._work(self._dialogue.deliver(reader))
        elif reader.overrun:
            reader.close()
            self._body = None
            self._dialogue.mode = Mode.CLOSED
            self._say(replies.TOO_LARGE)
            return True
        return done

    def _work(self, answer: Coroutine[Any, Any, bytes]) -> None:
        self._busy = True
        self._service.run(self._finish(answer))

    async def _finish(self, answer: Coroutine[Any, Any, bytes]) -> None:
        try:
            reply = await answer
        except Rejected as rejected:
            reply = rejected.reply
        except RelayError as error:
            reply = replies.of(error)
        except Exception as error:
            facts.fault("smtp", error, peer=self._peer)
            reply = replies.TROUBLE
        self._busy = False
        if self.transport is None:
            return
        self._heard = self._time()
        self._say(reply)
        self._advance()

    async def _start_tls(self) -> None:
        try:
            assert self._listener.tls is not None
            transport = await self.loop.start_tls(
                self.transport, self, self._listener.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        except Exception as error:
            facts.tls_failed("smtp", self._peer, error)
            self.abort()
            self.connection_lost(None)
            return
        if transport is None or self._dialogue.mode is Mode.CLOSED:
            self.abort()
            return
        self.transport = transport
        self._tls = True
        self._dialogue = Session(self._service, self._listener, self._peer, tls=True)
        self._heard = self._time()
        self._busy = False
        self._advance()

    # Replies and the end.

    def _say(self, reply: bytes) -> None:
        self._replies.append(reply)
        self._reply_size += len(reply)
        if reply[0] >= 0x34:
            _code, enhanced, text = reply.decode().rstrip().split(" ", 2)
            facts.refused("smtp", enhanced, text, self._peer)
            if reply[0] >= 0x35:
                last = self._dialogue.count_error()
                if last:
                    self._say(last)

    def _flush(self) -> None:
        if not self._replies:
            return
        data = b"".join(self._replies)
        self._replies.clear()
        self._reply_size = 0
        if self.transport is not None:
            self.transport.write(data)

    def _hang_up(self, *, linger: bool = False) -> None:
        """Close once the last replies are out, or soon after if the client does not take them.

        With `linger` what the client is still sending is read and dropped for a moment: closing a socket with
        unread octets resets it, and the reply that says why would be lost.
        """
        self._flush()
        self._dialogue.mode = Mode.CLOSED
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(_LINGER, self.abort)
        if linger and not self._tls and not self._ended:
            self._buffer.clear()
            transport.write_eof()
            transport.resume_reading()
        else:
            transport.close()

    def _watch(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._check_time)

    def _check_time(self) -> None:
        """Close a connection whose client has been silent for too long; our own work has no such limit."""
        now = self._time()
        if self._busy and not self._choked:
            self._heard = now
        settings = self._service.settings
        limit = settings.command_timeout if self._body is None else settings.data_timeout
        left = self._heard + limit - now
        if left <= 0:
            self._say(replies.TIMED_OUT)
            self._hang_up()
        else:
            # DATA may begin at any time and has a limit of its own.
            self._watch(min(left, settings.data_timeout))
