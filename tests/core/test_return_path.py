"""Return paths: they come back as they went out, through whatever servers do to them, and cannot be made up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.return_path import Home, NotOurs, ReturnPaths, TooOld

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
PATHS = ReturnPaths(b"k" * 32, "Bounce.example.org")
LARGEST = 2**63 - 1


@given(st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_read_returns_what_was_made(message_id: int, recipient_id: int) -> None:
    address = PATHS.make(message_id, recipient_id, NOW)

    home = PATHS.read(address, NOW)

    assert (home.message_id, home.recipient_id) == (message_id, recipient_id)
    assert timedelta(days=14) <= home.expires_at - NOW < timedelta(days=15)


def test_local_part_fits_and_survives_folding_of_case() -> None:
    address = PATHS.make(LARGEST, LARGEST, NOW)
    local, _, domain = address.partition("@")

    assert len(local) <= 64
    assert domain == "bounce.example.org"
    assert PATHS.read(address.upper(), NOW) == PATHS.read(address, NOW)
    assert PATHS.read(address.replace("b+", "b-"), NOW) == PATHS.read(address, NOW)


def test_every_change_of_a_character_is_found() -> None:
    address = PATHS.make(2**62 + 12345, 2**62 + 67890, NOW)

    for position in range(2, 47):
        old = address[position]
        for new in "a7" if position == 46 else "abc7":
            if new == old or (position == 46 and _same_bits(old, new)):
                continue
            with pytest.raises(NotOurs):
                PATHS.read(address[:position] + new + address[position + 1 :], NOW)


def _same_bits(one: str, other: str) -> bool:
    """Whether the last character, of which one bit is not used, says the same."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    return alphabet.index(one) >> 1 == alphabet.index(other) >> 1


@pytest.mark.parametrize(
    "address",
    [
        "",
        "b+@bounce.example.org",
        "postmaster@bounce.example.org",
        PATHS.make(1, 2, NOW).replace("bounce.", "other."),
        PATHS.make(1, 2, NOW) + ".evil.example",
        "x" + PATHS.make(1, 2, NOW),
        ReturnPaths(b"another secret of thirty-two oct", "bounce.example.org").make(1, 2, NOW),
        f"b+{'a' * 45}@bounce.example.org",
    ],
)
def test_what_is_not_ours_is_refused(address: str) -> None:
    with pytest.raises(NotOurs):
        PATHS.read(address, NOW)


def test_a_path_ends_after_its_lifetime() -> None:
    address = PATHS.make(1, 2, NOW)

    assert PATHS.read(address, NOW + timedelta(days=14)).message_id == 1
    with pytest.raises(TooOld):
        PATHS.read(address, NOW + timedelta(days=15))


def test_find_takes_only_what_is_good() -> None:
    good = PATHS.make(5, 6, NOW)
    old = PATHS.make(7, 8, NOW - timedelta(days=30))
    forged = f"b+{'a' * 45}@bounce.example.org"

    found = list(PATHS.find(f"Return-Path: <{old}>\nTo: {forged}, <{good}>\n", NOW))

    assert [home.token for home in found] == ["5.6"]


@given(st.text(max_size=200))
def test_find_takes_anything(text: str) -> None:
    assert list(PATHS.find(text, NOW)) == []


def test_a_mail_to_several_names_the_message_only() -> None:
    assert Home(5, 0, NOW).token == "5"
