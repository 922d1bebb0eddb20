"""Keys of every kind for the door of `tests.api.conftest`."""

from collections.abc import Callable

import pytest

from relay.store import accounts
from tests.api.conftest import Door


@pytest.fixture
def admin(door: Door) -> str:
    """A key that may do everything, of an account of its own."""
    return door.new_account("operator", scopes=("admin",), senders=["*"])


@pytest.fixture
def manager(door: Door) -> str:
    """A key of the door's account, with every scope but admin."""
    return door.work(accounts.create_key, "acme", scopes=("send", "read", "manage")).secret


@pytest.fixture
def fresh_key(door: Door) -> Callable[[], str]:
    """Makes a key of the door's account that no process has seen yet, so that it is looked up as things are now."""
    return lambda: door.work(accounts.create_key, "acme").secret


@pytest.fixture
def ask(door: Door) -> Callable[..., object]:
    """`ask(key, "POST", path, {...})`: the status and the decoded body of a call."""

    def call(key, method, path, fields=None, **rest):
        if fields is not None:
            rest["json"] = fields
        answer = door.request(method, path, key=key, **rest)
        return answer.status_code, answer.json() if answer.content else None

    return call


@pytest.fixture(scope="session")
def shared_keys(shared_door: Door) -> dict[str, str]:
    """Keys for the door that nothing is stored by: `admin` and `manager`."""
    return {
        "admin": shared_door.new_account("shared operator", scopes=("admin",)),
        "manager": shared_door.work(accounts.create_key, "acme", scopes=("send", "read", "manage")).secret,
    }


@pytest.fixture
def refuse(shared_door: Door, shared_keys: dict[str, str]) -> Callable[..., object]:
    """`ask` for what is refused, with a key by its name: it stores nothing, so that one door does for all."""

    def call(name, method, path, fields=None, **rest):
        if fields is not None:
            rest["json"] = fields
        answer = shared_door.request(method, path, key=shared_keys[name], **rest)
        return answer.status_code, answer.json()

    return call
