"""What docs/ingest.md says is so: its commands run, its configuration is taken, its tables are the code's."""

import re
import shlex
from pathlib import Path

import pytest

from relay import config
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.standing import error_code, error_sub_type
from relay.core.status import Status
from relay.sections import IngestSettings
from tests.installation import Installation

GUIDE = (Path(__file__).parents[2] / "docs" / "ingest.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTMARK_TOKEN", "token")
    monkeypatch.setenv("POSTMARK_WEBHOOK_SECRET", "a-secret-of-the-operators")
    (table,) = blocks("toml")
    public, _, provider = table.partition("\n")
    with Installation(tmp_path, provider) as installation:
        installation.config.write_text(f"{public}\n{installation.config.read_text()}")
        assert installation.run("migrate").returncode == 0
        said = []
        named = re.findall(r"`(pillarbox providers webhooks \w+)`", GUIDE)
        for line in [*"".join(blocks("sh")).splitlines(), *named]:
            words = shlex.split(line)
            assert words[0] == "pillarbox"
            done = installation.run(*words[1:])
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said.append(done.stdout)
        url = "https://mail.example.org/v1/webhooks/postmark/a-secret-of-the-operators"
        assert url in said[0]
        assert said[-1] == f"{url}\n"
        gone = installation.run("ingest", "show", "5")
        assert (gone.returncode, gone.stdout) == (1, "")
        assert "There is nothing with the id 5" in gone.stderr
        assert installation.run("ingest", "replay").returncode == 2
        assert installation.run("providers", "webhooks", "nobody").returncode == 2


def test_a_secret_that_could_be_guessed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTMARK_TOKEN", "token")
    monkeypatch.setenv("POSTMARK_WEBHOOK_SECRET", "short")
    (table,) = blocks("toml")
    with Installation(tmp_path, table.partition("\n")[2]) as installation:
        assert installation.run("migrate").returncode == 0
        done = installation.run("providers", "webhooks")
        assert done.returncode == 2
        assert "providers.postmark.webhook_secret: needs at least 16 letters" in done.stderr


def test_the_example_is_accepted(tmp_path: Path) -> None:
    (table,) = blocks("toml")
    path = tmp_path / "pillarbox.toml"
    path.write_text(table)
    assert set(config.load(path).ways_out) == {"postmark"}


def test_the_statuses_are_all_there_in_their_order() -> None:
    told = re.findall(r"^\| `([A-Z]+)` \|", GUIDE, re.MULTILINE)
    assert told == [status.value for status in sorted(Status, key=lambda one: one.rank)][1:]


def test_the_words_for_bounces_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(hard|soft|block)` \| [^|]+ \| `([^`]+)` \| (.+) \|$", GUIDE, re.MULTILINE)
    assert len(rows) == len(BounceClass)
    for kind, code, subs in rows:
        bounces = [Bounce(BounceClass(kind), reason) for reason in BounceReason]
        assert {error_code(one) for one in bounces} == {code}
        usual = {error_sub_type(one) for one in bounces if one.reason not in _ELSEWHERE[kind]}
        assert usual == set(re.findall(r"`(\w+)`", subs))


#: reasons that no bounce of the class has
_ELSEWHERE = {
    "hard": set(),
    "soft": {BounceReason.SPAM, BounceReason.SUPPRESSED},
    "block": {BounceReason.MAILBOX_FULL, BounceReason.TOO_LARGE, BounceReason.SUPPRESSED},
}


def test_the_times_are_the_defaults() -> None:
    settings = IngestSettings()
    assert (settings.early_for, settings.keep_orphans, settings.keep_failed) == (3600, 7 * 86400, 30 * 86400)
    assert settings.tries == 5
