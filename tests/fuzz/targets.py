"""What is fuzzed at the SMTP door: functions of octets that raise when something is wrong."""

import asyncio
import contextlib
import itertools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from relay.core import controls, mime
from relay.core.address import InvalidAddress, normalise, parse_mailboxes
from relay.core.clock import now
from relay.core.dkim import BodyHash
from relay.core.errors import BadMessage, Refused, Unauthenticated
from relay.core.event import EventKind
from relay.core.identity import Identity
from relay.core.message import Accepted, Submission
from relay.core.return_path import ReturnPaths
from relay.sections import ListenerSettings, SmtpSettings
from relay.smtp import proxy
from relay.smtp.connection import Connection
from relay.smtp.data import ChunkReader, DataReader, Limits
from relay.smtp.service import Listener, Service
from relay.throttle import Throttle
from relay.tracking import bouncemail

Target = Callable[[bytes], None]

_SPOOL = Path(tempfile.gettempdir())
_LIMITS = Limits(size=200_000, header=10**6, memory=100_000, spool=_SPOOL)


def addresses(data: bytes) -> None:
    """Parsed addresses are strict, stable and printable."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = [normalise(text)]
    except InvalidAddress:
        found = []
    with contextlib.suppress(InvalidAddress):
        found += [box.address for box in parse_mailboxes(text)]
    for address in found:
        assert normalise(address) == address, address
        assert address.isprintable(), address
        assert address.encode()
        local, _, domain = address.rpartition("@")
        assert local, address
        assert re.search(r"[<>\s@,;:()\[\]\"\\]", domain) is None, address


def header_edits(data: bytes) -> None:
    """The header block is cut where fields end; removing fields removes these and nothing else."""
    data = _lines(data)
    end = mime.split_head(data)
    head = data[:end]
    fields = mime.scan(head)
    position = 0
    for field in fields:
        assert field.start == position, "a gap between fields"
        assert head[field.start : field.colon].rstrip().lower() == field.name
        position = field.end
        mime.text_value(head, (field,), field.name)
        assert "\r" not in mime.value(head, field).strip("\r") or b"\r" in head.replace(b"\r\n", b"")
    assert head[position:] in {b"", b"\r\n"}, "something that is no field is left in the block"
    names = frozenset(field.name for field in fields[::2])
    kept = mime.without(head, fields, names)
    assert {field.name for field in mime.scan(kept)} == {f.name for f in fields} - names
    assert kept == b"".join(head[f.start : f.end] for f in fields if f.name not in names) + head[position:]


def data_reader(data: bytes) -> None:
    """What is read is what an oracle reads, in whatever pieces it came, and nothing else ends it."""
    wire = data + b"\r\n.\r\nNEXT"
    whole = _read(DataReader(_LIMITS), wire, len(wire))
    pieces = _read(DataReader(_LIMITS), wire, _step(data))
    assert _same(whole, pieces), "the pieces matter"
    content = (b"\r\n" + wire).partition(b"\r\n.\r\n")[0][2:]
    expected = _oracle(content + b"\r\n" if content or not wire.startswith(b".\r\n") else b"")
    if isinstance(whole, bytes):
        assert whole == expected[mime.mailbox_line(expected) :]
        assert whole.count(b"\r") == whole.count(b"\n") == whole.count(b"\r\n")
    else:
        assert b"\0" in expected or len(expected) > 90_000, whole


def chunk_reader(data: bytes) -> None:
    """Chunks cut anywhere make the same mail, and the one that DATA makes of the stuffed octets."""
    results = []
    for size in (len(data) + 1, _step(data)):
        reader = ChunkReader(_LIMITS)
        for start in range(0, len(data), size):
            reader.add(data[start : start + size])
        reader.finish()
        results.append(_content(reader))
    assert _same(*results), "the pieces matter"
    if isinstance(results[0], bytes) and b"\r" not in data.replace(b"\r\n", b"") and _crlf(data):
        body = data if data.endswith(b"\r\n") or not data else data + b"\r\n"
        stuffed = body.replace(b"\r\n.", b"\r\n..")
        stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
        assert _read(DataReader(_LIMITS), stuffed + b".\r\nNEXT", 4096) == results[0]


def control_fields(data: bytes) -> None:
    """Controls are read or refused."""
    head = _lines(data)
    head = head[: mime.split_head(head)]
    by_name: dict[bytes, list[mime.Field]] = {}
    for field in mime.scan(head):
        by_name.setdefault(field.name, []).append(field)
    try:
        wanted = controls.read(head, by_name, providers=frozenset({"capture"}))
    except BadMessage:
        return
    assert wanted.tag is None or wanted.tag.isprintable()
    assert len(wanted.metadata) <= 50


def proxy_header(data: bytes) -> None:
    """A header is taken, waited for or refused; what follows it stays."""
    buffer = bytearray(data)
    try:
        address = proxy.take(buffer)
    except proxy.BadHeader:
        return
    assert data.endswith(bytes(buffer))
    if address is None:
        assert bytes(buffer) == data
        assert len(data) < 5000, "waiting for ever"


def body_hash(data: bytes) -> None:
    """The pieces of a body do not matter to its hash."""
    data = _lines(data)
    whole, pieces = BodyHash(), BodyHash()
    whole.update(data)
    for start in range(0, len(data), 3):
        pieces.update(data[start : start + 3])
    assert whole.digest() == pieces.digest()


class _Transport:
    """Takes what is written and remembers that it was closed."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class _World:
    """A door without sockets, with one key (`key`), remembering what was handed in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.taken: list[bytes] = []
        self._ids = itertools.count(1)
        self.identity = Identity(1, 1, "a", None, frozenset({"send"}), None, ("example.org",))
        self.service = Service(
            settings=SmtpSettings(hostname="mx.example.org", auth_delay=0, max_size=_LIMITS.size),
            hostname="mx.example.org",
            limits=_LIMITS,
            intake=self,
            authenticator=self,  # type: ignore[arg-type]
            suppressions=self,  # type: ignore[arg-type]
            loop=self.loop,
            throttle=Throttle(failures=10**9, lock=1),
            space=SimpleNamespace(full=False, check=lambda: None),  # type: ignore[arg-type]
            providers=frozenset({"capture"}),
        )
        self.listener = Listener(ListenerSettings(), None)

    async def accept(self, submission: Submission) -> Accepted:
        raw = submission.head + b"".join(submission.tail.chunks(65536))
        self.taken.append(raw)
        assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n"), "a stray line end was taken"
        head = raw[: mime.split_head(raw)]
        names = [field.name for field in mime.scan(head)]
        assert names.count(b"from") == 1
        assert b"bcc" not in names
        assert not any(name.startswith(b"x-pillarbox-") for name in names)
        assert self.identity.may_send_as(submission.from_.rpartition("<")[2].rstrip(">"))
        assert 1 <= len(submission.recipients) <= 100
        return Accepted(next(self._ids), now())

    async def identify(self, secret: str, _peer: str | None = None) -> Identity:
        if secret != "key":
            raise Unauthenticated
        return self.identity

    def knows(self, _account_id: int) -> bool:
        return True

    def check_known(self, _account_id: int, address: str) -> None:
        if address.startswith("suppressed"):
            raise Refused


_world: _World | None = None
_REPLY = re.compile(rb"(?:\d\d\d[ -][ -~]*\r\n)*\Z")


def dialogue(data: bytes) -> None:
    """Whatever a client sends, it gets well-formed replies, and nothing is taken from nobody."""
    global _world
    if _world is None:
        _world = _World()
    world, transport = _world, _Transport()
    taken = len(world.taken)
    connection = Connection(world.service, world.listener)
    connection.connection_made(transport)  # type: ignore[arg-type]
    step = 1 + (data[0] if data else 0) * 16
    for start in range(0, len(data), step):
        if transport.closed:
            break
        connection.data_received(data[start : start + step])
        while world.service.work:
            world.loop.run_until_complete(asyncio.wait(world.service.work))
        world.loop.run_until_complete(asyncio.sleep(0))
    connection.connection_lost(None)
    said = bytes(transport.written)
    assert _REPLY.match(said), said[-300:]
    assert b"something went wrong" not in said, "an exception was met"
    assert said.count(b"queued as") == len(world.taken) - taken
    if len(world.taken) > taken:
        assert b"235 " in said
    assert not world.service.connections
    assert not world.service.by_account


_PATHS = ReturnPaths(b"fuzz", "bounce.example.org")
_HOME = _PATHS.make(1, 2, now())


def bounce_mail(data: bytes) -> None:
    """Whatever comes to a return path is read, says something sensible, and nothing without one is believed."""
    for report in bouncemail.read(data, envelope_to=_HOME, received_at=now(), paths=_PATHS):
        assert report.token == "1.2"
        assert (report.bounce is not None) == (report.kind is EventKind.BOUNCED)
        assert report.at <= now()
    assert list(bouncemail.read(data, envelope_to=None, received_at=now(), paths=_PATHS)) == []


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (
        addresses,
        header_edits,
        data_reader,
        chunk_reader,
        control_fields,
        proxy_header,
        body_hash,
        dialogue,
        bounce_mail,
    )
}


def _lines(data: bytes) -> bytes:
    """With line ends as the door makes them."""
    return (
        re.sub(rb"\r*\n", b"\r\n", data).replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    )


def _step(data: bytes) -> int:
    """A size of pieces that differs from input to input and does not take all day."""
    return 1 + len(data) % 7 + len(data) // 500


def _same(one: bytes | str, other: bytes | str) -> bool:
    """The same mail; or refused both, for whichever of its faults was met first."""
    return one == other if isinstance(one, bytes) or isinstance(other, bytes) else True


def _crlf(data: bytes) -> bool:
    return data.count(b"\n") == data.count(b"\r\n")


def _oracle(data: bytes) -> bytes:
    """Line by line and slowly, what `clean` does with expressions over blocks."""
    out = bytearray()
    after_crlf = True
    while data:
        line, end, data = data.partition(b"\n")
        body = line.rstrip(b"\r") if end else line
        if body.startswith(b".") if after_crlf else body.startswith(b".."):
            body = body[1:]
        after_crlf = line.endswith(b"\r")
        out += body.replace(b"\r", b" ") + (b"\r\n" if end else b"")
    return bytes(out)


def _read(reader: DataReader, wire: bytes, size: int) -> bytes | str:
    buffer = bytearray()
    for start in range(0, len(wire), size):
        buffer += wire[start : start + size]
        if reader.feed(buffer):
            return _content(reader)
    raise AssertionError("no end was found")


def _content(reader: DataReader | ChunkReader) -> bytes | str:
    try:
        content = reader.content()
    except Refused as error:
        return error.message
    data = content.head + b"".join(content.tail.chunks(1000))
    content.tail.close()
    return data
