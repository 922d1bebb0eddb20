"""CSV of any make comes out as it went in, wherever it is cut; what cannot be read is told by its row."""

import contextlib
import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bulk.listfile import MAX_RECORD, BadList, Notation, header, opening, records

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
TABLE = st.lists(st.lists(TEXT, min_size=2, max_size=4), min_size=1, max_size=12)
DIALECT = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t", "|"]),
        "lineterminator": st.sampled_from(["\r\n", "\n", "\r"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    }
)


@settings(max_examples=150, deadline=None)
@given(TABLE, DIALECT, st.integers(1, 40), st.integers(1, 5))
def test_records_survive_any_cut(table, dialect, window, limit) -> None:
    written = io.StringIO()
    csv.writer(written, **dialect).writerows(table)
    data = written.getvalue().encode()
    notation = Notation(dialect["delimiter"])
    offset, found, size = 0, [], window
    while offset < len(data):
        piece = data[offset : offset + size]
        at_end = offset + size >= len(data)
        step = records(piece, notation, at_end=at_end, limit=limit)
        found += step.fields
        offset += step.consumed
        # As a worker does that has too little of the list in its hands.
        size = window if step.consumed else size * 2
        if at_end and not step.consumed:
            break
    whole = csv.reader(io.StringIO(written.getvalue(), newline=""), delimiter=dialect["delimiter"])
    assert found == [row for row in whole if row]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_octets_break_the_reader(data, at_end) -> None:
    with contextlib.suppress(BadList):
        step = records(data, Notation(), at_end=at_end, limit=10)
        assert 0 <= step.consumed <= len(data)


def test_a_record_that_does_not_end_is_not_waited_for() -> None:
    with pytest.raises(BadList, match="row 1 is longer than"):
        records(b'"' + b"a\n" * MAX_RECORD, Notation(), at_end=False, limit=5)
    with pytest.raises(BadList, match="row 1 is longer than"):
        records(b"a" * (MAX_RECORD + 1), Notation(), at_end=False, limit=5)


@pytest.mark.parametrize(
    ("line", "delimiter"),
    [
        (b"recipient,name\n", ","),
        (b"name;recipient\r\n", ";"),
        (b"recipient\tname\r", "\t"),
        (b"recipient\n", ","),
    ],
)
def test_the_delimiter_is_found_in_the_header(line: bytes, delimiter: str) -> None:
    columns, found, consumed = header(line + b"x", {}, encoding="utf-8", delimiter=None, at_end=True)
    assert "recipient" in columns
    assert (found, consumed) == (delimiter, len(line))


def test_columns_may_be_called_otherwise() -> None:
    columns, _, _ = header(
        b"E-Mail;First name;Notes\n", {"recipient": "E-Mail", "name": "First name"},
        encoding="utf-8", delimiter=None, at_end=True,
    )  # fmt: skip
    assert columns == ["recipient", "name", "Notes"]
    with pytest.raises(BadList, match='no column "Name"'):
        header(b"recipient\n", {"name": "Name"}, encoding="utf-8", delimiter=None, at_end=True)


def test_a_mark_at_the_beginning_is_no_letter() -> None:
    assert opening(b"\xef\xbb\xbfrecipient\n", "utf-8") == 3
    assert opening(b"recipient\n", "utf-8") == 0
    with pytest.raises(BadList, match="UTF-16"):
        opening("recipient\n".encode("utf-16"), "utf-8")


def test_other_encodings_are_named() -> None:
    step = records("Käthe\n".encode("cp1252"), Notation(",", "cp1252"), at_end=True, limit=1)
    assert step.fields == [["Käthe"]]
