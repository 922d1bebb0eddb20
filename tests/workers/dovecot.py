"""A mailbox of Dovecot's on loopback, by IMAP and POP3, from Debian's packages: unpacked, not installed.

Its processes for mailboxes run where they were unpacked; those for logging in do not. So logging in, with or without
TLS, is done here, and what comes after goes to the real thing.
"""

import contextlib
import grp
import os
import pwd
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import debian, services

_PACKAGES = (
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-pop3d",
    "libapparmor1",
    "libexttextcat-2.0-0",
    "liblua5.4-0",
    "libsodium23",
    "libstemmer0d",
    "libtirpc3",
    "libunwind8",
    "libwrap0",
)

USER, PASSWORD = "bounces", "open sesame"

_CONFIGURATION = """
base_dir = {directory}/run
log_path = {directory}/log
mail_plugin_dir = {root}/usr/lib/dovecot/modules
mail_location = maildir:{directory}/mail
mail_uid = {owner.pw_uid}
mail_gid = {owner.pw_gid}
mail_access_groups = {group}
first_valid_uid = 1
first_valid_gid = 1
ssl = no
stats_writer_socket_path =
"""


class Dovecot:
    """`ports` by protocol and kind of TLS; mail is put into the mailbox with `drop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: dict[tuple[str, str], int] = {}

    def drop(self, *mails: bytes) -> None:
        """Deliver mails to the mailbox, as a server would."""
        for number, raw in enumerate(mails):
            name = f"{time.time_ns()}.{number}.test"
            path = self.directory / "mail" / "tmp" / name
            path.write_bytes(raw.replace(b"\r\n", b"\n"))
            path.chmod(0o666)
            path.rename(self.directory / "mail" / "new" / name)

    def held(self, folder: str = "") -> int:
        """How many mails are in a folder."""
        place = self.directory / "mail" / (f".{folder}" if folder else "")
        return sum(1 for kind in ("new", "cur") if (place / kind).is_dir() for _ in (place / kind).iterdir())


@contextlib.contextmanager
def running(context: ssl.SSLContext) -> Iterator[Dovecot]:
    """A server until the end. Fails the test when Dovecot cannot be had."""
    reader = debian.tool("doveconf", *_PACKAGES)
    directory = services.short_directory("pb-dc-")
    server = Dovecot(directory)
    # It does not serve root's mail, so what root starts works for nobody.
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    for folder in ("new", "cur", "tmp"):
        (directory / "mail" / folder).mkdir(parents=True)
    if os.getuid() == 0:
        for path in (directory, directory / "mail", *(directory / "mail").iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    root = reader.parents[2]
    configuration = directory / "dovecot.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            directory=directory, root=root, owner=owner, group=grp.getgrgid(owner.pw_gid).gr_name
        )
    )
    environment = debian.environment() | {"USER": USER, "HOME": str(directory)}
    environment["LD_LIBRARY_PATH"] += f":{root}/usr/lib/dovecot"

    def start(protocol: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [reader, "-c", configuration, "-m", protocol, "-e", root / "usr/lib/dovecot" / protocol],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    try:
        with contextlib.ExitStack() as stack:
            for protocol in ("imap", "pop3"):
                for tls in ("none", "implicit", "starttls"):
                    door = stack.enter_context(_listening(_Login(protocol, tls, context, start).serve))
                    server.ports[protocol, tls] = door
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(60)
            with contextlib.suppress(OSError):
                serve(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Login:
    """Greeting, TLS and password, after which a mailbox's own process speaks."""

    def __init__(self, protocol: str, tls: str, context: ssl.SSLContext, start: Callable[[str], Any]) -> None:
        self._protocol = protocol
        self._tls = tls
        self._context = context
        self._start = start

    def serve(self, client: socket.socket) -> None:
        if self._tls == "implicit":
            client = self._context.wrap_socket(client, server_side=True)
        try:
            client.sendall(b"* OK ready\r\n" if self._protocol == "imap" else b"+OK ready\r\n")
            answer = self._imap if self._protocol == "imap" else self._pop3
            logged_in, client = answer(client, offers=self._tls == "starttls")
            if logged_in:
                self._hand_over(client, logged_in)
        finally:
            client.close()

    def _imap(self, client: socket.socket, *, offers: bool) -> tuple[bytes, socket.socket]:
        while line := _line(client):
            tag, _, command = line.partition(b" ")
            verb = command.upper()
            if verb == b"CAPABILITY":
                client.sendall(b"* CAPABILITY IMAP4rev1%s\r\n" % (b" STARTTLS" if offers else b""))
            elif verb == b"STARTTLS" and offers:
                client.sendall(tag + b" OK begin\r\n")
                client, offers = self._context.wrap_socket(client, server_side=True), False
                continue
            elif verb.startswith(b"LOGIN "):
                if not offers and command[6:] == f'{USER} "{PASSWORD}"'.encode():
                    return tag + b" OK Logged in\r\n", client
                client.sendall(tag + b" NO Authentication failed.\r\n")
                continue
            client.sendall(tag + b" OK done\r\n")
        return b"", client

    def _pop3(self, client: socket.socket, *, offers: bool) -> tuple[bytes, socket.socket]:
        user = b""
        while line := _line(client):
            verb, _, rest = line.partition(b" ")
            if verb == b"CAPA":
                client.sendall(b"+OK\r\nUSER\r\n%s.\r\n" % (b"STLS\r\n" if offers else b""))
            elif verb == b"STLS" and offers:
                client.sendall(b"+OK begin\r\n")
                client, offers = self._context.wrap_socket(client, server_side=True), False
            elif verb == b"PASS" and (offers or (user, rest) != (USER.encode(), PASSWORD.encode())):
                client.sendall(b"-ERR Authentication failed.\r\n")
            elif verb == b"PASS":
                return b"+OK Logged in.\r\n", client
            else:
                user = rest
                client.sendall(b"+OK\r\n")
        return b"", client

    def _hand_over(self, client: socket.socket, reply: bytes) -> None:
        with self._start(self._protocol) as mailbox:
            assert mailbox.stdout is not None
            if self._protocol == "imap":
                # Its greeting says that it knows who is there.
                mailbox.stdout.readline()
            client.sendall(reply)
            _carry(client, mailbox)


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        more = connection.recv(1)
        if not more:
            return b""
        line += more
    return line.strip()


def _carry(client: socket.socket, mailbox: subprocess.Popen[bytes]) -> None:
    """Pass octets both ways until either side is done. By one thread: TLS does not take two."""
    given, told = mailbox.stdin, mailbox.stdout
    assert given is not None
    assert told is not None
    with given:
        while True:
            pending = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if pending else select.select([client, told], [], [], 60)[0]
            for one in ready:
                data = client.recv(65536) if one is client else os.read(told.fileno(), 65536)
                if not data:
                    return
                if one is client:
                    given.write(data)
                    given.flush()
                else:
                    client.sendall(data)
            if not ready:
                return
