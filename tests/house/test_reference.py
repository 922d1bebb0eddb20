"""The pages of reference are as the code has them, and nothing in them goes without a meaning."""

from pathlib import Path

import pytest

from relay.cli import pages
from relay.core.bounce import BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.status import State, Status

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "write"),
    [
        ("errors", pages.errors_as_markdown),
        ("events", pages.events_as_markdown),
        ("commands", pages.commands_as_markdown),
    ],
)
def test_a_page_is_as_the_code_has_it(page: str, write) -> None:
    written = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert written == write(), f"run `pillarbox config {page} > docs/{page}.md`"


def test_every_error_says_what_it_means() -> None:
    faces = pages.faces()
    assert len(faces) > 20
    assert [one.message for one in faces if not one.meaning] == []
    assert {(one.status, one.code) for one in faces} >= {(405, "method_not_allowed"), (429, "rate_limit")}


def test_every_refusal_by_smtp_says_what_it_means() -> None:
    replies = pages.replies()
    assert len(replies) > 50
    assert [one.text for one in replies if not one.meaning] == []


@pytest.mark.parametrize("words", [EventKind, Status, State, BounceClass, BounceReason])
def test_every_word_says_what_it_means(words) -> None:
    said = pages.meanings(words)
    assert [word for word in words if not said.get(word.name)] == []


def test_meanings_stand_above_or_beside() -> None:
    assert pages.meanings(State)["PARKED"].startswith("taken out of the queue")
    assert pages.meanings(EventKind)["SENT"] == "a provider took it"


def test_every_command_and_option_says_what_it_does() -> None:
    commands = pages.commands()
    assert len(commands) > 60
    silent = [words for words, command in commands if not command.help]
    for words, command in commands:
        silent += [f"{words} {one.name}" for one in command.params if not one.help]
    assert silent == []
