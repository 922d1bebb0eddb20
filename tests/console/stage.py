"""An installation with something to see in its console: providers well and unwell, mail of every fate, a webhook."""

import contextlib
import email.policy
import json
import random
import smtplib
import time
import urllib.request
from email.message import EmailMessage
from email.utils import formataddr
from pathlib import Path
from types import MappingProxyType
from typing import Any

from relay.core.clock import now
from relay.core.inbox import InboxKind
from relay.store import inbox
from relay.store.inbox import Told as Report
from relay.store.sqlite import sqlite_engine
from tests.console import past
from tests.installation import Installation, free_port, wait_for
from tests.notices.receiver import Call, Receiver, Told
from tests.sink import Sink

_CONFIGURATION = """
[webhooks]
allow_networks = ["127.0.0.1/32"]
allow_http = true
ports = []

[webhooks.retry]
delays = [1, 1, 600]
jitter = 0

[delivery.retry]
delays = [900, 1800, 3600]
jitter = 0

[providers.main]
type = "smtp"
host = "127.0.0.1"
port = {main}
tls = "none"
quota = "50000/day"

[providers.spare]
type = "smtp"
host = "127.0.0.1"
port = {spare}
tls = "none"

[providers.partner]
type = "smtp"
host = "127.0.0.1"
port = {partner}
tls = "none"
connect_timeout = 1

[providers.preview]
type = "capture"

[providers.letters]
type = "postmark"
base_url = "http://127.0.0.1:{partner}"
token = "a token of nobody's"
webhook_secret = "{secret}"

[ingest]
tries = 1
early_for = 1

[routes.default]
use = "failover(main, spare)"

[[routes.rules]]
name = "partners have a host of their own"
when = {{ recipient_domain = "partner.example" }}
use = "partner"

[[routes.rules]]
name = "staging is read here and goes nowhere"
when = {{ tag = "preview" }}
use = "preview"
"""

_SECRET = "the-secret-of-the-letters"

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc0f01f0005000"
    "1ff89993d1d0000000049454e44ae426082"
)
EVIL = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"

#: what Postmark would tell of a mail that somebody else sent
_STRANGE = {
    "RecordType": "Bounce",
    "Type": "HardBounce",
    "ID": 42,
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "Email": "ada@elsewhere.example",
    "Details": EVIL,
    "BouncedAt": "2026-05-01T10:00:00Z",
}

#: the hostile names below would be folded where nobody can read them any more
_UNFOLDED = email.policy.SMTP.clone(max_line_length=900)

_HTML = """<!doctype html><html><body style="font-family: Georgia, serif; margin: 2rem; color: #222">
<h1 style="color: #b3261e; margin: 0">Thank you, {name}</h1>
<p>Your order <b>{number}</b> is on its way. It weighs 2.4 kg and comes on Thursday.</p>
<table style="border-collapse: collapse; width: 100%; max-width: 30rem">
<tr style="background: #f3efe6"><th align="left" style="padding: 6px">Item</th><th align="right">Price</th></tr>
<tr><td style="padding: 6px">Enamel teapot, red</td><td align="right">38.00</td></tr>
<tr><td style="padding: 6px">Green tea, 250 g</td><td align="right">12.50</td></tr></table>
<p><a href="https://shop.example/orders/{number}" style="color: #b3261e">Follow the parcel</a></p>
<img src="https://tracker.example/pixel.gif" width="1" height="1"><img src="cid:logo" width="24" height="24">
</body></html>"""

_SUBJECTS = (
    "Your order {n} is on its way", "Invoice {n}", "Reset your password", "Welcome aboard", "Receipt {n}",
    "Your parcel arrives today", "Appointment on Friday", "A new sign-in to your account",
)  # fmt: skip
_NAMES = (
    "ada",
    "grace",
    "alan",
    "edsger",
    "barbara",
    "donald",
    "radia",
    "ken",
    "margaret",
    "linus",
    "hedy",
    "tim",
)
_TAGS = ("orders", "invoices", "account", "")
_DOMAINS = ("customer", "mail", "firm", "customer", "mail", "firm", "customer", "mail", "firm", "partner")


