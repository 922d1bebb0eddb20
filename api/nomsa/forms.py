"""multipart/form-data as it arrives: fields and files by the contract's rules, whatever its length."""

import re
from email.utils import decode_rfc2231
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.nomsa.spool import Slice, Spool, Upload
from relay.core.errors import Malformed

#: parts of one form
_MAX_PARTS = 1000
#: characters of a field's name
_MAX_NAME = 200
FILES = "attachments"
#: octets kept of a field beyond its bound: even without a character that was cut in two it is seen to be too long
_OVER = 5
_EXTENDED = re.compile(rb';\s*filename\*\s*=\s*"?([^;"]+)', re.IGNORECASE)


class FormReader:
    """Feed it the body, then ask for the fields. Files under any other name than `files` are left out."""

    def __init__(
        self, boundary: bytes, spool: Spool, *, max_field: int, max_files: int, files: str = FILES
    ) -> None:
        """Of each field a little more than `max_field` octets are kept, of the files `max_files` together."""
        self._named = files
        self._spool = spool
        self._max_field = max_field
        self._max_files = max_files
        self._texts: list[tuple[str, Slice]] = []
        self._files: list[Upload] = []
        self._file_octets = 0
        self._parts = 0
        self._ended = False
        self._header: list[bytes] = []
        self._field = b""
        self._disposition = b""
        self._upload: Upload | None = None
        self._name: str | None = None
        self._start = self._kept = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part,
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_header_field": self._header_piece,
                    "on_header_value": self._header_piece,
                    "on_header_begin": self._header_begin,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise Malformed from None

    def feed(self, data: bytes) -> None:
        """Raises `Malformed` for what is no form."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise Malformed from None

    def fields(self) -> dict[str, Any]:
        """Text by name, a list where a name came more than once, and the files. Raises `Malformed` before the end."""
        if not self._ended:
            raise Malformed
        fields: dict[str, Any] = {}
        for name, text in self._texts:
            try:
                value = text.whole().decode()
            except UnicodeDecodeError as error:
                # Cut at the bound, perhaps in the middle of a character.
                if text.size <= self._max_field or error.reason != "unexpected end of data":
                    raise Malformed from None
                value = text.whole().decode("utf-8", "ignore")
            if name not in fields:
                fields[name] = value
            elif isinstance(fields[name], list):
                fields[name].append(value)
            else:
                fields[name] = [fields[name], value]
        if self._files:
            fields[self._named] = self._files
        return fields

    def _part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise Malformed
        self._disposition = b""
        self._upload = None
        self._name = None

    def _header_begin(self) -> None:
        self._header = []

    def _header_piece(self, data: bytes, start: int, end: int) -> None:
        self._header.append(data[start:end])

    def _header_end(self) -> None:
        # The parser leaves the colon out, and a field's name has no pieces that could look like a value's.
        line = b"".join(self._header)
        if line[:19].lower() == b"content-disposition":
            self._disposition = line[19:]

    def _headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if kind != b"form-data" or name is None or len(name) > _MAX_NAME:
            raise Malformed
        written = _text(name)
        filename = _filename(self._disposition, options)
        if filename is None:
            self._name = written
            self._start, self._kept = self._spool.size, 0
        elif written == self._named:
            self._upload = Upload(self._spool, filename, self._max_files - self._file_octets)
            self._files.append(self._upload)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._upload is not None:
            self._upload.write(data[start:end])
        elif self._name is not None:
            piece = data[start : min(end, start + self._max_field + _OVER - self._kept)]
            self._kept += len(piece)
            self._spool.write(piece)

    def _part_end(self) -> None:
        if self._upload is not None:
            self._file_octets = min(self._max_files, self._file_octets + self._upload.size)
        elif self._name is not None:
            self._texts.append((self._name, Slice(self._spool, self._start, self._kept)))

    def _end(self) -> None:
        self._ended = True


def boundary_of(content_type: bytes) -> bytes | None:
    _, options = parse_options_header(content_type)
    return options.get(b"boundary") or None


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """What the part calls its file; None for a part that is no file.

    RFC 7578 has no `filename*`, but older clients send nothing else for international names.
    """
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        charset, _, value = decode_rfc2231(_text(extended[1]))
        try:
            return unquote_to_bytes(value or "").decode(charset or "utf-8", "replace")
        except LookupError:
            return value
    given = options.get(b"filename")
    return None if given is None else _text(given)
