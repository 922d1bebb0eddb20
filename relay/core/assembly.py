"""The tail of a mail made of parts, some of which lie in files and are encoded only while they are read."""

import base64
from collections.abc import Iterator, Sequence

from relay.core.message import Tail

_LINE = 57  # octets that make a line of 76 characters, RFC 2045 6.8
_BLOCK = _LINE * 1024


class Encoded:
    """A file's contents in base64, without ever being in memory whole."""

    __slots__ = ("_content",)

    def __init__(self, content: Tail) -> None:
        self._content = content

    @property
    def size(self) -> int:
        octets = self._content.size
        return -(-octets // 3) * 4 + -(-octets // _LINE) * 2

    def blocks(self) -> Iterator[bytes]:
        rest = b""
        for piece in self._content.chunks(_BLOCK):
            data = rest + piece if rest else piece
            whole = len(data) - len(data) % _LINE
            if whole:
                yield _lines(data[:whole])
            rest = data[whole:]
        if rest:
            yield _lines(rest)

    def close(self) -> None:
        self._content.close()


Piece = bytes | Encoded


def _lines(data: bytes) -> bytes:
    text = base64.b64encode(data)
    return b"\r\n".join([text[start : start + 76] for start in range(0, len(text), 76)]) + b"\r\n"


class Assembly:
    """A tail from pieces in order."""

    __slots__ = ("_pieces", "size")

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self.size = sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in pieces)

    def chunks(self, size: int) -> Iterator[bytes]:
        waiting = bytearray()
        for block in self._blocks():
            waiting += block
            while len(waiting) >= size:
                yield bytes(memoryview(waiting)[:size])
                del waiting[:size]
        if waiting:
            yield bytes(waiting)

    def _blocks(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece.blocks()

    def close(self) -> None:
        for piece in self._pieces:
            if isinstance(piece, Encoded):
                piece.close()
        self._pieces = ()
