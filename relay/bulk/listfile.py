"""A list as CSV (RFC 4180), read in steps of whole records from anywhere between two of them.

Strict where guessing would write to the wrong people: what is no text of the encoding, a quote that does not end, a
header without the column that matters. Lenient where nothing is lost: any line ends, a byte order mark, blank lines,
semicolons and tabs as spreadsheets write them.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relay.templates.render import is_name

RECIPIENT = "recipient"
DELIMITERS = (",", ";", "\t", "|")
#: what a list may be written in, by the name for it in requests
ENCODINGS = {"utf-8": "utf-8", "latin-1": "latin-1", "windows-1252": "cp1252"}
#: octets of one record
MAX_RECORD = 64 * 1024
MAX_COLUMNS = 200
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)")


class BadList(Exception):
    """The list cannot be read any further; says where and why, in words for its owner."""


@dataclass(frozen=True, slots=True)
class Notation:
    """How a list is written."""

    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(slots=True)
class Records:
    """Whole records from the beginning of some octets, and how many octets they were."""

    fields: list[list[str]]
    consumed: int
    #: where each of them ends
    ends: list[int]


class _Lines:
    """The lines of some octets as text, counted as they are taken."""

    def __init__(self, data: bytes, encoding: str, *, at_end: bool) -> None:
        self._data = data
        self._encoding = encoding
        self._at_end = at_end
        self.position = self.start = 0
        #: there was no further line when one was asked for
        self.exhausted = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._next()
        if line is None:
            self.exhausted = True
            raise StopIteration
        if self.position - self.start > MAX_RECORD:
            raise BadList(f"is longer than {MAX_RECORD} octets; perhaps a quote does not end")
        text = line.rstrip(b"\r\n")
        try:
            return text.decode(self._encoding) + ("\n" if len(text) != len(line) else "")
        except UnicodeDecodeError as error:
            bad = text[error.start]
            raise BadList(
                f"is not {self._encoding}: octet 0x{bad:02x} at {error.start + 1} in its line; "
                "save the list as CSV UTF-8, or name its encoding"
            ) from None

    def _next(self) -> bytes | None:
        found = _LINE.match(self._data, self.position)
        if found is not None:
            end = found.end()
            if end == len(self._data) and not self._at_end and found[0].endswith(b"\r"):
                return None  # its LF may come next
            self.position = end
            return found[0]
        if not self._at_end or self.position == len(self._data):
            if len(self._data) - self.start > MAX_RECORD:
                raise BadList(f"is longer than {MAX_RECORD} octets; perhaps a quote does not end")
            return None
        rest = self._data[self.position :]
        self.position = len(self._data)
        return rest


def records(data: bytes, notation: Notation, *, at_end: bool, limit: int, first: int = 1) -> Records:
    """Up to `limit` records; `at_end` says that nothing comes after `data`. Blank lines count for nothing.

    Raises `BadList`, with the number of the record counted from `first`, where the list cannot be read.
    """
    lines = _Lines(data, notation.encoding, at_end=at_end)
    reader = csv.reader(lines, delimiter=notation.delimiter, strict=True)
    found = Records([], 0, [])
    while len(found.fields) < limit:
        lines.start = lines.position
        try:
            fields = next(reader)
        except StopIteration:
            break
        except BadList as error:
            raise BadList(f"{_which(first + len(found.fields))} {error}") from None
        except csv.Error as error:
            if lines.exhausted and not at_end:
                break
            why = "a quote does not end" if lines.exhausted else str(error)
            raise BadList(f"{_which(first + len(found.fields))} cannot be read: {why}") from None
        found.consumed = lines.position
        if fields:
            found.fields.append(fields)
            found.ends.append(found.consumed)
    return found


def _which(number: int) -> str:
    return f"row {number}" if number else "the header"


def opening(data: bytes, encoding: str) -> int:
    """How many octets of a byte order mark to leave out. Raises `BadList` for what is no text of eight bits."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:1024]:
        raise BadList("the list is not CSV, or is UTF-16: save it as CSV UTF-8")
    return len(codecs.BOM_UTF8) if encoding == "utf-8" and data.startswith(codecs.BOM_UTF8) else 0


def header(
    data: bytes, wanted: Mapping[str, str], *, encoding: str, delimiter: str | None, at_end: bool
) -> tuple[list[str | None], str, int]:
    """What each column is: a variable's name, `recipient`, or nothing; the delimiter; and the octets it took.

    `wanted` has the column's name for a variable that is called otherwise. Raises `BadList`.
    """
    column = wanted.get(RECIPIENT, RECIPIENT)
    shown = ""
    for one in (delimiter,) if delimiter else DELIMITERS:
        found = records(data, Notation(one, encoding), at_end=at_end, limit=1, first=0)
        if not found.fields:
            raise BadList("the list is empty")
        names = [name.strip() for name in found.fields[0]]
        shown = shown or ", ".join(names)[:200]
        if column in names:
            return _columns(names, wanted), one, found.consumed
    raise BadList(f'the header has no column "{column}"; it has: {shown}')


def _columns(names: Sequence[str], wanted: Mapping[str, str]) -> list[str | None]:
    if len(names) > MAX_COLUMNS:
        raise BadList(f"the header has more than {MAX_COLUMNS} columns")
    called = {column: variable for variable, column in wanted.items()}
    for column in called:
        if column not in names:
            raise BadList(f'the header has no column "{column[:100]}"')
    found: list[str | None] = []
    for name in names:
        variable = called.get(name, name)
        found.append(variable if is_name(variable) else None)
        if name and names.count(name) > 1:
            raise BadList(f'the header has the column "{name[:100]}" twice')
        if found[-1] is not None and found.count(variable) > 1:
            raise BadList(f'two columns are called "{variable[:100]}"')
    return found
