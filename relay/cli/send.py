"""A test mail through either door, as a client would hand it in."""

import json
import smtplib
import urllib.error
import urllib.request
from email.message import EmailMessage
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.output import ConfigOption, console, fail, settings_from

if TYPE_CHECKING:
    from relay.config import Settings

_SECONDS = 30.0


class Via(StrEnum):
    SMTP = "smtp"
    REST = "rest"


def send(
    to: Annotated[str, typer.Option(help="The recipient.")],
    key: Annotated[str, typer.Option(envvar="PILLARBOX_API_KEY", help="An API key.")],
    sender: Annotated[str, typer.Option("--from", help="The from address.")] = "test@localhost",
    door: Annotated[Via, typer.Option(help="Which door to hand it in at.")] = Via.SMTP,
    subject: Annotated[str, typer.Option(help="The subject.")] = "A test from Pillarbox",
    body: Annotated[str, typer.Option(help="The text.")] = "If you can read this, mail gets through.",
    config: ConfigOption = None,
) -> None:
    """Send a test mail through a door of this machine's Pillarbox; prints what the door answered."""
    settings = settings_from(config)
    answer = (_by_smtp if door is Via.SMTP else _by_rest)(settings, key, sender, to, subject, body)
    console.print(answer, markup=False)


def _by_smtp(settings: "Settings", key: str, sender: str, to: str, subject: str, body: str) -> str:
    listener = settings.smtp.listeners[0]
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail.set_content(body)
    try:
        with smtplib.SMTP(_reachable(listener.host), listener.port, timeout=_SECONDS) as client:
            client.login("pillarbox", key)
            client.mail(sender)
            code, reply = client.rcpt(to)
            if code == 250:
                code, reply = client.data(mail.as_bytes())
    except (OSError, smtplib.SMTPException) as error:
        fail(f"the SMTP door at {listener.host}:{listener.port} did not take it: {error}")
    answer = f"{code} {reply.decode('utf-8', 'replace')}"
    if code != 250:
        fail(answer)
    return answer


def _by_rest(settings: "Settings", key: str, sender: str, to: str, subject: str, body: str) -> str:
    url = f"http://{_reachable(settings.api.host)}:{settings.api.port}/v1/transactional/email/send"
    fields = {"recipient": to, "from": sender, "subject": subject, "body": body}
    request = urllib.request.Request(
        url,
        json.dumps(fields).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        fail(f"{error.code} {error.read().decode('utf-8', 'replace')}")
    except OSError as error:
        fail(f"the REST door at {url} cannot be reached: {error}")


def _reachable(host: str) -> str:
    """An address to connect to, for a door that listens on all of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
