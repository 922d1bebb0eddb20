"""Mail in by SMTP, out through vendors' APIs with real processes: each recipient's state is what the vendor said."""

import smtplib
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.installation import Installation, wait_for
from tests.providers.fakery import FakeServer

_OUT = """
[providers.primary]
type = "{kind}"
{key} = "fake-key"
base_url = "{url}"
timeout = 60
{more}
"""

_ROWS = [
    ("postmark", "token", ""),
    ("resend", "api_key", ""),
    ("ses", "secret_key", 'access_key = "AKIA"\nregion = "eu-west-1"'),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "key", "more"), _ROWS, ids=[row[0] for row in _ROWS])
def test_each_recipient_gets_what_the_vendor_said(tmp_path: Path, kind: str, key: str, more: str) -> None:
    with FakeServer() as server:
        out = _OUT.format(kind=kind, key=key, url=server.url(kind), more=more)
        with Installation(tmp_path, out) as installation:
            installation.up()
            letter = EmailMessage()
            letter["From"], letter["To"], letter["Subject"] = (
                "Ann <ann@example.org>",
                "all@example.org",
                "hello",
            )
            letter.set_content("Hello")
            letter.add_alternative("<p>Hello</p>", subtype="html")
            letter.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="a.pdf")
            recipients = ["jane@example.org", "refused@example.org", "john@example.org"]
            with smtplib.SMTP("127.0.0.1", installation.smtp_port, timeout=60) as client:
                client.login("default", installation.key)
                client.send_message(letter, to_addrs=recipients)
            (message,) = installation.messages()

            def states() -> dict[str, str]:
                status, shown = installation.request(f"/v1/messages/{message['id']}")
                assert status == 200, shown
                return {one["address"]: one["status"] for one in shown["recipients"]}

            wait_for(lambda: set(states().values()) == {"SENT", "BOUNCED"}, "a final state of all")
            final = states()
        kept = server.fakes[kind].kept
    assert sorted(one.recipients[0] for one in kept) == ["jane@example.org", "john@example.org"]
    assert len({one.token for one in kept}) == 2
    assert {one.token.partition(".")[0] for one in kept if one.token} == {message["id"]}
    assert {one for one, state in final.items() if state == "BOUNCED"} == {"refused@example.org"}
