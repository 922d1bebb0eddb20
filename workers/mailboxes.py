"""Mailboxes that are looked into for bounces, by IMAP or POP3, for those who cannot have an MX point to us.

One process at a time looks. A mail that bears a token of ours goes into the inbox first and is done with in the
mailbox after that, so that none is lost; one that is read twice makes the same report twice, which is recorded once.
Other mail is left where it is.
"""

import asyncio
import contextlib
import imaplib
import os
import poplib
import re
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol, cast

from relay import config
from relay.core.clock import now
from relay.core.errors import Misconfigured, Unavailable
from relay.core.inbox import InboxKind
from relay.core.return_path import ReturnPaths
from relay.observe import facts
from relay.process import Context
from relay.sections.ingest import MailboxSettings
from relay.store import leader
from relay.tracking import bouncemail
from relay.tracking.inbox import Inbox

#: seconds a server may be silent
_TIMEOUT = 30.0
#: mails of one look; there is another soon
_MOST = 200
#: seconds after which a mailbox that cannot be read is looked into again, at the latest
_LONGEST_PAUSE = 900.0
#: seconds for which leadership holds without being renewed, and between renewals
_LEASE = 60.0
_TICK = 5.0
_JOB = "mailboxes"
#: ids of mails in a POP3 mailbox that are not ours, and are not fetched again
_MOST_FOREIGN = 10_000
#: octets of one line of a POP3 server
_MAX_LINE = 1024 * 1024
#: octets of a line of mail, on the average, to reckon with
_LINE = 60
_ERRORS = (OSError, imaplib.IMAP4.error, poplib.error_proto, ssl.SSLError, EOFError, Misconfigured)

#: Keeps a mail for reading; false when it is not ours. Called in the thread that looks.
Take = Callable[[bytes], bool]


class Looker(Protocol):
    """A mailbox that can be looked into, in a thread."""

    def look(self, take: Take) -> int:
        """Give every new mail to `take`; returns how many it took. Raises what the libraries do."""
        ...

    def abort(self) -> None:
        """End a look under way. Thread-safe."""
        ...


class ImapMailbox:
    """A folder by IMAP (RFC 3501). New is what is unseen; what is not ours is left there, seen."""

    def __init__(self, settings: MailboxSettings, size: int) -> None:
        """`size` octets of a mail are fetched at most."""
        self._settings = settings
        self._size = size
        self._client: imaplib.IMAP4 | None = None
        self._can: frozenset[str] = frozenset()

    def look(self, take: Take) -> int:
        settings = self._settings
        self._client = client = self._connect()
        try:
            client.login(settings.user, config.secret(settings.password.get_secret_value()))
            # What a server can is often more once it knows who asks, and the library remembers what it said before.
            self._can = frozenset(
                b" ".join(_answered(client.capability())).decode("ascii", "replace").upper().split()
            )
            _answered(client.select(_quoted(settings.folder)))
            return self._read(client, take)
        finally:
            self._client = None
            try:
                client.logout()
            except _ERRORS:
                # The library closes the connection only of a server that has said goodbye.
                with contextlib.suppress(OSError):
                    client.shutdown()

    def _read(self, client: imaplib.IMAP4, take: Take) -> int:
        found = _answered(client.uid("SEARCH", "UNSEEN", "UNDELETED"))
        taken = 0
        for uid in (found[0] or b"").split()[:_MOST]:
            raw = self._fetch(client, uid.decode())
            if raw is None:
                continue
            if take(raw):
                taken += 1
                self._done(client, uid.decode())
            else:
                _answered(client.uid("STORE", uid.decode(), "+FLAGS.SILENT", r"(\Seen)"))
        if taken and self._settings.done != "mark" and "UIDPLUS" not in self._can:
            client.expunge()
        return taken

    def _fetch(self, client: imaplib.IMAP4, uid: str) -> bytes | None:
        found = _answered(client.uid("FETCH", uid, f"(BODY.PEEK[]<0.{self._size}>)"))
        return next((part[1] for part in found if isinstance(part, tuple)), None)

    def _done(self, client: imaplib.IMAP4, uid: str) -> None:
        settings = self._settings
        if settings.done == "mark":
            _answered(client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Seen)"))
            return
        if settings.done == "move":
            if "MOVE" in self._can:
                _answered(client.uid("MOVE", uid, _quoted(settings.move_to)))
                return
            _answered(client.uid("COPY", uid, _quoted(settings.move_to)))
        _answered(client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)"))
        if "UIDPLUS" in self._can:
            # Only this one: somebody else's deleted mail is theirs to expunge.
            _answered(client.uid("EXPUNGE", uid))

    def _connect(self) -> imaplib.IMAP4:
        host, port = self._settings.address
        if self._settings.tls == "implicit":
            return imaplib.IMAP4_SSL(host, port, ssl_context=_context(self._settings), timeout=_TIMEOUT)
        client = imaplib.IMAP4(host, port, timeout=_TIMEOUT)
        if self._settings.tls == "starttls":
            try:
                client.starttls(_context(self._settings))
            except BaseException:
                client.shutdown()
                raise
        return client

    def abort(self) -> None:
        if self._client is not None:
            _cut(self._client.sock)


