"""The end of data, and what arrives between: bytes in, the same bytes out, nothing else ends a mail."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.core.errors import BadMessage, Full, TooLarge
from relay.smtp.data import MAX_LINE, Content, DataReader, Limits, SpoolTail
from tests.smtp.door import Door

HEAD = b"From: app@example.org\r\nTo: rcpt@example.net\r\nSubject: x\r\n\r\n"

#: What has been taken for an end of data by one server or another; none of it is CRLF.CRLF.
NO_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\n.\x0b\r\n",
    b"\r\n.\x0c\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n \r\n.x\r\n",
    b"\n\n.\n\n",
    b"\n\n.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\r.\r\r",
    b"\r\n.\r\r\n",
    b"\x85.\x85",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\r\n\xef\xbc\x8e\r\n",
    b"\r\n..\r\n",
    b"\r\n.\x1a\r\n",
    b"\x1c.\x1c",
]


@pytest.mark.parametrize("form", NO_ENDS, ids=repr)
def test_only_crlf_dot_crlf_ends_a_mail(form: bytes, door: Door) -> None:
    client = door.ready()
    client.envelope()
    hidden = (
        b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nFrom: evil@b.c\r\n\r\nx"
    )
    client.mail(HEAD + b"before" + form + hidden + b"\r\n.\r\n")
    client.ask("NOOP", 250)
    client.close()
    (mail,) = door.stored()
    assert [r["address"] for r in mail["recipients"]] == ["rcpt@example.net"]
    body = mail["raw"].partition(b"\r\n\r\n")[2]
    assert hidden in body
    assert b"\r" not in body.replace(b"\r\n", b"")
    assert b"\n" not in body.replace(b"\r\n", b"")
    # A server that takes less for an end of data must find nothing to take: every dot that opens a line is stuffed
    # by whoever sends this on, and lines open after CRLF only.
    assert not body.startswith(b".")


def _read(wire: bytes, limits: Limits, sizes: Callable[[], int] = lambda: 65536) -> tuple[DataReader, bytes]:
    """A reader fed in pieces, and what is left in the buffer after the end."""
    reader = DataReader(limits)
    buffer = bytearray()
    position = 0
    while position < len(wire):
        size = sizes()
        buffer += wire[position : position + size]
        position += size
        if reader.feed(buffer):
            return reader, bytes(buffer) + wire[position:]
    raise AssertionError("no end of data was found")


def _octets(content: Content) -> bytes:
    data = content.head + b"".join(content.tail.chunks(1000))
    content.tail.close()
    return data


def _limits(tmp_path: Path, *, size: int = 10**8, header: int = 10**6, memory: int = 10**8) -> Limits:
    return Limits(size=size, header=header, memory=memory, spool=tmp_path)


def _stuff(data: bytes) -> bytes:
    data = data.replace(b"\r\n.", b"\r\n..")
    return (b"." + data if data.startswith(b".") else data) + b".\r\n"


@pytest.mark.parametrize("seed", range(40))
def test_bytes_survive_whatever_the_pieces(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    lines = [
        rng.choice([b"", b".", b"..", b".x", b"x." * rng.randrange(40), rng.randbytes(rng.randrange(80))])
        for _ in range(rng.choice([3, 50, 4000]))
    ]
    clean = [line.translate(None, b"\r\n\0") for line in lines]
    sent = HEAD + b"".join(line + b"\r\n" for line in clean)
    memory = rng.choice([0, 1000, 10**8])
    top = rng.choice([1, 3, 100, 70000])
    if len(sent) > 50000:
        top = max(top, 100)
    wire = _stuff(sent) + b"NEXT"
    reader, left = _read(wire, _limits(tmp_path, memory=memory), lambda: rng.randint(1, top))
    assert left.endswith(b"NEXT")
    content = reader.content()
    assert content.head == HEAD
    assert content.eight_bit == (not sent.isascii())
    assert _octets(content) == sent


@pytest.mark.parametrize("size", [1, 2, 7, 70000])
def test_bare_line_ends_become_crlf(size: int, tmp_path: Path) -> None:
    wire = b"From: a@b.c\nTo: x\n\none\n..stuffed\n.plain\r\n..both\r\r\nlone\rcr\r\n\n..\n\r\n.\r\nQUIT"
    reader, left = _read(wire, _limits(tmp_path), lambda: size)
    content = reader.content()
    assert content.head == b"From: a@b.c\r\nTo: x\r\n\r\n"
    assert _octets(content) == (
        b"From: a@b.c\r\nTo: x\r\n\r\none\r\n.stuffed\r\n.plain\r\n.both\r\nlone cr\r\n\r\n.\r\n\r\n"
    )
    assert b"QUIT".startswith(left[:4])


def test_bare_line_ends_are_the_same_across_blocks(tmp_path: Path) -> None:
    rng = random.Random(7)
    alphabet = [b"\r", b"\n", b"\r\n", b".", b"..", b"x" * 50, b"\r\r\n", b"\n."]
    raw = HEAD + b"".join(rng.choice(alphabet) for _ in range(60000))
    wire = raw.replace(b"\r\n.\r\n", b"\r\nx\r\n") + b"end\r\n.\r\n"
    whole = _octets(_read(wire, _limits(tmp_path), lambda: len(wire))[0].content())
    pieces = _octets(_read(wire, _limits(tmp_path), lambda: rng.randint(1, 90000))[0].content())
    assert whole == pieces
    assert b"\r" not in whole.replace(b"\r\n", b"")
    assert b"\n" not in whole.replace(b"\r\n", b"")


def test_a_large_mail_is_spooled_to_a_nameless_file(tmp_path: Path) -> None:
    body = b"".join(b"%076d\r\n" % number for number in range(20000))
    reader, _ = _read(HEAD + body + b".\r\n", _limits(tmp_path, memory=100_000))
    content = reader.content()
    assert isinstance(content.tail, SpoolTail)
    assert content.tail.size == len(body)
    assert not list(tmp_path.iterdir())
    assert b"".join(content.tail.chunks(5000)) == body
    assert b"".join(content.tail.chunks(10**9)) == body
    content.tail.close()
    content.tail.close()


def test_a_mail_at_the_size_limit_is_taken_and_one_octet_more_is_not(tmp_path: Path) -> None:
    mail = HEAD + b"..x\r\n" * 50000
    stored = len(mail) - 50000
    wire = mail + b".\r\n"
    assert len(_octets(_read(wire, _limits(tmp_path, size=stored))[0].content())) == stored
    with pytest.raises(TooLarge):
        _read(wire, _limits(tmp_path, size=stored - 1))[0].content()


def test_what_never_ends_is_bounded(tmp_path: Path) -> None:
    reader = DataReader(_limits(tmp_path, size=1_000_000))
    buffer = bytearray()
    fed = 0
    while not reader.overrun:
        buffer += b"x" * 65536
        fed += 65536
        assert not reader.feed(buffer)
        assert len(buffer) <= MAX_LINE + 2 * 65536
        assert fed < 4_000_000
    with pytest.raises(BadMessage):
        reader.content()


@pytest.mark.parametrize("pieces", [1000, 65536, 10**7])
def test_the_longest_line(pieces: int, tmp_path: Path) -> None:
    longest = HEAD + b"x" * MAX_LINE + b"\r\n"
    content = _read(longest + b".\r\n", _limits(tmp_path), lambda: pieces)[0].content()
    assert _octets(content) == longest
    with pytest.raises(BadMessage):
        _read(HEAD + b"x" * (MAX_LINE + 1) + b"\r\n.\r\n", _limits(tmp_path), lambda: pieces)[0].content()


def test_a_run_of_cr_costs_no_more_than_other_octets(tmp_path: Path) -> None:
    reader, _ = _read(HEAD + b"\r" * 60000 + b"x\r\n.\r\n", _limits(tmp_path))
    assert _octets(reader.content()) == HEAD + b" " * 60000 + b"x\r\n"


def test_a_header_block_without_an_end_is_all_header(tmp_path: Path) -> None:
    content = _read(b"From: a@b.c\r\nSubject: x\r\n.\r\n", _limits(tmp_path))[0].content()
    assert content.head == b"From: a@b.c\r\nSubject: x\r\n"
    assert content.tail.size == 0


def test_a_full_disk_refuses_the_mail_for_now(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.fail("this test needs /dev/full")
    limits = _limits(tmp_path, memory=10)
    reader = DataReader(limits)
    reader._file = full.open("wb", buffering=0)
    buffer = bytearray(HEAD + b"x\r\n.\r\n")
    assert reader.feed(buffer)
    with pytest.raises(Full):
        reader.content()
