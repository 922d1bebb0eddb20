"""One installation and one browser for all of these tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.console.browser import Watch, browser, context, sign_in
from tests.console.stage import Stage


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("console")) as made:
        made.open()
        yield made


@pytest.fixture(scope="package")
def mails(stage: Stage) -> dict[str, str]:
    return stage.fill()


@pytest.fixture
def aside(stage: Stage) -> dict[str, str]:
    """Reports that are set aside now, by their state."""
    return stage.set_aside()


@pytest.fixture(scope="package")
def chrome() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def signed_in(stage: Stage, chrome: Browser) -> dict:
    """What a browser keeps of a session."""
    own = context(chrome)
    sign_in(own.new_page(), stage.console, stage.key)
    state = own.storage_state()
    own.close()
    return state


@pytest.fixture
def page(stage: Stage, chrome: Browser, signed_in: dict) -> Iterator[Page]:
    """A page of somebody who is signed in; complaints and requests to elsewhere fail the test."""
    own = context(chrome, storage_state=signed_in)
    watch = Watch(own, stage.console.removesuffix("/console"))
    opened = own.new_page()
    opened.goto(stage.console)
    yield opened
    own.close()
    assert watch.strangers == []
    assert watch.complaints == []
