"""Fixtures for everybody: real databases, a real queue server, settings. What is missing fails; nothing skips."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from relay.config import PREFIX, Settings
from relay.core.errors import Misconfigured
from relay.embedded import EmbeddedValkey
from relay.store import migrate
from tests import services

# Here, before the conftest of any folder below: whoever imports these first decides whether their assertions can
# be read.
pytest.register_assert_rewrite("relay.testing", "tests.providers.fakery")

#: where the processes of one run meet; pytest-xdist's inherit it
_RUN = "PYTEST_SERVICES_RUN"
#: folders of whole installations, which pytest-xdist starts with, so that no long test is left over for the end
_LONG = ("tests/journeys/", "tests/faults/", "tests/house/", "tests/console/")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[services.Postgres]:
    """The run's PostgreSQL server; `with server.database() as url` gives a database of one's own."""
    server = services.Postgres(Path(os.environ[_RUN]))
    try:
        server.open()
    except (services.ServiceMissing, OSError, subprocess.SubprocessError) as error:
        server.close()
        pytest.fail(str(error))
    yield server
    server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    # Everything is in the one file only once its journal is folded in.
    assert not path.with_name("template.db-wal").exists()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of the test's own."""
    path = tmp_path / "pillarbox.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: services.Postgres) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own; the test runs on both kinds."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[EmbeddedValkey]:
    """The queue server of this process of the run."""
    directory = services.short_directory("pb-vk-")
    server = EmbeddedValkey(directory)
    try:
        server.start(120)
    except Misconfigured as error:
        pytest.fail(str(error))
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


@pytest.fixture
def valkey_url(valkey_server: EmbeddedValkey) -> str:
    """The queue server, empty."""
    services.flush_valkey(valkey_server.socket)
    return f"unix://{valkey_server.socket}"


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings for a test: `settings(database={"url": database_url}, queue={"url": valkey_url}, ...)`.

    A table given replaces the default one: ports chosen by the system, everything in the test's directory.
    """

    def make(**tables: Any) -> Settings:
        defaults: dict[str, Any] = {
            "data_dir": tmp_path / "data",
            "smtp": {"hostname": "mx.example.org", "listeners": [{"port": 0}]},
            "api": {"port": 0},
        }
        return Settings(**{**defaults, **tables})

    return make


class _ByFile(LoadFileScheduling):
    """Whole files to each process, in the order of collection: what a file or folder starts is started once."""

    def _split_scope(self, nodeid: str) -> str:
        # One browser and one installation for all of these.
        return "tests/console" if nodeid.startswith("tests/console/") else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    config.option.loadscopereorder = False
    return _ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_configure(config: pytest.Config) -> None:
    # Hundreds of processes are started: each would compile all of the program again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not hasattr(config, "workerinput"):
        directory = services.short_directory("pb-pg-")
        directory.chmod(0o755)
        os.environ[_RUN] = str(directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stay until the run's server has ended."""
    if not hasattr(config, "workerinput"):
        services.wait_gone(Path(os.environ.pop(_RUN)))