class PopMailbox:
    """A mailbox by POP3 (RFC 1939). What is not ours is left there and remembered."""

    def __init__(self, settings: MailboxSettings, size: int) -> None:
        """`size` octets of a mail are fetched, as near as may be."""
        self._settings = settings
        self._size = size
        self._client: poplib.POP3 | None = None
        self._foreign: dict[bytes, None] = {}

    def look(self, take: Take) -> int:
        settings = self._settings
        self._client = client = self._connect()
        try:
            client.user(settings.user)
            client.pass_(config.secret(settings.password.get_secret_value()))
            taken = self._read(client, take)
            # Only QUIT deletes (RFC 1939 6).
            client.quit()
            return taken
        finally:
            self._client = None
            client.close()

    def _read(self, client: poplib.POP3, take: Take) -> int:
        taken = looked = 0
        for line in client.uidl()[1]:
            number, _, uid = line.partition(b" ")
            if uid in self._foreign or looked == _MOST:
                continue
            looked += 1
            if take(self._fetch(client, int(number))):
                client.dele(int(number))
                taken += 1
            else:
                self._foreign[uid] = None
                if len(self._foreign) > _MOST_FOREIGN:
                    del self._foreign[next(iter(self._foreign))]
        return taken

    def _fetch(self, client: poplib.POP3, number: int) -> bytes:
        size = int(cast("bytes", client.list(number)).split()[2])
        lines = client.retr(number)[1] if size <= self._size else client.top(number, self._size // _LINE)[1]
        return b"\r\n".join(lines)[: self._size] + b"\r\n"

    def _connect(self) -> poplib.POP3:
        host, port = self._settings.address
        if self._settings.tls == "implicit":
            return _PopTls(host, port, timeout=_TIMEOUT, context=_context(self._settings))
        client = _Pop(host, port, timeout=_TIMEOUT)
        if self._settings.tls == "starttls":
            try:
                client.stls(_context(self._settings))
            except BaseException:
                client.close()
                raise
        return client

    def abort(self) -> None:
        if self._client is not None:
            _cut(self._client.sock)


class _LongLines:
    """The standard library ends a session at a line of 2,048 octets; mail has longer ones."""

    file: Any

    def _getline(self) -> tuple[bytes, int]:
        line: bytes = self.file.readline(_MAX_LINE + 1)
        if not line.endswith(b"\n"):
            raise poplib.error_proto("-ERR EOF" if len(line) <= _MAX_LINE else "line too long")
        return line.rstrip(b"\r\n"), len(line)


class _Pop(_LongLines, poplib.POP3):
    pass


class _PopTls(_LongLines, poplib.POP3_SSL):
    pass


def _answered(answer: tuple[str, Any]) -> list[Any]:
    kind, data = answer
    if kind != "OK":
        raise imaplib.IMAP4.error(
            b" ".join(one for one in data if isinstance(one, bytes)).decode("utf-8", "replace")
        )
    return list(data)


def _quoted(folder: str) -> str:
    """A folder's name as a quoted string; beyond ASCII in modified UTF-7 (RFC 3501 5.1.3)."""
    encoded = re.sub(
        r"[^ -~]+",
        lambda found: "&" + found[0].encode("utf-7").decode().strip("+-").replace("/", ",") + "-",
        folder.replace("&", "&-"),
    )
    return '"' + encoded.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _context(settings: MailboxSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(settings.ca) if settings.ca else None)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def open_mailbox(settings: MailboxSettings, size: int) -> Looker:
    return ImapMailbox(settings, size) if settings.protocol == "imap" else PopMailbox(settings, size)


class _Round:
    """One mailbox, when it is due next, and how it went."""

    def __init__(self, settings: MailboxSettings, size: int) -> None:
        self.settings = settings
        self.looker = open_mailbox(settings, size)
        self.due = 0.0
        self._pause = settings.interval

    def went(self, moment: float) -> None:
        self._pause = self.settings.interval
        self.due = moment + self._pause

    def failed(self, moment: float, error: BaseException) -> None:
        self._pause = min(self._pause * 2, max(_LONGEST_PAUSE, self.settings.interval))
        self.due = moment + self._pause
        facts.mailbox_failed(self.settings.name, str(error) or type(error).__name__, self._pause)


class Mailboxes:
    """Looks into all configured mailboxes while it leads. Made in a running event loop."""

    def __init__(self, context: Context, paths: ReturnPaths) -> None:
        ingest = context.settings.ingest
        self._database = context.database
        self._inbox = Inbox(context.database, context.queue)
        self._paths = paths
        self._rounds = [_Round(one, ingest.bounce_size) for one in ingest.mailboxes]
        self._owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                try:
                    if await self._leads():
                        await self.look()
                except Exception as error:
                    facts.fault("mailboxes", error)
                await asyncio.sleep(_TICK)
        finally:
            for one in self._rounds:
                one.looker.abort()
            with contextlib.suppress(Unavailable):
                await leader.resign(self._database, _JOB, self._owner)
            await self._inbox.close()

    async def look(self) -> None:
        """Look into those that are due."""
        due = [one for one in self._rounds if one.due <= self._loop.time()]
        if due:
            work = asyncio.gather(*(self._look_into(one) for one in due))
            while not work.done():
                # A slow server must not cost us the lead in the middle of its mails.
                await asyncio.wait([work], timeout=_LEASE / 4)
                await self._leads()
            work.result()

    async def _leads(self) -> bool:
        return await leader.lead(self._database, _JOB, self._owner, lease=_LEASE)

    async def _look_into(self, one: _Round) -> None:
        try:
            taken = await asyncio.to_thread(one.looker.look, lambda raw: self._take(one, raw))
        except Exception as error:
            # Servers can say what the libraries did not reckon with; that is no reason to ask them without a pause.
            one.failed(self._loop.time(), error)
            return
        one.went(self._loop.time())
        if taken:
            facts.mailbox_read(one.settings.name, taken)

    def _take(self, one: _Round, raw: bytes) -> bool:
        """In the thread that looks: keep the mail if it is ours; it is durable on return."""
        if not bouncemail.is_ours(raw, received_at=now(), paths=self._paths):
            return False
        put = self._inbox.put("bounce-mail", InboxKind.MAIL, raw, {"x-mailbox": one.settings.name})
        asyncio.run_coroutine_threadsafe(put, self._loop).result()
        return True


async def run(context: Context) -> None:
    """Look into the configured mailboxes until cancelled; returns at once where there are none."""
    ingest = context.settings.ingest
    if not ingest.mailboxes:
        return
    paths = ingest.return_paths(await context.secret())
    assert paths is not None  # the settings see to it
    await Mailboxes(context, paths).run()
