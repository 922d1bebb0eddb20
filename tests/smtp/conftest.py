"""A door of the test's own, on SQLite; see `tests.smtp.door`."""

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.config import Settings
from relay.sections import ListenerSettings, SmtpSettings
from tests.smtp.door import Door, running


@pytest.fixture
def open_door(settings: Callable[..., Settings], sqlite_url: str) -> Iterator[Callable[..., Door]]:
    """Opens a door: `open_door(max_size=1000, listeners=[…])` takes the settings of the table `smtp`."""
    with ExitStack() as stack:

        def opening(wrap: Any = lambda intake: intake, **smtp: Any) -> Door:
            table = {"hostname": "mx.example.org", "listeners": [{"port": 0}], "auth_delay": 0, **smtp}
            return stack.enter_context(running(settings(smtp=table, database={"url": sqlite_url}), wrap))

        yield opening


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    return open_door()


@pytest.fixture(scope="module")
def long_door(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One door for a whole module whose tests only look at what they sent themselves."""
    folder = tmp_path_factory.mktemp("door")
    shutil.copy(sqlite_template, folder / "pillarbox.db")
    table = SmtpSettings(hostname="mx.example.org", listeners=(ListenerSettings(port=0),), auth_delay=0)
    with running(
        Settings(data_dir=folder, smtp=table, database={"url": f"sqlite:///{folder}/pillarbox.db"})
    ) as door:
        yield door


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """The `certificate` and `key` of a listener."""
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return {"certificate": certificate, "key": key}


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
