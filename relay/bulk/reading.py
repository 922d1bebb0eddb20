"""From octets of a list to rows that are known to make a mail, or why not."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.bulk import listfile
from relay.bulk.listfile import RECIPIENT, BadList, Notation
from relay.bulk.wish import Wish
from relay.core.address import InvalidAddress, normalise
from relay.core.errors import Refused
from relay.store.batches import Row
from relay.templates import Template
from relay.templates.render import check_variables

#: rows of one step, and seconds after which it takes no further one: some templates take their time
STEP = 500
SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """How far a list was read."""

    offset: int = 0
    rows: int = 0
    columns: Sequence[str | None] | None = None
    delimiter: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Some rows, and how far the list is read with them."""

    rows: Sequence[Row]
    place: Place


def read(data: bytes, place: Place, wish: Wish, template: Template, *, at_end: bool) -> Step:
    """The next rows: `data` is the list from the place's offset on. Raises `BadList`. Takes time; does no I/O."""
    if place.columns is None or place.delimiter is None:
        place, data = _opened(data, wish, template, at_end=at_end)
    assert place.columns is not None
    assert place.delimiter is not None
    encoding = listfile.ENCODINGS[wish.encoding]
    notation = Notation(place.delimiter, encoding)
    found = listfile.records(data, notation, at_end=at_end, limit=STEP, first=place.rows + 1)
    began, consumed, rows = time.monotonic(), found.consumed, list[Row]()
    for number, (fields, end) in enumerate(zip(found.fields, found.ends, strict=True), place.rows + 1):
        rows.append(_row(number, fields, place.columns, template))
        if time.monotonic() - began > SECONDS:
            consumed = end
            break
    after = Place(place.offset + consumed, place.rows + len(rows), place.columns, place.delimiter)
    return Step(rows, after)


def _opened(data: bytes, wish: Wish, template: Template, *, at_end: bool) -> tuple[Place, bytes]:
    encoding = listfile.ENCODINGS[wish.encoding]
    mark = listfile.opening(data, encoding)
    columns, delimiter, consumed = listfile.header(
        data[mark:], wish.columns, encoding=encoding, delimiter=wish.delimiter, at_end=at_end
    )
    missing = sorted(template.needed - {name for name in columns if name})
    if missing:
        raise BadList(f"the template needs what the list has no column for: {', '.join(missing)[:300]}")
    return Place(mark + consumed, 0, columns, delimiter), data[mark + consumed :]


def _row(number: int, fields: list[str], columns: Sequence[str | None], template: Template) -> Row:
    if len(fields) != len(columns):
        return Row(number, "", None, f"it has {len(fields)} fields, and the header {len(columns)}")
    variables = {name: value for name, value in zip(columns, fields, strict=True) if name}
    written = variables[RECIPIENT].strip()
    try:
        address = normalise(written)
        variables[RECIPIENT] = address
        check_variables(variables)
        template.render(variables)
    except InvalidAddress as error:
        return Row(number, written.replace("\0", "")[:255], None, str(error))
    except Refused as error:
        return Row(number, address, None, error.message)
    return Row(number, address, variables)


def place_of(row: Mapping[str, Any]) -> Place:
    """Where a batch stands in the record."""
    return Place(row["offset"], row["rows"], row["columns"], row["delimiter"])
