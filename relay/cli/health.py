"""`pillarbox health`: for supervisors and containers, which want an exit code."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.output import ConfigOption, console, fail, settings_from

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.sections import ListenerSettings

#: seconds until a door that does not answer counts as down
_PATIENCE = 5.0


class Door(StrEnum):
    """Which door is asked."""

    SMTP = "smtp"
    REST = "rest"
    ALL = "all"


def health(
    door: Annotated[Door, typer.Argument(help="The door to knock at.")] = Door.ALL,
    config: ConfigOption = None,
) -> None:
    """Ask this machine's doors whether they can take mail; exit code 1 when one of them cannot."""
    from rich.markup import escape

    settings = settings_from(config)
    try:
        if door in {Door.REST, Door.ALL}:
            knock_rest(settings)
        if door in {Door.SMTP, Door.ALL}:
            for listener in settings.smtp.listeners:
                if not listener.proxy_from:  # it speaks to its load balancers only
                    knock_smtp(listener)
    except OSError as error:
        fail(escape(str(error)))
    console.print("ready")


def knock_rest(settings: "Settings") -> None:
    """Raises `OSError` in words when the REST door cannot take mail."""
    import http.client

    connection = http.client.HTTPConnection(_near(settings.api.host), settings.api.port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/v1/health/ready")
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(
                f"the REST door answers {answer.status}: {answer.read(1000).decode('utf-8', 'replace')}"
            )
    except (http.client.HTTPException, OSError) as error:
        raise OSError(f"the REST door on port {settings.api.port}: {error}") from None
    finally:
        connection.close()


def knock_smtp(listener: "ListenerSettings") -> None:
    """Raises `OSError` in words when a listener does not answer."""
    import smtplib
    import ssl

    # The door's own certificate names it, not the loopback address that it is asked at.
    unverified = ssl._create_unverified_context()  # noqa: S323
    try:
        with (
            smtplib.SMTP_SSL(_near(listener.host), listener.port, timeout=_PATIENCE, context=unverified)
            if listener.tls == "implicit"
            else smtplib.SMTP(_near(listener.host), listener.port, timeout=_PATIENCE)
        ) as client:
            code, text = client.noop()
    except (smtplib.SMTPException, OSError) as error:
        raise OSError(f"the SMTP door on port {listener.port}: {error}") from None
    if code != 250:
        raise OSError(
            f"the SMTP door on port {listener.port} answers {code} {text.decode('utf-8', 'replace')}"
        )


def _near(host: str) -> str:
    """Where to reach what listens on all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
