import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.address import InvalidAddress, Mailbox, mask, normalise, parse_mailbox, parse_mailboxes


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("User@Example.ORG", "User@example.org"),
        ("a@localhost", "a@localhost"),
        ("first.last+tag@sub.example.co", "first.last+tag@sub.example.co"),
        ('"john doe"@example.org', '"john doe"@example.org'),
        ("o'brien!#$%&*/=?^_`{|}~-@example.org", "o'brien!#$%&*/=?^_`{|}~-@example.org"),
        ("jörg@münchen.example", "jörg@münchen.example"),
        ("a@xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"),
    ],
)
def test_usable_addresses_keep_their_local_part(written: str, expected: str) -> None:
    assert normalise(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        "plain",
        "@example.org",
        "a@",
        "a@b@c",
        "a b@example.org",
        " a@example.org",
        "a@example.org ",
        ".a@example.org",
        "a.@example.org",
        "a..b@example.org",
        "a@-example.org",
        "a@example-.org",
        "a@example..org",
        "a@.example.org",
        "a@example.org.",
        "a@[127.0.0.1]",
        "<a@example.org>",
        "Name <a@example.org>",
        "@hop.example:a@example.org",
        "a\r\nRCPT TO:<b@example.org>@example.org",
        "a\x00@example.org",
        '"a\r"@example.org',
        "a\udcff@example.org",
        "a\u0085@example.org",
        "x" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org",
        "a@" + ".".join(["b" * 60] * 5),
    ],
)
def test_unusable_addresses_are_refused(written: str) -> None:
    with pytest.raises(InvalidAddress):
        normalise(written)


@given(st.text())
def test_whatever_is_accepted_is_safe_to_put_in_a_command(text: str) -> None:
    try:
        address = normalise(text)
    except InvalidAddress:
        return
    assert not any(ord(c) < 32 or ord(c) == 127 for c in address)
    assert normalise(address) == address


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a@b.example", [Mailbox("", "a@b.example")]),
        ("Jo Doe <a@b.example>", [Mailbox("Jo Doe", "a@b.example")]),
        (
            '"Doe, Jo" <a@b.example>, c@d.example',
            [Mailbox("Doe, Jo", "a@b.example"), Mailbox("", "c@d.example")],
        ),
        ("=?utf-8?q?J=C3=B6?= <a@b.example>", [Mailbox("Jö", "a@b.example")]),
        ("a@b.example (a comment, with comma)", [Mailbox("", "a@b.example")]),
        ("Team: a@b.example, c@d.example;", [Mailbox("", "a@b.example"), Mailbox("", "c@d.example")]),
        ("undisclosed-recipients:;", []),
        ('"a <b>" <c@d.example>', [Mailbox("a <b>", "c@d.example")]),
    ],
)
def test_mailboxes(written: str, expected: list[Mailbox]) -> None:
    assert parse_mailboxes(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "a@b.example <c@d.example> x",
        "<a@b.example",
        "a@b.example>",
        '"a@b.example',
        "(a@b.example",
        "<@hop.example:a@b.example>",
        "a@b.example c@d.example",
        "<<a@b.example>>",
        "",
    ],
)
def test_what_reads_in_two_ways_is_refused(written: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_mailbox(written)


def test_a_masked_address_cannot_be_written_to() -> None:
    assert mask("somebody@example.org") == "s***@example.org"
    assert mask("") == "<>"
