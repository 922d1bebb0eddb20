"""Debian's Chromium, driven by Playwright, and what it noticed while it was at it."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

_PACKAGES = ("chromium", "fonts-dejavu-core")
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-color-profile=srgb",
)  # fmt: skip


def chromium() -> str:
    """The browser's path. Root may install it; anybody else is told how to."""
    with (Path(tempfile.gettempdir()) / "pillarbox-chromium.lock").open("w") as lock:
        # Processes of one run must not install it at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            for command in (
                ["update", "-qq"],
                ["install", "-y", "-qq", "--no-install-recommends", *_PACKAGES],
            ):
                subprocess.run(["apt-get", *command], check=False, capture_output=True, timeout=280)
            found = shutil.which("chromium")
    if found is None:
        pytest.fail("chromium is missing; install it with: apt-get install chromium")
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield opened
        finally:
            opened.close()


#: what is said of a picture elsewhere that a mail's frame was kept from
KEPT_OUT = 'violates the following Content Security Policy directive: "img-src data:"'


class Watch:
    """What a page complained of, and everything it asked other hosts for."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.dialogs: list[str] = []
        self._origin = origin
        context.on("page", self._look)

    def _look(self, page: Page) -> None:
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfinished", lambda request: self._asked(request.url))
        # What the page's own policy has stopped has not left the browser.
        page.on("requestfailed", lambda request: request.failure == "csp" or self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and KEPT_OUT not in text:
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self._origin, "data:", "about:", "blob:")):
            self.strangers.append(url)


def sign_in(page: Page, console: str, key: str) -> None:
    page.goto(console)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def context(opened: Browser, **options: Any) -> BrowserContext:
    return opened.new_context(viewport={"width": 1280, "height": 800}, **options)
