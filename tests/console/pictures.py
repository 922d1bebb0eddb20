"""The pictures of docs/console, of a real installation in a real browser."""

from pathlib import Path

from playwright.sync_api import Page

from tests.console.browser import browser, sign_in
from tests.console.stage import Stage


def take(stage: Stage, mails: dict[str, str], into: Path) -> None:
    """Write one picture of each page."""
    take_of(stage.console, stage.key, mails, stage.endpoint["id"], into)


def take_of(console: str, key: str, mails: dict[str, str], endpoint: str, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    pages = {
        "overview": "",
        "messages": "/messages",
        "message": f"/messages/{mails['sent']}",
        "bounced": f"/messages/{mails['bounced']}",
        "waiting": f"/messages/{mails['waiting']}",
        "queue": "/queue",
        "providers": "/providers",
        "captured": "/captured",
        "suppressions": "/suppressions",
        "accounts": "/accounts",
        "webhook": f"/webhooks/{endpoint}",
        "webhooks": "/webhooks",
        "audit": "/audit",
    }
    with browser() as opened:
        light = opened.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
        page = light.new_page()
        page.goto(console)
        _save(page, into / "sign-in.png")
        sign_in(page, console, key)
        for name, path in pages.items():
            page.goto(console + path)
            if name == "accounts":
                page.locator("table.list a").first.click()
            _save(page, into / f"{name}.png")
        state = light.storage_state()
        dark = opened.new_context(
            viewport={"width": 1280, "height": 860}, color_scheme="dark", storage_state=state
        )
        page = dark.new_page()
        for name in ("overview", "bounced"):
            page.goto(console + pages[name])
            _save(page, into / f"{name}-dark.png")
        phone = opened.new_context(viewport={"width": 390, "height": 780}, storage_state=state)
        page = phone.new_page()
        for name in ("overview", "messages", "waiting"):
            page.goto(console + pages[name])
            _save(page, into / f"{name}-phone.png")


def _save(page: Page, path: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