class Stage(Installation):
    """`with Stage(directory) as stage:` and then `stage.open()`."""

    #: of a mail to a busy mailbox once its first try is over: no worker has it in hand for a quarter of an hour
    BUSY = MappingProxyType({"state": "queued", "reply": "450 4.2.0 mailbox is busy, try again in 5 minutes"})

    def __init__(self, directory: Path) -> None:
        self.main, self.spare = Sink(), Sink()
        self.hooks = Receiver()
        self._ends = contextlib.ExitStack()
        for one in (self.main, self.spare, self.hooks):
            self._ends.enter_context(one)
        ports = {"main": self.main.port, "spare": self.spare.port, "partner": free_port(), "secret": _SECRET}
        super().__init__(directory, _CONFIGURATION.format(**ports))

    def __exit__(self, *some: object) -> None:
        super().__exit__(*some)
        self._ends.close()

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.api_port}/console"

    def past(self, days: int, mails: int) -> None:
        """Have about so many mails on each of so many days before today. Before `open` only."""
        assert self.run("migrate").returncode == 0
        self.key = self.run(
            "keys", "create", "--label", "jo", "--scope", "admin", "--scope", "send", "--scope", "read"
        ).stdout.strip()
        past.write(self.directory / "data" / "pillarbox.db", days, mails)

    def open(self) -> None:
        self.up()
        self.hooks.answer = _moody
        status, self.endpoint = self.request(
            "/v1/webhook-endpoints", {"url": self.hooks.url, "description": "the shop's own back office"}
        )
        assert status == 201, self.endpoint
        # Endpoints are heard of by every process within a second.
        time.sleep(1.2)

    def smtp(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=60)
        client.login("default", self.key)
        return client

    def post(self, to: str, subject: str = "Hello", **more: Any) -> str:
        """Send one mail by SMTP; returns its id."""
        with self.smtp() as client:
            return _hand_in(client, to, letter(to, subject, **more))

    def message(self, identifier: str) -> dict[str, Any]:
        status, found = self.request(f"/v1/messages/{identifier}")
        assert status == 200, found
        return dict(found)

    def until(self, identifier: str, **facts: str | int) -> dict[str, Any]:
        """A message once its first recipient is as given, such as `state="done"`."""

        def look() -> dict[str, Any] | None:
            found = self.message(identifier)
            one = found["recipients"][0]
            return found if all(one[name] == value for name, value in facts.items()) else None

        found: dict[str, Any] = wait_for(look, f"{identifier} to be {facts}")
        return found

    def fill(self) -> dict[str, str]:
        """One mail of every kind, by what is to be seen at it."""
        made = {
            "sent": self.post(
                "ada@customer.example", "Your order 4711 is on its way", html=True, tag="orders"
            ),
            "bounced": self.post("refuse.jane@customer.example", "Invoice 2041", tag="invoices"),
            "deferred": self.post("busy.bob@customer.example", "Appointment on Friday", tag="account"),
            "waiting": self.post("orders@partner.example", "Stock list, week 48", tag="partners"),
            "captured": self.post("qa@staging.example", "Newsletter draft", html=True, tag="preview"),
            "evil": self.post(
                "evil@customer.example",
                f"{EVIL}Subject",
                name=f'{EVIL}"',
                html=True,
                body=EVIL,
                file=f"{EVIL}.html",
            ),
        }
        self.until(made["sent"], status="SENT")
        self.until(made["bounced"], status="BOUNCED")
        self.until(made["deferred"], **self.BUSY)
        self.until(made["captured"], status="SENT")
        return made

    def tell(self, text: str) -> None:
        """Knock as Postmark does."""
        url = f"http://127.0.0.1:{self.api_port}/v1/webhooks/letters/{_SECRET}"
        request = urllib.request.Request(url, text.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            assert answer.status == 200

    def set_aside(self) -> dict[str, str]:
        """Reports that cannot be recorded, by state: of mail that is not ours, and of a provider that is gone."""

        def aside() -> dict[str, str]:
            return {one["state"]: one["id"] for one in self.request("/v1/ingest")[1]["data"]}

        there = aside()
        if "orphan" not in there:
            self.tell(json.dumps(_STRANGE))
        if "failed" not in there:
            payload = json.dumps({"event": "delivered", "id": EVIL}).encode()
            row = Report(InboxKind.WEBHOOK, "bygone", payload, now(), headers={"user-agent": "Bygone/2.1"})
            # Not by an event loop: the browser's tests run within one.
            engine = sqlite_engine(self.directory / "data" / "pillarbox.db")
            with engine.begin() as connection:
                inbox.put(connection, [row])
            engine.dispose()
        wait_for(lambda: set(aside()) == {"orphan", "failed"}, "reports to be set aside")
        return aside()

    def live(self, minutes: float) -> None:
        """Mail as a shop has it, some of which does not arrive."""
        ends = time.monotonic() + minutes * 60
        while time.monotonic() < ends:
            # A door of a machine that is busy with other things may ask to be left alone for a moment.
            with contextlib.suppress(smtplib.SMTPConnectError), self.smtp() as client:
                for _ in range(max(1, round(random.gauss(6, 4)))):
                    _hand_in(client, *_some())
            time.sleep(random.uniform(1.5, 5.5))


def _hand_in(client: smtplib.SMTP, to: str, mail: EmailMessage) -> str:
    client.mail("shop@shop.example")
    code, said = client.rcpt(to)
    assert code == 250, said
    code, said = client.data(mail.as_bytes(policy=_UNFOLDED))
    assert code == 250, said
    return said.decode().rpartition(" ")[2]


def letter(
    to: str,
    subject: str,
    *,
    name: str = "The shop",
    html: bool = False,
    body: str = "",
    tag: str = "",
    file: str = "",
) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = formataddr((name, "shop@shop.example"))
    mail["To"] = to
    mail["Subject"] = subject
    if tag:
        mail["X-Pillarbox-Tag"] = tag
    mail["X-Campaign"] = body or "autumn"
    mail.set_content(f"{body}\nThank you. Your order is on its way.\n")
    if html:
        mail.add_alternative(
            body + _HTML.format(name=to.partition("@")[0].title(), number=4711), subtype="html"
        )
        mail.get_payload()[1].add_related(PIXEL, "image", "png", cid="<logo>")  # type: ignore[union-attr, index]
        mail.add_attachment(
            b"%PDF-1.4 nothing much", maintype="application", subtype="pdf", filename="invoice.pdf"
        )
    if file:
        mail.add_attachment(body.encode(), maintype="text", subtype="html", filename=file)
    return mail


def _some() -> tuple[str, EmailMessage]:
    fate = random.choices(("", "refuse.", "busy.", "spam.", "full."), (90, 4, 3, 1, 1))[0]
    to = f"{fate}{random.choice(_NAMES)}{random.randrange(500)}@{random.choice(_DOMAINS)}.example"
    subject = random.choice(_SUBJECTS).format(n=random.randrange(10_000, 99_999))
    tag = "preview" if random.random() < 0.03 else random.choice(_TAGS)
    return to, letter(to, subject, html=random.random() < 0.5, tag=tag)


def _moody(call: Call) -> Told:
    """Takes most of what it is told, and has no time for bounces."""
    return Told(503, body=b"busy, come back later") if call.kind == "email.bounced" else Told(204)
