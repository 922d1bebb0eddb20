"""Bounces that real servers have sent over twenty years, read for class, with what a reader makes of each.

They are the test data of flufl.bounce (Apache-2.0), fetched from PyPI and kept beside the tests; the classes are our
own reading. Half of them were not looked at until the rules stood.
"""

import fcntl
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay.core.return_path import ReturnPaths
from relay.tracking import bouncemail

_CACHE = Path(__file__).parents[2] / ".cache" / "pypi"
_PACKAGE = "flufl.bounce==6.0.0"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATHS = ReturnPaths(b"c" * 32, "bounce.example.org")

#: what is not named here is hard: there is no such mailbox
_READ = {
    "block": "aol_01 dsn_09 postfix_05 simple_42",
    "soft": "bounce_01 bounce_03 caiwireless_01 dsn_01 dsn_02 dsn_03 dsn_04 dsn_15 dumbass_01 groupwise_03 hotpop_01 "
    "microsoft_03 netscape_01 newmailru_01 postfix_03 postfix_04 qmail_01 qmail_02 qmail_06 qmail_07 sendmail_01 "
    "simple_01 simple_02 simple_07 simple_09 simple_10 simple_14 simple_16 simple_17 simple_18 simple_20 simple_24 "
    "simple_31 simple_32 simple_38 simple_44 simple_45 sina_01 smtp32_01 smtp32_02 smtp32_03 smtp32_05 yahoo_01 "
    "yahoo_02 yahoo_04 yahoo_12",
    "deferred": "dsn_05 dsn_06 dsn_07 dsn_08 dsn_17 simple_03 simple_21 simple_22 simple_28 simple_35 simple_40",
    "nothing": "qmail_08",
}
EXPECTED = {name: kind for kind, names in _READ.items() for name in names.split()}


@pytest.fixture(scope="module")
def corpus() -> dict[str, bytes]:
    """The mails by name. Fails the test when they cannot be had."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(_CACHE.glob("flufl*.tar.gz")):
            # Pip asks the package's build tool about it, which the test tools have; making that anew takes minutes.
            fetch = ["pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--dest", str(_CACHE)]
            fetch += ["--no-binary", "flufl.bounce"]
            done = subprocess.run(
                [sys.executable, "-m", *fetch, _PACKAGE], capture_output=True, text=True, timeout=170
            )
            if done.returncode:
                pytest.fail(f"{_PACKAGE} cannot be had: {done.stderr}")
        (archive,) = _CACHE.glob("flufl*.tar.gz")
    with tarfile.open(archive) as files:
        return {
            Path(one.name).stem: read.read()
            for one in files
            if "/tests/data/" in one.name and one.name.endswith(".txt") and (read := files.extractfile(one))
        }


def test_classes_are_right_and_nobody_is_suppressed_wrongly(corpus: dict[str, bytes]) -> None:
    home = PATHS.make(1, 0, NOW)
    wrong: dict[str, str] = {}
    for name, raw in corpus.items():
        reports = bouncemail.read(raw, envelope_to=home, received_at=NOW, paths=PATHS)
        found = {one.bounce.kind.value if one.bounce else one.kind.value for one in reports} or {"nothing"}
        expected = EXPECTED.get(name, "hard")
        if found != {expected}:
            wrong[name] = f"{expected} read as {' '.join(sorted(found))}"
    suppressed = {name: said for name, said in wrong.items() if said.endswith("hard")}
    assert len(corpus) == 117
    assert suppressed == {}
    assert len(wrong) <= len(corpus) * 0.05, wrong
