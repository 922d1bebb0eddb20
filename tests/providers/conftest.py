from collections.abc import Iterator

import pytest

from tests.providers.fakery import FakedContract, FakeServer

#: a package of its own, whose tests run where it is installed
collect_ignore = ["pigeon"]


@pytest.fixture(scope="session")
def _serving() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def fake_server(_serving: FakeServer) -> FakeServer:
    """Empty of mail and with the usual keys."""
    _serving.fakes.reset()
    return _serving


@pytest.fixture(autouse=True)
def _given_to_contracts(request: pytest.FixtureRequest) -> None:
    if isinstance(request.instance, FakedContract):
        request.instance.server = request.getfixturevalue("fake_server")
