"""The secrets of endpoints are encrypted by a key that the operator keeps outside of the database."""

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.core.errors import Misconfigured
from relay.notices.secrets import Safe
from relay.store import endpoints, secrets
from tests.installation import Installation

OLD, NEW = "old-secret-of-the-operator-0123456789", "new-secret-of-the-operator-0123456789"


class Site:
    """An installation whose `[security]` table is written anew as operators do."""

    def __init__(self, directory: Path) -> None:
        self.here = Installation(directory)
        self._plain = self.here.config.read_text(encoding="utf-8")

    def secure(self, **table: object) -> None:
        lines = [f"{name} = {value!r}" for name, value in table.items()]
        self.here.config.write_text("\n".join([self._plain, "[security]", *lines]), encoding="utf-8")

    def stored(self) -> tuple[dict[str, object], bytes]:
        """An endpoint as it is kept, and the secret that is kept beside it."""
        engine = sa.create_engine(f"sqlite:///{self.here.directory / 'data' / 'pillarbox.db'}")
        with engine.connect() as connection:
            (row,) = endpoints.sealed(connection)
            return row, secrets.ensure(connection)

    def doctor(self) -> str:
        """What the doctor thinks of it."""
        found = json.loads(self.here.run("doctor", "--offline", "--json").stdout)
        (level,) = (one["level"] for one in found if one["subject"] == "webhooks' secrets")
        return str(level)

    def opens(self, *known: bytes) -> bool:
        row, _ = self.stored()
        try:
            Safe(known).unseal(row["id"], row["secret"])  # type: ignore[arg-type]
        except Misconfigured:
            return False
        return True


@pytest.fixture
def site(tmp_path: Path, sqlite_template: Path) -> Site:
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(sqlite_template, tmp_path / "data" / "pillarbox.db")
    return Site(tmp_path)


def test_a_copy_of_the_database_opens_no_secret_once_there_is_one_outside(site: Site, tmp_path: Path) -> None:
    run = site.here.run
    (tmp_path / "secret").write_text(OLD + "\n", encoding="utf-8")
    run("accounts", "create", "default")
    made = run("webhooks", "create", "https://93.184.216.34/hook").stdout.strip()
    assert made.startswith("whsec_")
    _, inside = site.stored()
    assert site.opens(inside)
    site.secure(secret=f"file:{tmp_path / 'secret'}")
    assert "1 endpoints' secrets are encrypted anew" in run("webhooks", "reseal").stdout
    assert not site.opens(inside)
    row, _ = site.stored()
    assert Safe([OLD.encode()]).unseal(row["id"], row["secret"]) == made  # type: ignore[arg-type]
    # What it is told to do twice it does once.
    assert "0 endpoints' secrets are encrypted anew" in run("webhooks", "reseal").stdout


def test_a_secret_is_rotated_by_naming_the_one_before_it(site: Site) -> None:
    run = site.here.run
    site.secure(secret=OLD)
    run("accounts", "create", "default")
    run("webhooks", "create", "https://93.184.216.34/hook")
    assert site.doctor() == "ok"
    site.secure(secret=NEW)
    assert site.doctor() == "fail"
    refused = run("webhooks", "reseal")
    assert refused.returncode == 1
    assert "security.previous_secrets" in refused.stderr
    assert site.opens(OLD.encode())
    site.secure(secret=NEW, previous_secrets=[OLD])
    assert site.doctor() == "warn"
    assert "1 endpoints' secrets are encrypted anew" in run("webhooks", "reseal").stdout
    assert site.opens(NEW.encode())
    assert not site.opens(OLD.encode())


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"secret": "env:NOWHERE_TO_BE_FOUND"}, "security.secret: the environment variable NOWHERE_TO_BE_FOUND"),
        ({"secret": "file:/nowhere/at/all"}, "security.secret: /nowhere/at/all cannot be read"),
        ({"secret": "short"}, "security.secret: has fewer than 24 characters"),
        ({"secret": NEW, "previous_secrets": ["env:GONE"]}, "security.previous_secrets.0: the environment variable"),
        ({"previous_secrets": [OLD]}, "security.previous_secrets needs security.secret"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_had_is_told_of(site: Site, table: dict[str, object], said: str) -> None:
    site.secure(**table)
    done = site.here.run("config", "check")
    assert done.returncode == 2
    assert said in " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    "command", [("api",), ("worker",), ("webhooks", "create", "https://93.184.216.34/hook")]
)
def test_nothing_that_needs_the_secret_goes_on_without_it(site: Site, command: tuple[str, ...]) -> None:
    site.secure(secret="env:NOWHERE_TO_BE_FOUND")
    done = site.here.run(*command)
    assert done.returncode in {1, 2}
    assert "security.secret: the environment variable NOWHERE_TO_BE_FOUND" in done.stdout + done.stderr


def test_no_secret_is_shown(site: Site) -> None:
    site.secure(secret=NEW, previous_secrets=[OLD])
    shown = site.here.run("config", "show").stdout
    assert NEW not in shown
    assert OLD not in shown
