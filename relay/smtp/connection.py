"""One client connection: octets in, replies out, and the time they may take.

aiosmtpd's protocol class reads line by line through a StreamReader, one task switch and one write per command, and
trusts the client in ways an open port cannot. This subclass keeps its place in the event loop and replaces what it
does: one buffer, every command that has arrived worked through at once, their replies in one write.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from relay.core.errors import RelayError
from relay.core.identity import inside
from relay.observe import facts
from relay.smtp import auth, login, proxy, replies
from relay.smtp.data import DataReader
from relay.smtp.mode import Mode
from relay.smtp.replies import Rejected
from relay.smtp.session import Session
from relay.smtp.transaction import chunk_done
from relay.smtp.wire import Wire

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
#: seconds a load balancer has to say whom it speaks for
_PROXY = 10.0
_OVER = (Mode.CLOSED, Mode.QUIT)


class Connection(Wire):
    """The protocol of one socket, from its first octet to its last."""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._tls = transport.get_extra_info("ssl_object") is not None
        self._dialogue = Session(self._service, self._listener, self._peer, tls=self._tls)
        guests = self._service.guests
        guests.add(self)
        balancers = self._listener.settings.proxy_from
        if self._service.stopping or len(guests) > self._service.settings.max_connections:
            self.abort()
        elif not balancers:
            self._welcome()
        elif inside(self._peer, balancers):
            self._proxied = True
            self._timer = self.loop.call_later(_PROXY, self.abort)
        else:
            # Whoever may write the header may call himself what he likes.
            self.abort()

    def _welcome(self) -> None:
        """Greet the client, once it is known who that is."""
        service, listener = self._service, self._listener
        refusal = b"" if listener.serves(self._peer) else replies.NOT_FROM_HERE
        refusal = refusal or service.enter(self, listener, self._peer)
        if refusal:
            self._say(refusal)
            self._hang_up()
            return
        self._heard = self._time()
        self._watch(min(service.settings.command_timeout, service.settings.data_timeout))
        if listener.settings.account:
            self._busy = True
            service.run(self._enter_by_address())
            return
        self._greet()

    def _greet(self) -> None:
        self._say(replies.lines(220, f"{self._service.hostname} ESMTP Pillarbox"))
        self._flush()

    async def _enter_by_address(self) -> None:
        refusal = await login.enter_by_address(self._dialogue)
        self._busy = False
        if self.transport is None:
            return
        if refusal:
            self._say(refusal)
            self._hang_up()
            return
        self._greet()
        self._advance()

    def _take_proxy_header(self) -> None:
        try:
            address = proxy.take(self._buffer)
        except proxy.BadHeader:
            self.abort()
            return
        if address is None:
            return
        self._proxied = False
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        if address:
            self._peer = address
            self._dialogue = Session(self._service, self._listener, address, tls=False)
        self._welcome()

    def data_received(self, data: bytes) -> None:
        if self._dialogue.mode in _OVER:
            return
        self._buffer += data
        if self._proxied:
            self._take_proxy_header()
            if self._proxied or self._dialogue.mode in _OVER:
                return
        if self._body is not None or self._dialogue.mode is Mode.CHUNK:
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
        self._dialogue.close()
        self._service.leave(self, self._listener, self._peer)
        if self._timer is not None:
            self._timer.cancel()
        if self._body is not None:
            self._body.close()
            self._body = None
        self._buffer.clear()
        self.transport = None

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
            if self._dialogue.mode is Mode.CHUNK:
                if not self._read_chunk():
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
        except Exception as error:
            answer = self._said(error)
        if not isinstance(answer, bytes):
            self._work(answer)
            return
        if answer:
            self._say(answer)
        if dialogue.mode is Mode.DATA:
            self._body = dialogue.data_reader()
            self._begun = self._time()
        elif dialogue.mode is Mode.CHUNK:
            self._begun = self._time()
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

    def _read_chunk(self) -> bool:
        """Whether the chunk that is arriving is complete."""
        dialogue = self._dialogue
        octets = bytes(memoryview(self._buffer)[: dialogue.chunk_left])
        del self._buffer[: len(octets)]
        dialogue.chunk_left -= len(octets)
        if octets and not dialogue.chunk_reply:
            assert dialogue.chunks is not None
            dialogue.chunks.add(octets)
        if dialogue.chunk_left:
            return False
        try:
            answer = chunk_done(dialogue)
        except Exception as error:
            answer = self._said(error)
        if isinstance(answer, bytes):
            self._say(answer)
        else:
            self._work(answer)
        return True

    def _said(self, error: Exception) -> bytes:
        """What a failure is answered with."""
        if isinstance(error, Rejected):
            return error.reply
        if isinstance(error, RelayError):
            return replies.of(error)
        facts.fault("smtp", error, peer=self._peer)
        return replies.TROUBLE

    def _work(self, answer: Coroutine[Any, Any, bytes]) -> None:
        self._busy = True
        self._service.run(self._finish(answer))

    async def _finish(self, answer: Coroutine[Any, Any, bytes]) -> None:
        try:
            reply = await answer
        except Exception as error:
            reply = self._said(error)
        self._busy = False
        if self.transport is None:
            return
        self._heard = self._time()
        if reply:
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
        before, self._dialogue = (
            self._dialogue,
            Session(self._service, self._listener, self._peer, tls=True),
        )
        if self._listener.settings.account and before.secret is None:
            # Known by its address, which is the same.
            self._dialogue.identity, before.identity = before.identity, None
        before.close()
        self._heard = self._time()
        self._busy = False
        self._advance()
