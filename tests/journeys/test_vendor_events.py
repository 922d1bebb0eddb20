"""Mail through vendors' APIs with real processes, and what the vendors then tell by webhook, doubled and shuffled."""

import json
import smtplib
import urllib.error
import urllib.request
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.installation import Installation, wait_for
from tests.providers.fakery import FakeServer
from tests.providers.webhooks import OPTIONS, VENDORS

#: what GET says in the end, by the local part of the recipient
_FINAL = {
    "delivered": "DELIVERED",
    "deferred": "DELIVERED",
    "bounce-hard": "BOUNCED",
    "bounce-soft": "BOUNCED",
    "bounce-late": "BOUNCED",
    "complaint": "COMPLAINT",
    "open": "OPENED",
    "click": "OPENED",
}
_DELIVERED = ("delivered", "deferred", "bounce-late", "complaint", "open", "click")
#: where a vendor has no event for it
_OTHERWISE = {("azure", "complaint"): "DELIVERED"}


def _configuration(server: FakeServer) -> str:
    tables = ['[routes.default]\nuse = "postmark"']
    for vendor in VENDORS:
        fake = server.fakes[vendor]
        fake.here = server.url(vendor)
        options = {
            "type": vendor,
            "base_url": server.url(vendor),
            "webhook_secret": _secret(vendor),
            **OPTIONS[vendor],
            **(fake.believed or {"webhook_user": vendor, "webhook_password": "p@ss"}),
            **({"custom_headers": "drop"} if vendor == "mailersend" else {}),
        }
        tables += [f"[providers.{vendor}]", *(f"{name} = {json.dumps(one)}" for name, one in options.items())]
        tables.append(
            f'[[routes.rules]]\nwhen = {{ recipient_domain = "{vendor}.example" }}\nuse = "{vendor}"'
        )
    return "\n".join(tables)


def _secret(vendor: str) -> str:
    return f"the-secret-of-{vendor}"


def _hook(server: FakeServer, installation: Installation, vendor: str) -> None:
    """Have the vendor's fake post every event twice and in any order."""
    login = "" if server.fakes[vendor].believed else f"{vendor}:p%40ss@"
    url = f"http://{login}127.0.0.1:{installation.api_port}/v1/webhooks/{vendor}/{_secret(vendor)}"
    said = {"vendor": vendor, "url": url, "copies": 2, "order": "shuffled"}
    request = urllib.request.Request(server.url("webhooks"), json.dumps(said).encode())  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.status == 200


def _knock(installation: Installation, vendor: str, secret: str) -> int:
    """The status of a post that nobody signed."""
    url = f"http://127.0.0.1:{installation.api_port}/v1/webhooks/{vendor}/{secret}"
    request = urllib.request.Request(url, b'[{"event": "bounce"}]')
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _letter(vendor: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"] = "ann@example.org", f"all@{vendor}.example"
    letter["Subject"] = f"by {vendor}"
    letter.set_content("Hello")
    letter.add_alternative("<p>Hello</p>", subtype="html")
    return letter


@pytest.mark.slow
def test_what_vendors_tell_twice_and_in_any_order_is_what_the_status_says(tmp_path: Path) -> None:
    with FakeServer() as server, Installation(tmp_path, _configuration(server)) as installation:
        installation.up()
        for vendor in VENDORS:
            _hook(server, installation, vendor)
        with smtplib.SMTP("127.0.0.1", installation.smtp_port, timeout=60) as client:
            client.login("default", installation.key)
            for vendor in VENDORS:
                client.send_message(
                    _letter(vendor), to_addrs=[f"{local}@{vendor}.example" for local in _FINAL]
                )
        ids = [message["id"] for message in installation.messages()]
        assert len(ids) == len(VENDORS)
        expected = {
            f"{local}@{vendor}.example": _OTHERWISE.get((vendor, local), status)
            for vendor in VENDORS
            for local, status in _FINAL.items()
        }

        def states() -> dict[str, str]:
            shown = [installation.request(f"/v1/messages/{identifier}")[1] for identifier in ids]
            return {one["address"]: one["status"] for message in shown for one in message["recipients"]}

        def differing() -> dict[str, str]:
            return {one: state for one, state in states().items() if state != expected[one]}

        wait_for(lambda: not differing(), "the status of each as told")
        assert set(states()) == set(expected)
        # The second copies may still be on their way.
        wait_for(lambda: not server.fakes.poster._tasks, "the last event's posting")
        answers = {(one.vendor, one.status) for one in server.fakes.poster.posted}
        assert answers == {(vendor, 200) for vendor in VENDORS}
        assert {vendor: _knock(installation, vendor, _secret(vendor)) for vendor in VENDORS} == {
            vendor: 403 if vendor == "ses" else 401 for vendor in VENDORS
        }
        assert _knock(installation, "brevo", "another-secret-of-nobody") == 404
        assert not differing(), "what cannot be verified changes nothing"
        for identifier in ids:
            _, message = installation.request(f"/v1/messages/{identifier}")
            told = [
                one["recipient"].partition("@")[0] for one in message["events"] if one["kind"] == "delivered"
            ]
            assert sorted(told) == sorted(_DELIVERED), "told twice, recorded once"
