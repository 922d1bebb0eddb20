"""DKIM signatures (RFC 6376) without the cryptography: what is hashed, what is signed, how the field is written.

Canonicalisation is relaxed/relaxed throughout: folding and blanks may change on the way, words may not.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from relay.core import mime
from relay.core.mime import Field

#: fields worth protecting (RFC 6376 5.4.1), as far as a mail has them
_SIGNED = (
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"list-id",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
)
#: fields of which nobody may add one more: signed once oftener than they are there (RFC 6376 8.15)
_CLOSED = frozenset({b"from", b"reply-to", b"to", b"cc", b"subject", b"date", b"content-type"})

_RUNS = re.compile(rb"[ \t]{2,}|\t")
_BLANKS = re.compile(rb"[ \t\r\n]+")
_LINE = 72


class BodyHash:
    """The hash of a relaxed body (RFC 6376 3.4.4), fed in pieces of any size."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rest = b""
        self._empty_lines = 0
        self._any = False

    def update(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        self._lines(data[:end])

    def digest(self) -> bytes:
        if self._rest:
            rest, self._rest = self._rest, b""
            self._lines(rest + b"\r\n")
        return self._hash.digest()

    def _lines(self, data: bytes) -> None:
        if b"  " in data or b"\t" in data:
            data = _RUNS.sub(b" ", data)
        data = data.replace(b" \r\n", b"\r\n")
        kept = data.rstrip(b"\r\n")
        if kept:
            self._hash.update(b"\r\n" * self._empty_lines)
            self._hash.update(kept + b"\r\n")
            self._empty_lines = (len(data) - len(kept)) // 2 - 1
        else:
            self._empty_lines += len(data) // 2


def signature(
    head: bytes,
    body_hash: bytes,
    *,
    algorithm: str,
    domain: str,
    selector: str,
    at: int,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """The DKIM-Signature field for a mail with this header block, with its line end.

    `algorithm` is `rsa-sha256` or `ed25519-sha256`; `sign` gets the octets to be signed; `at` is in Unix seconds.
    """
    by_name: dict[bytes, list[Field]] = {}
    for field in mime.scan(head):
        by_name.setdefault(field.name, []).append(field)
    names = list(_names(by_name))
    written = (
        f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector};\r\n"
        f"\tt={at}; h={_folded(names)};\r\n"
        f"\tbh={base64.b64encode(body_hash).decode()};\r\n"
        "\tb="
    ).encode("ascii")
    name, _, value = written.partition(b":")
    signed = [*_canonical(head, by_name, names), _relaxed(name, value)]
    value = base64.b64encode(sign(b"\r\n".join(signed)))
    lines = [value[start : start + _LINE] for start in range(0, len(value), _LINE)]
    return written + b"\r\n\t ".join(lines) + b"\r\n"


def _names(by_name: Mapping[bytes, Sequence[Field]]) -> Iterable[bytes]:
    for name in _SIGNED:
        count = len(by_name.get(name, ()))
        yield from [name] * (count + (name in _CLOSED))


def _canonical(
    head: bytes, by_name: Mapping[bytes, Sequence[Field]], names: Sequence[bytes]
) -> Iterable[bytes]:
    """The signed fields in order; of several of one name the last comes first (RFC 6376 5.4.2)."""
    taken: dict[bytes, int] = {}
    for name in names:
        fields = by_name.get(name, ())
        number = taken[name] = taken.get(name, 0) + 1
        if number <= len(fields):
            field = fields[-number]
            yield _relaxed(name, head[field.colon + 1 : field.end])


def _relaxed(name: bytes, value: bytes) -> bytes:
    """RFC 6376 3.4.2, less the line end."""
    return name.lower().rstrip() + b":" + _BLANKS.sub(b" ", value).strip()


def _folded(names: Sequence[bytes]) -> str:
    lines = [""]
    for name in names:
        word = name.decode() + ":"
        if len(lines[-1]) + len(word) > _LINE:
            lines.append("")
        lines[-1] += word
    return "\r\n\t ".join(lines).removesuffix(":")
