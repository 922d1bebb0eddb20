"""The doors: open, and with certificates that last."""

import ssl
from datetime import datetime

from relay.cli.examine.finding import Finding, Level, fail, ok, warn
from relay.cli.health import knock_rest, knock_smtp
from relay.config import Settings
from relay.core.clock import now
from relay.sections import ListenerSettings

_AREA = "doors"
#: days before its end from which on a certificate is worth a word
_SOON = 14


def examine(settings: Settings) -> list[Finding]:
    findings = []
    try:
        knock_rest(settings)
    except OSError as error:
        findings.append(fail(_AREA, "REST", str(error), "Start `pillarbox api`, or `pillarbox up`."))
    else:
        findings.append(ok(_AREA, "REST", f"{settings.api.host}:{settings.api.port} can take mail"))
    for listener in settings.smtp.listeners:
        name = f"SMTP {listener.host}:{listener.port}"
        if listener.proxy_from:
            findings.append(ok(_AREA, name, "speaks to its load balancers only; not asked"))
            continue
        try:
            knock_smtp(listener)
        except OSError as error:
            findings.append(fail(_AREA, name, str(error), "Start `pillarbox smtp`, or `pillarbox up`."))
        else:
            findings.append(ok(_AREA, name, "can take mail"))
        findings += _certificate(listener, settings.smtp.name)
    return findings


def _certificate(listener: ListenerSettings, hostname: str) -> list[Finding]:
    name = f"certificate of port {listener.port}"
    if listener.certificate is None:
        if listener.tls == "starttls" and not listener.host.startswith(("127.", "::1")):
            todo = "Name one in certificate and key; passwords travel in clear without it."
            return [warn(_AREA, name, "none, so STARTTLS is not offered", todo)]
        return []
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(listener.certificate, listener.key)
        decoded = ssl._ssl._test_decode_cert(str(listener.certificate))  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        todo = "Put certificate (with its chain) and key there, both readable for Pillarbox."
        return [fail(_AREA, name, f"{listener.certificate}: {error}", todo)]
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(decoded["notAfter"]), tz=now().tzinfo)
    days = (ends - now()).days
    says = f"valid until {ends:%Y-%m-%d}"
    if days < 0:
        return [
            fail(
                _AREA,
                name,
                f"ended on {ends:%Y-%m-%d}",
                "Renew it; the door takes up the new file by itself.",
            )
        ]
    names = [value for kind, value in decoded.get("subjectAltName", ()) if kind == "DNS"]
    findings = [
        warn(_AREA, name, says, "Renew it; the door takes up the new file by itself.")
        if days < _SOON
        else ok(_AREA, name, says)
    ]
    if not any(_covers(one, hostname) for one in names):
        todo = (
            "Clients that verify it will not connect by that name: change smtp.hostname or the certificate."
        )
        findings.append(
            Finding(_AREA, name, Level.WARN, f"is for {', '.join(names)} and not for {hostname}", todo)
        )
    return findings


def _covers(pattern: str, hostname: str) -> bool:
    """RFC 6125 6.4: a star stands for one whole label at the left."""
    pattern, hostname = pattern.lower(), hostname.lower()
    if pattern.startswith("*."):
        return hostname.partition(".")[2] == pattern[2:]
    return pattern == hostname
