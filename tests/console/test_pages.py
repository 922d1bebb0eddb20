"""What operators come for, in a real browser: finding mail, why it did not arrive, and doing something about it."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.console.browser import PATIENCE, Watch, context
from tests.console.stage import EVIL
from tests.console.walk import STEPS, walk
from tests.installation import wait_for

#: the first of them may have to install a browser
pytestmark = pytest.mark.timeout(600)
expect.set_options(timeout=PATIENCE)

PAGES = (
    "", "/messages", "/queue", "/providers", "/statistics", "/statistics?span=month&dimension=tag", "/captured",
    "/suppressions", "/accounts", "/webhooks", "/reports", "/audit", "/nowhere",
)  # fmt: skip


def open_mail(page, stage, identifier):
    page.goto(f"{stage.console}/messages/{identifier}")


def told(page, words):
    """Wait for the page that says so, and for all of it: the page before may have told something, too."""
    expect(page.locator("p.told[role=status]")).to_have_text(words)
    page.wait_for_load_state()


def test_the_overview_follows_the_mail_by_itself(stage, page, mails):
    figure = page.locator(".figure", has_text="Accepted, last hour").locator("strong")
    # The page before this one may have been counted before the mails came.
    page.wait_for_function(
        "there => Number(document.querySelector('.figure strong').textContent) >= there", arg=len(mails)
    )
    before = int(figure.inner_text())
    stage.post("live@customer.example", "While somebody looks")
    page.wait_for_function(
        "before => Number(document.querySelector('.figure strong').textContent) > before", arg=before
    )
    chart = page.get_by_role("img", name=re.compile(r"The last hour: \d+ accepted, \d+ sent"))
    assert chart.locator("rect.sent").count() >= 1
    assert chart.locator("rect.bounced").count() >= 1
    assert page.get_by_role("img", name=re.compile("Latency over the last hour")).is_visible()


def test_mail_is_found_by_what_one_has_of_it(stage, page, mails):
    find = page.get_by_role("searchbox")
    for words, expected in (
        ("refuse.jane@customer.example", "Invoice 2041"),
        ("STOCK list", "Stock list, week 48"),
    ):
        find.fill(words)
        find.press("Enter")
        page.locator("table.list").get_by_role("link", name=expected).wait_for()
        assert page.locator("table.list tbody tr").count() == 1
    find.fill(mails["sent"])
    find.press("Enter")
    page.get_by_role("heading", name="Your order 4711 is on its way").wait_for()


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("status", "BOUNCED", "bounced"),
        ("tag", "partners", "waiting"),
        ("provider", "preview", "captured"),
        ("created_from", "2020-01-01T00:00", "sent"),
    ],
)
def test_filters_narrow_the_list(stage, page, mails, field, value, wanted):
    page.goto(f"{stage.console}/messages")
    control = page.locator(f"form.filters [name={field}]")
    control.select_option(value) if field in {"status", "provider"} else control.fill(value)
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(f"**{field}={value.replace(':', '%3A')}**")
    shown = page.locator("table.list td.what a").evaluate_all("all => all.map(one => one.href)")
    assert any(link.endswith(mails[wanted]) for link in shown)
    if field == "tag":
        assert len(shown) == 1


def test_a_filter_that_cannot_be_is_told_beside_the_form(stage, page):
    page.goto(f"{stage.console}/messages?account_id=nobody")
    assert "account_id" in page.get_by_role("alert").inner_text()


def test_why_it_bounced(stage, page, mails):
    open_mail(page, stage, mails["bounced"])
    why = page.locator(".card.lost")
    assert "hard bounce, no such user" in why.inner_text()
    assert "550 5.1.1 no such mailbox here" in why.inner_text()
    line = page.locator(".timeline li").last
    assert "Bounced" in line.inner_text()
    assert "main" in line.inner_text()


def test_why_it_waits(stage, page, mails):
    open_mail(page, stage, mails["deferred"])
    why = page.locator(".card.why").inner_text()
    assert "450 4.2.0 mailbox is busy" in why
    assert "is due in" in why
    assert "failover(main, spare)" in why


def test_every_view_of_a_mail(stage, page, mails):
    open_mail(page, stage, mails["sent"])
    frame = page.frame_locator("iframe.mail")
    frame.get_by_role("heading", name="Thank you, Ada").wait_for()
    # Its own picture is there, and nobody was asked for the other.
    assert frame.locator("img[src^='data:image/png']").count() == 1
    assert "1 reference to content elsewhere is not loaded" in page.locator("#content").inner_text()
    for view, words in (
        ("Text", "Thank you. Your order"),
        ("Headers", "X-Campaign"),
        ("Source", "boundary="),
    ):
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.locator("#content")).to_contain_text(words)


def test_attachments_and_the_mail_itself_are_downloads(stage, page, mails):
    open_mail(page, stage, mails["sent"])
    with page.expect_download() as download:
        page.get_by_role("link", name="invoice.pdf").click()
    assert download.value.suggested_filename == "invoice.pdf"
    assert download.value.path().read_bytes() == b"%PDF-1.4 nothing much"
    answer = page.request.get(f"{stage.console}/messages/{mails['evil']}/download")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_nothing_in_a_mail_runs_or_calls_home(stage, chrome, signed_in, mails, aside):
    own = context(chrome, storage_state=signed_in)
    watch = Watch(own, stage.console.removesuffix("/console"))
    page = own.new_page()
    page.on("dialog", lambda dialog: (watch.dialogs.append(dialog.message), dialog.dismiss()))
    mail = f"/messages/{mails['evil']}"
    views = [f"{mail}?view={view}" for view in ("html", "text", "headers", "source")]
    reports = ["/reports", *(f"/reports/{one}" for one in aside.values())]
    others = (
        "/messages",
        "/messages?subject=%3Cscript%3E",
        "/queue",
        "/audit",
        "/statistics?value=%3Cscript%3E",
    )
    for path in (*views, *reports, *others):
        page.goto(stage.console + path)
        page.wait_for_load_state("networkidle")
        assert page.title() != "pwned"
        if path in views:
            assert "<script>" in page.locator("h1").inner_text()
        for frame in page.frames:
            # Shown as text or kept in a frame that may do nothing; never an element of the page.
            assert frame is not page.main_frame or frame.locator("script:not([src])").count() == 0
    page.goto(f"{stage.console}{mail}/html")
    assert page.title() != "pwned"
    assert watch.strangers == []
    assert watch.dialogs == []
    # What the frame was kept from doing is the only thing that was complained of.
    assert watch.complaints
    assert all("sandboxed" in one or "Content Security Policy" in one for one in watch.complaints), (
        watch.complaints
    )
    own.close()


def test_a_mail_is_sent_again(stage, page, mails):
    open_mail(page, stage, mails["sent"])
    page.get_by_label("Send again as a new mail, to").fill("second@customer.example")
    page.get_by_role("button", name="Send again").click()
    told(page, re.compile("^Sent again as "))
    copy = page.url.rpartition("/")[2]
    assert stage.until(copy, status="SENT")["recipients"][0]["address"] == "second@customer.example"
    open_mail(page, stage, mails["sent"])
    assert copy in page.locator(".timeline").inner_text()
    bodies = [mail.raw.partition(b"\r\n\r\n")[2] for mail in stage.main.mails + stage.spare.mails]
    assert len(bodies) != len(set(bodies))


def test_a_mail_is_held_and_let_go_and_cancelled(stage, page, mails):
    identifier = stage.post("busy.later@customer.example", "Hold me")
    stage.until(identifier, **stage.BUSY)
    open_mail(page, stage, identifier)
    page.get_by_role("button", name="Hold").click()
    expect(page.locator(".card.why")).to_contain_text("is held until somebody releases it")
    page.get_by_role("button", name="Release").click()
    told(page, "Release: 1 recipients.")
    stage.until(identifier, state="queued", attempts=2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.get_by_role("button", name="Cancel").click()
    told(page, "Cancelled for 1 recipients.")
    assert stage.message(identifier)["recipients"][0]["state"] == "cancelled"


def test_all_that_a_filter_is_about_is_held_and_released_after_a_second_look(stage, page, mails):
    for identifier in [stage.post(f"busy.{number}@held.example", f"Held {number}") for number in range(3)]:
        stage.until(identifier, **stage.BUSY)
    page.goto(f"{stage.console}/queue?recipient_domain=held.example")
    assert page.locator("table.list tbody tr").count() == 3
    for action, state in (("Hold", "held"), ("Release", "queued")):
        page.get_by_label("all that match the filter").check()
        page.get_by_label("Note for the timelines").fill("the partner moves house")
        page.get_by_role("button", name=action).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{action} 3 recipients?")
        page.get_by_role("button", name=action).click()
        told(page, re.compile(f"^{action}: 3 recipients changed"))
        assert page.locator("table.list tbody .pill").all_inner_texts() == [state] * 3 or action == "Release"
    page.locator("table.list tbody a").first.click()
    expect(page.locator(".timeline")).to_contain_text("the partner moves house")


def test_everything_is_not_acted_on_by_a_slip(stage, page):
    page.goto(f"{stage.console}/queue")
    assert page.get_by_label("all that match the filter").is_disabled()
    page.get_by_role("button", name="Hold").click()
    told(page, re.compile("Tick what it is about"))


def test_a_provider_is_paused_and_its_mail_takes_the_other(stage, page):
    page.goto(f"{stage.console}/providers")
    own = page.locator("section.provider#main")
    own.get_by_role("button", name="Pause").click()
    told(page, "main is paused: it gets no mail.")

    def switched():
        found = stage.until(stage.post("other@customer.example", "By the spare one"), status="SENT")
        return found["recipients"][0]["provider"] == "spare"

    wait_for(switched, "mail by the spare provider")
    own.get_by_role("button", name="Resume").click()
    told(page, "main takes mail again.")
    page.goto(f"{stage.console}/audit?action=pause")
    row = page.locator("table.list tbody tr").first.inner_text()
    assert "POST /v1/providers/{name}/pause" in row
    assert "main" in row
    assert "default / first key" in row


def test_a_provider_is_checked_and_tested(stage, page):
    page.goto(f"{stage.console}/providers")
    page.locator("section.provider#partner").get_by_role("button", name="Check login").click()
    told(page, re.compile("^partner: .*refused"))
    spare = page.locator("section.provider#spare")
    spare.get_by_text("Send a test mail").click()
    spare.get_by_label("From").fill("ops@shop.example")
    spare.get_by_label("To").fill("me@customer.example")
    spare.get_by_role("button", name="Send").click()
    told(page, re.compile(r"^spare: accepted\. 250"))


def test_what_the_file_would_change_is_shown_before_a_reload(stage, page):
    before = stage.config.read_text()
    try:
        stage.config.write_text(
            before.replace('quota = "50000/day"', 'quota = "60000/day"\npassword = "hush"')
        )
        page.goto(f"{stage.console}/providers")
        row = page.locator("tr", has_text="providers.main.quota").inner_text()
        assert "50000/day" in row
        assert "60000/day" in row
        assert "hush" not in page.content()
        stage.config.write_text(before.replace("failover(main, spare)", "failover(main, nobody)"))
        page.reload()
        assert "'nobody' is no provider" in page.get_by_role("alert").first.inner_text()
    finally:
        stage.config.write_text(before)
    page.reload()
    page.get_by_role("button", name="Reload").click()
    told(page, re.compile("read their configuration again"))


def test_captured_mail_reads_like_an_inbox(stage, page, mails):
    page.goto(f"{stage.console}/captured")
    page.get_by_role("link", name="Newsletter draft").click()
    page.frame_locator("iframe.mail").get_by_role("heading", name="Thank you, Qa").wait_for()


def test_a_key_is_shown_once_and_revoked(stage, page):
    page.goto(f"{stage.console}/accounts")
    page.locator("table.list").get_by_role("link", name="default").click()
    page.get_by_text("New key").click()
    page.get_by_label("Label").fill("till 4")
    page.get_by_role("button", name="Create").click()
    key = page.locator(".secret code").inner_text()
    assert key.startswith("default_v1_")
    page.goto(page.url.removesuffix("/new-key"))
    assert key not in page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("tr", has_text="till 4").get_by_role("button", name="Revoke").click()
    told(page, "The key is revoked.")


def test_an_address_is_suppressed_and_let_off(stage, page):
    page.goto(f"{stage.console}/suppressions")
    page.get_by_text("Stop writing to an address").click()
    form = page.locator("details form")
    form.get_by_label("Address").fill("gone@customer.example")
    form.get_by_label("Note").fill("asked by phone")
    form.get_by_role("button", name="Suppress").click()
    row = page.locator("tr", has_text="gone@customer.example")
    expect(row).to_contain_text("asked by phone")
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Remove").click()
    told(page, "gone@customer.example may be written to again.")


def test_what_happened_is_drawn_and_counted_by_whom_it_was(stage, page, mails):
    page.goto(f"{stage.console}/statistics")
    page.get_by_label("Time").select_option("week")
    page.get_by_label("Counted").first.select_option("tag")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**span=week&dimension=tag**")
    table = page.locator("table.list")
    row = table.locator("tr", has=page.get_by_role("link", name="partners", exact=True))
    # It is counted within seconds.
    wait_for(lambda: (page.reload(), row.count())[1], "the mail's being counted")
    assert row.locator("[data-of=accepted]").inner_text() == "1"
    assert page.get_by_role("img", name=re.compile(r"\d+ accepted, \d+ sent")).locator("rect.sent").count()
    drawn = page.get_by_role("img", name="Accepted by tag")
    assert drawn.locator("rect.v1").count()
    assert drawn.locator("title", has_text="partners 1").count() == 1
    row.get_by_role("link").click()
    page.wait_for_url("**value=partners**")
    assert page.get_by_label("Only this one").input_value() == "partners"
    figure = page.locator(".figure", has_text="Accepted").locator("strong")
    assert figure.inner_text() == "1"
    page.get_by_text("The figures behind the charts").press("Enter")
    assert page.locator("details table tbody tr").count() == 7 * 24


def test_keys_are_counted_by_their_names(stage, page, mails):
    page.goto(f"{stage.console}/statistics?dimension=key")
    link = page.locator("table.list").get_by_role("link", name=f"first key …{stage.key[-5:]}")
    wait_for(lambda: (page.reload(), link.count())[1], "the key's being counted")


def test_a_month_is_downloaded(stage, page, mails):
    page.goto(f"{stage.console}/statistics")
    form = page.locator("form", has=page.get_by_role("button", name="Download CSV"))
    form.get_by_label("Month").select_option(index=0)
    form.get_by_label("Counted").select_option("domain")
    with page.expect_download() as download:
        form.get_by_role("button").click()
    month = form.get_by_label("Month").input_value()
    assert download.value.suggested_filename == f"domain-{month}.csv"
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("month,domain,messages,accepted")


def test_a_report_that_was_set_aside_is_looked_at_read_again_and_discarded(stage, page, aside):
    page.goto(f"{stage.console}/reports")
    row = page.locator("tr", has_text="bygone")
    assert "no provider is called 'bygone' now" in row.inner_text()
    row.get_by_role("link").last.click()
    # What strangers tell is text and nothing else.
    expect(page.locator("pre.mail")).to_contain_text(json.dumps(EVIL))
    assert page.title() == "Report of bygone · Pillarbox"
    page.get_by_role("button", name="Read again").click()
    told(page, re.compile("^It is read again"))
    wait_for(lambda: (page.reload(), row.count())[1], "its being set aside again")
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Discard").click()
    told(page, "It is discarded.")
    assert row.count() == 0
    page.get_by_label("Told by").fill("letters")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("button", name="Read all of letters again").click()
    told(page, re.compile("^1 report is read again"))


def test_what_is_of_before_does_not_look_fresh(stage, chrome, signed_in):
    own = context(chrome, storage_state=signed_in)
    page = own.new_page()
    page.goto(stage.console)
    page.route("**/console/live", lambda route: route.abort())
    page.get_by_role("alert").filter(has_text="No good answer since").wait_for()
    page.unroute_all()
    page.locator("#away").wait_for(state="detached")
    own.close()


def test_a_page_that_is_not_there_says_so_and_leads_back(stage, chrome, signed_in):
    own = context(chrome, storage_state=signed_in)
    page = own.new_page()
    page.goto(f"{stage.console}/nowhere")
    page.get_by_role("heading", name="404 Not Found").wait_for()
    page.get_by_role("link", name="To the overview").click()
    page.get_by_role("heading", name="Overview").wait_for()
    own.close()


def test_a_customers_webhook_with_its_attempts_is_replayed(stage, page, mails):
    page.goto(f"{stage.console}/webhooks")
    page.get_by_role("link", name=stage.hooks.url).click()
    page.get_by_role("link", name="pending").click()
    row = page.locator("section", has=page.get_by_role("heading", name="Notices")).locator(
        "tr", has_text="email.bounced"
    )
    row.first.wait_for()
    told_before = sum(call.kind == "email.bounced" for call in stage.hooks.calls)
    row.last.get_by_role("button", name="Replay").click()
    told(page, "1 notices are told again.")
    wait_for(
        lambda: sum(call.kind == "email.bounced" for call in stage.hooks.calls) > told_before, "the replay"
    )
    attempts = page.locator("#attempts")
    wait_for(lambda: (page.reload(), "busy, come back later" in attempts.inner_text())[1], "the attempt")
    page.get_by_role("button", name="Ping").click()
    told(page, re.compile("^Ping: status 204"))


def test_it_is_worked_by_the_keyboard_alone(stage, page, mails):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("refuse.jane@customer.example")
    page.keyboard.press("Enter")
    page.wait_for_url("**/messages?recipient=**")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('td.what') !== null"):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Invoice 2041").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(stage, chrome, signed_in, mails, aside, scheme):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    own = context(chrome, storage_state=signed_in, color_scheme=scheme, **phone)
    page = own.new_page()
    for path in (*PAGES, f"/messages/{mails['bounced']}", f"/reports/{aside['orphan']}"):
        page.goto(stage.console + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        poor = page.evaluate(_POOR_CONTRAST)
        assert poor == [], path
    own.close()


def test_it_works_without_scripts(stage, chrome, signed_in, mails):
    own = context(chrome, storage_state=signed_in, java_script_enabled=False)
    page = own.new_page()
    for path in PAGES:
        page.goto(stage.console + path)
        assert page.get_by_role("heading", level=1).is_visible()
    page.goto(f"{stage.console}/providers")
    page.locator("section.provider#preview").get_by_role("button", name="Check login").click()
    told(page, re.compile("^preview:"))
    own.close()


def test_a_stranger_finds_the_way(stage, page, mails):
    assert list(walk(stage, page)) == list(STEPS)


#: texts whose colour is too near to what is behind them (WCAG 2.2, 1.4.3: 4.5 to 1)
_POOR_CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  for (const node of document.querySelectorAll('main *, nav *, header *')) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    const style = getComputedStyle(node);
    if (!own || node.closest('svg') || node.closest(':disabled') || !node.offsetParent) continue;
    const a = light(parse(style.color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)} ${style.color}`);
  }
  return [...poor];
}"""
