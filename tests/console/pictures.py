"""The pictures of docs/console, of a real installation in a real browser.

    python -m tests.console.pictures

begins with a month of a shop's mail, goes on to send for some minutes, and then writes them.
"""

import argparse
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page

from relay.core.clock import now
from tests.console.browser import browser, sign_in
from tests.console.stage import Stage
from tests.installation import wait_for


def take(stage: Stage, mails: dict[str, str], told: dict[str, str], into: Path) -> None:
    """Write one picture of each page: `mails` is what `fill` made, `told` what was set aside."""
    console, key, endpoint = stage.console, stage.key, stage.endpoint["id"]
    into.mkdir(parents=True, exist_ok=True)
    pages = {
        "overview": "",
        "messages": "/messages",
        "message": f"/messages/{mails['sent']}",
        "bounced": f"/messages/{mails['bounced']}",
        "waiting": f"/messages/{mails['waiting']}",
        "queue": "/queue",
        "providers": "/providers",
        "statistics": "/statistics?span=month&dimension=tag",
        "captured": "/captured",
        "suppressions": "/suppressions",
        "accounts": "/accounts",
        "webhook": f"/webhooks/{endpoint}",
        "webhooks": "/webhooks",
        "reports": "/reports",
        "report": f"/reports/{told['orphan']}",
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
        for name in ("overview", "bounced", "statistics"):
            page.goto(console + pages[name])
            _save(page, into / f"{name}-dark.png")
        phone = opened.new_context(viewport={"width": 390, "height": 780}, storage_state=state)
        page = phone.new_page()
        for name in ("overview", "messages", "waiting", "statistics"):
            page.goto(console + pages[name])
            _save(page, into / f"{name}-phone.png")


def _save(page: Page, path: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)


def counted(stage: Stage) -> bool:
    """Whether all but the last minutes are in the statistics."""
    until = stage.request("/v1/statistics")[1]["counted_until"]
    return bool(until) and datetime.fromisoformat(until) > now() - timedelta(minutes=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="of mail at an uneven rate")
    parser.add_argument("--days", type=int, default=30, help="of mail before that, for the statistics")
    parser.add_argument("--into", type=Path, default=Path("docs/console"))
    parser.add_argument(
        "--wait", action="store_true", help="print where it is and send for as long as it takes"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pb-console-") as directory, Stage(Path(directory)) as made:
        made.past(arguments.days, 400)
        made.open()
        print(made.console, made.key, made.config, flush=True)
        mails, told = made.fill(), made.set_aside()
        print(mails, told, flush=True)
        made.live(arguments.minutes)
        wait_for(lambda: counted(made), "the past's being counted", seconds=600)
        if not arguments.wait:
            take(made, mails, told, arguments.into)


if __name__ == "__main__":
    main()
