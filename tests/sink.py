"""A real SMTP server for tests and benchmarks, which takes, refuses and misbehaves as it is told.

    with Sink() as sink:
        ...  # send to sink.host, sink.port
        assert sink.wait(1)[0].recipients == ("jane@example.com",)

It runs in a thread of its own, so it goes on while the test's event loop is busy or blocked. What it answers to a
recipient follows from the local part: see `RULES`; `replies` has exceptions by whole address. As a process:

    python -m tests.sink --port 2525 --count-only
"""

import argparse
import asyncio
import json
import os
import signal
import ssl
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.sink_session import RULES, Fault, Received, Session

if TYPE_CHECKING:
    import trustme

__all__ = ["EVERYTHING", "Fault", "Received", "Sink"]

EVERYTHING = ("PIPELINING", "SIZE 26214400", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


class Sink:
    """The server. Attributes may be changed while it runs; each takes effect with the next command.

    `tls` is "none", "starttls" or "implicit", with a certificate for `names` whose authority is in `ca_file`.
    `users` maps names to passwords and makes signing in necessary. `delay` (seconds) holds back every reply to
    the end of data. `count_only` keeps nothing but `count` and `octets`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        extensions: Iterable[str] = EVERYTHING,
        tls: str = "none",
        names: Iterable[str] = ("localhost", "127.0.0.1"),
        authority: "trustme.CA | None" = None,
        users: Mapping[str, str] | None = None,
        replies: Mapping[str, str] | None = None,
        grey_times: int = 1,
        max_connections: int | None = None,
        delay: float = 0.0,
        count_only: bool = False,
    ) -> None:
        self.host, self.port = host, port
        self.extensions = list(extensions)
        self.tls = tls
        self.users = dict(users or {})
        self.mechanisms = "PLAIN LOGIN"
        self.replies = dict(replies or {})
        self.grey_times = grey_times
        self.max_connections = max_connections
        self.delay = delay
        self.count_only = count_only
        self.count = 0
        self.octets = 0
        self.connections = 0
        self.most_at_once = 0
        #: the command lines of each packet, as they came together
        self.bursts: list[list[str]] = []
        self.mails: list[Received] = []
        self._greyed: Counter[str] = Counter()
        self._fault: Fault | None = None
        self._fault_times: int | None = None
        self._news = threading.Condition()
        self._sessions: set[Session] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._context: ssl.SSLContext | None = None
        if tls != "none":
            self._make_certificate(authority, names)

    # What tests do.

    @property
    def ca_file(self) -> str:
        """The certificate to trust."""
        assert self._folder is not None, "only with tls"
        return str(Path(self._folder.name) / "ca.pem")

    def misbehave(self, fault: Fault | None, *, times: int | None = None) -> None:
        """From now on, or for the next `times` occasions."""
        with self._news:
            self._fault, self._fault_times = fault, times

    def wait(self, count: int, timeout: float = 60) -> list[Received]:
        """The mails, once there are at least `count`; fails otherwise."""
        with self._news:
            came = self._news.wait_for(lambda: self.count >= count, timeout)
            assert came, f"{self.count} of {count} mails came within {timeout} s"
            return list(self.mails)

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Until `condition`, looked at after every packet and connection, holds; fails otherwise."""
        with self._news:
            assert self._news.wait_for(condition, timeout), f"it did not happen within {timeout} s"

    @property
    def open_connections(self) -> int:
        return len(self._sessions)

    def hang_up(self, farewell: bytes = b"") -> None:
        """Close every connection, with these last words."""

        def do() -> None:
            for session in tuple(self._sessions):
                session.close(farewell)

        assert self._loop is not None
        self._loop.call_soon_threadsafe(do)
        self.wait_for(lambda: not self._sessions)

    def start(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self.serve(ready),), daemon=True)
        self._thread.start()
        assert ready.wait(60), "the sink did not start"
        return self

    def stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._thread = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def serve(self, ready: threading.Event | None = None) -> None:
        """Until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(
            lambda: Session(self),
            self.host,
            self.port,
            ssl=self._context if self.tls == "implicit" else None,
            backlog=1_024,
        )
        self.port = server.sockets[0].getsockname()[1]
        if ready is not None:
            ready.set()
        await self._stopping.wait()
        server.close()
        for session in tuple(self._sessions):
            session.abort()
        await asyncio.sleep(0)

    # What sessions do.

    def opened(self, session: "Session") -> int:
        with self._news:
            self.connections += 1
            self._sessions.add(session)
            self.most_at_once = max(self.most_at_once, len(self._sessions))
            self._news.notify_all()
            return self.connections

    def closed(self, session: "Session") -> None:
        with self._news:
            self._sessions.discard(session)
            self._news.notify_all()

    def heard(self, commands: list[str]) -> None:
        with self._news:
            self.bursts.append(commands)
            self._news.notify_all()

    def took(self, size: int, make: Callable[[], Received]) -> None:
        if self.count_only:
            self.count += 1
            self.octets += size
            return
        with self._news:
            self.count += 1
            self.octets += size
            self.mails.append(make())
            self._news.notify_all()

    def fault(self, *wanted: Fault) -> Fault | None:
        """The fault to commit now, if it is one of these."""
        if self._fault is None or self._fault not in wanted:
            return None
        with self._news:
            fault = self._fault
            if self._fault_times is not None:
                self._fault_times -= 1
                if self._fault_times <= 0:
                    self._fault = None
            return fault

    def reply_to(self, recipient: str) -> str | None:
        """What refuses this recipient, if anything does."""
        if recipient in self.replies:
            return self.replies[recipient]
        for beginning, reply in RULES.items():
            if recipient.startswith(beginning):
                if beginning == "grey":
                    self._greyed[recipient] += 1
                    if self._greyed[recipient] > self.grey_times:
                        return None
                return reply
        return None

    def _make_certificate(self, authority: "trustme.CA | None", names: Iterable[str]) -> None:
        import trustme

        authority = authority or trustme.CA()
        self._folder = tempfile.TemporaryDirectory(prefix="sink-")
        authority.cert_pem.write_to_path(Path(self._folder.name) / "ca.pem")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self._context)

    def use_certificate(self, issued: "trustme.LeafCert") -> None:
        """Show this one to clients that come from now on."""
        fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(fresh)
        self._context = fresh

    @property
    def context(self) -> ssl.SSLContext:
        assert self._context is not None
        return self._context


async def _main(sink: Sink) -> None:
    loop = asyncio.get_running_loop()

    def count() -> None:
        figures = {"mails": sink.count, "octets": sink.octets, "connections": sink.connections}
        print(json.dumps({**figures, "cpu": sum(os.times()[:2])}), flush=True)

    def listening() -> None:
        print(f"listening on {sink.host}:{sink.port}", flush=True)

    class Ready(threading.Event):
        def set(self) -> None:
            listening()
            super().set()
            loop.add_signal_handler(signal.SIGTERM, sink._stopping.set)
            loop.add_signal_handler(signal.SIGINT, sink._stopping.set)

    loop.add_signal_handler(signal.SIGUSR1, count)
    await sink.serve(Ready())
    count()


def main() -> None:
    """Serve until SIGTERM or SIGINT; SIGUSR1 and the end print the counts as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.sink", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--port", type=int, default=0, help="0 picks a free one; the first line printed has it"
    )
    parser.add_argument("--count-only", action="store_true", help="keep no mail")
    parser.add_argument(
        "--delay", type=float, default=0.0, help="seconds before the reply to the end of data"
    )
    parser.add_argument("--grey-times", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(
        _main(
            Sink(
                host=given.host,
                port=given.port,
                count_only=given.count_only,
                delay=given.delay,
                grey_times=given.grey_times,
            )
        )
    )


if __name__ == "__main__":
    main()
