"""Debian's Chromium, driven by Playwright, and what it noticed while it was at it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import debian

_PACKAGES = ("chromium", "fonts-dejavu-core")
_FONTS = {
    "sans-serif": "DejaVu Sans", "sans": "DejaVu Sans", "system-ui": "DejaVu Sans", "serif": "DejaVu Serif",
    "monospace": "DejaVu Sans Mono",
}  # fmt: skip
#: milliseconds that a busy machine may take for a page
PATIENCE = 60_000
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-color-profile=srgb",
)  # fmt: skip


def chromium() -> tuple[str, dict[str, str]]:
    """The browser's path and what its environment has to say: the installed one, else Debian's, unpacked."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found, dict(os.environ)
    debian.unpack_with_needs(*_PACKAGES)
    fonts = debian.ROOT / "fonts.conf"
    folders = "".join(f"<dir>{one}</dir>" for one in (debian.ROOT / "usr/share/fonts", "/usr/share/fonts"))
    # Without the system's own rules nothing says what these names stand for.
    aliases = "".join(
        f"<alias binding='same'><family>{name}</family><prefer><family>{font}</family></prefer></alias>"
        for name, font in _FONTS.items()
    )
    last = f"<edit name='family' mode='append_last'><string>{_FONTS['sans-serif']}</string></edit>"
    fonts.write_text(f"<fontconfig>{folders}{aliases}<match target='pattern'>{last}</match></fontconfig>")
    return str(debian.ROOT / "usr/lib/chromium/chromium"), {
        **debian.environment(),
        "FONTCONFIG_FILE": str(fonts),
    }


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path, environment = chromium()
        opened = playwright.chromium.launch(executable_path=path, args=list(_FLAGS), env=environment)
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
    own = opened.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    own.set_default_timeout(PATIENCE)
    return own
