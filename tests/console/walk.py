"""What a stranger does in the first minutes, step by step in a real browser; prints how long each step takes.

    python -m tests.console.walk

The seconds are the machine's: clicks and pages, with nobody thinking in between.
"""

import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from tests.console.browser import browser, context, sign_in
from tests.console.stage import Stage
from tests.installation import wait_for

STEPS = (
    "send by SMTP",
    "find the mail",
    "see why it bounced",
    "switch the provider",
    "hold and release a queue",
)


def walk(stage: Stage, page: Page) -> dict[str, float]:
    """Seconds of each step. Leaves everything as it was."""
    took: dict[str, float] = {}
    began = time.monotonic()

    def done(step: str) -> None:
        nonlocal began
        took[step] = round(time.monotonic() - began, 2)
        began = time.monotonic()

    def told(words: str) -> None:
        page.locator("p.told[role=status]", has_text=words).wait_for()

    identifier = stage.post("refuse.stranger@walk.example", "A stranger's first mail")
    stage.until(identifier, status="BOUNCED")
    done(STEPS[0])
    page.get_by_role("searchbox").fill("refuse.stranger@walk.example")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="A stranger's first mail").click()
    done(STEPS[1])
    page.locator(".card.lost", has_text="no such mailbox here").wait_for()
    done(STEPS[2])
    page.get_by_role("link", name="Providers").click()
    page.locator("section.provider#main").get_by_role("button", name="Pause").click()
    told("main is paused")

    def spare() -> bool:
        found = stage.until(stage.post("jane@walk.example", "By the other one"), status="SENT")
        return bool(found["recipients"][0]["provider"] == "spare")

    wait_for(spare, "mail by the other provider")
    done(STEPS[3])
    page.locator("section.provider#main").get_by_role("button", name="Resume").click()
    stage.until(stage.post("busy.bob@walk.example", "Held for a while"), **stage.BUSY)
    page.goto(f"{stage.console}/queue?recipient_domain=walk.example")
    for action in ("Hold", "Release"):
        page.get_by_label("all that match the filter").check()
        page.get_by_role("button", name=action).click()
        page.get_by_role("heading", name="recipients?").wait_for()
        page.get_by_role("button", name=action).click()
        told(f"{action}: 1 recipients changed")
    done(STEPS[4])
    return took


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pb-walk-") as directory, Stage(Path(directory)) as stage:
        began = time.monotonic()
        stage.open()
        print(f"start it: {time.monotonic() - began:.2f} s")
        with browser() as opened:
            page = context(opened).new_page()
            began = time.monotonic()
            sign_in(page, stage.console, stage.key)
            print(f"sign in: {time.monotonic() - began:.2f} s")
            for step, seconds in walk(stage, page).items():
                print(f"{step}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
