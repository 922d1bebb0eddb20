"""Mail in by SMTP and straight to recipients' servers with real processes, greylisting and a domain that is none."""

import smtplib
from pathlib import Path

import pytest

from tests.installation import Installation, wait_for
from tests.names import Names
from tests.sink import Sink

_OUT = """
[providers.direct]
type = "mx"
hostname = "mail.example.org"
port = {port}
resolver = "{resolver}"
allow_private = true

[delivery.retry]
delays = [1]
jitter = 0
"""

_ZONE = {
    "example.net": {"MX": ["10 mx1.example.net.", "20 mx2.example.net."]},
    "mx1.example.net": {"A": ["127.0.0.3"]},
    "mx2.example.net": {"A": ["127.0.0.1"]},
    "closed.example": {"MX": ["0 ."]},
}


@pytest.mark.slow
def test_each_recipient_gets_what_its_own_server_said(tmp_path: Path) -> None:
    recipients = ["jane@example.net", "grey@example.net", "refuse@example.net", "bob@closed.example"]
    with Sink(tls="starttls") as sink, Names(_ZONE) as names:
        out = _OUT.format(port=sink.port, resolver=names.address)
        with Installation(tmp_path, out) as installation:
            installation.up()
            with smtplib.SMTP("127.0.0.1", installation.smtp_port, timeout=60) as client:
                client.login("default", installation.key)
                client.sendmail(
                    "ann@example.org", recipients, b"From: ann@example.org\r\nSubject: hello\r\n\r\nHello\r\n"
                )
            (message,) = installation.messages()

            def states() -> dict[str, str]:
                status, shown = installation.request(f"/v1/messages/{message['id']}")
                assert status == 200, shown
                return {one["address"]: one["status"] for one in shown["recipients"]}

            wait_for(lambda: set(states().values()) == {"SENT", "BOUNCED"}, "a final state of all")
            assert states() == dict(zip(recipients, ["SENT", "SENT", "BOUNCED", "BOUNCED"], strict=True))
            listed = installation.run("providers", "list").stdout
            shown = installation.run("messages", "show", message["id"]).stdout
        assert sorted(one for mail in sink.mails for one in mail.recipients) == recipients[1::-1]
        assert all(mail.tls for mail in sink.mails)
    assert "(experimental)" in listed
    assert "closed" in listed  # the circuit, in spite of a server that is down
    assert "5.1.10" in shown
