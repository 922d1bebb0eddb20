"""One socket: replies collected and written together, the time a client may take, and the end."""

import asyncio
from typing import Any

from aiosmtpd.smtp import SMTP

from relay.observe import facts, metrics
from relay.smtp import replies
from relay.smtp.data import DataReader
from relay.smtp.mode import Mode
from relay.smtp.service import Listener, Service
from relay.smtp.session import Session

#: seconds a client has to take our last words before the connection is cut
_LINGER = 5.0


class Wire(SMTP):
    """What every connection needs below its dialogue. It holds no task while it waits for its client."""

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
        self._proxied = False
        self._heard = 0.0
        self._begun = 0.0
        self._time = self.loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""
        self._dialogue: Session

    def __del__(self) -> None:
        # The parent's looks for what its constructor would have made.
        pass

    def pause_writing(self) -> None:
        self._choked = True

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # Replies and the end.

    def _say(self, reply: bytes) -> None:
        self._replies.append(reply)
        self._reply_size += len(reply)
        if reply[0] >= 0x34:
            _code, enhanced, text = reply.decode().rstrip().split(" ", 2)
            metrics.REFUSED.add("smtp", enhanced)
            if self._service.refusals.allows(self._peer):
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
        chunk = self._dialogue.mode is Mode.CHUNK
        arriving = self._body is not None or chunk
        limit = settings.data_timeout if arriving else settings.command_timeout
        left = self._heard + limit - now
        if left <= 0:
            self._say(replies.TIMED_OUT)
            self._hang_up()
        elif arriving and self._too_slow(now):
            self._say(replies.TOO_SLOW)
            self._hang_up()
        else:
            # DATA may begin at any time and has a limit of its own.
            self._watch(min(left, settings.data_timeout))

    def _too_slow(self, now: float) -> bool:
        lasted = now - self._begun
        reader = self._body or self._dialogue.chunks
        if reader is None or self._busy or lasted < self._service.settings.data_timeout:
            return False
        received = reader.received + len(self._buffer)
        return received < lasted * self._service.settings.min_data_rate
