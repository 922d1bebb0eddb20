"""The short form of `python -m tests.fuzz`, and every input that ever broke something."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import CRASHERS, make
from tests.fuzz.targets import TARGETS
from tests.fuzz.words import WORDS

KEPT = sorted(path for path in CRASHERS.glob("*-*"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_broke_it_once_does_not_again(path: Path) -> None:
    TARGETS[path.name.rpartition("-")[0]](path.read_bytes())


@pytest.mark.parametrize("name", list(TARGETS))
def test_words_and_noise(name: str) -> None:
    rng = random.Random(1)
    for _ in range(400):
        TARGETS[name](make(rng, WORDS[name]))


@pytest.mark.parametrize("name", list(TARGETS))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(parts=st.data())
def test_anything_at_all(name: str, parts: st.DataObject) -> None:
    piece = st.one_of(st.sampled_from(WORDS[name]), st.binary(max_size=8))
    TARGETS[name](b"".join(parts.draw(st.lists(piece, max_size=30))))
