"""What the world's name servers say about us: SPF, DKIM, DMARC, the return path, the address for links."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from relay import signing
from relay.cli.examine.finding import Finding, fail, ok, warn
from relay.config import Settings
from relay.core.errors import Misconfigured

if TYPE_CHECKING:
    import dns.asyncresolver

_AREA = "DNS"
#: domains of senders that are asked about at most
_MOST = 50
_TIMEOUT = 5.0


class _NotKnown(Exception):
    """The name servers did not say, in words."""


async def examine(
    settings: Settings, domains: list[str], records: dict[str, str], server: str
) -> list[Finding]:
    """`domains` are those that mail is sent from; `records` has the DKIM record by name; `server` is `host:port`."""
    try:
        resolver = _resolver(server)
    except ModuleNotFoundError:
        todo = "pip install 'pillarbox[mx]'"
        return [warn(_AREA, "name servers", "not asked: dnspython is not installed", todo)]
    findings = []
    for domain in domains[:_MOST]:
        findings += [await _spf(resolver, domain), await _dmarc(resolver, domain)]
    if len(domains) > _MOST:
        findings.append(ok(_AREA, "senders", f"the first {_MOST} of {len(domains)} domains were asked about"))
    for name, record in records.items():
        findings.append(await _dkim(resolver, name, record))
    findings += await _return_path(resolver, settings)
    findings += await _links(resolver, settings)
    return findings


def _resolver(server: str) -> "dns.asyncresolver.Resolver":
    import dns.asyncresolver

    if not server:
        return dns.asyncresolver.Resolver()
    host, _, port = server.rpartition(":")
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [host]
    resolver.port = int(port)
    return resolver


async def _texts(resolver: "dns.asyncresolver.Resolver", name: str) -> list[str]:
    return [
        b"".join(record.strings).decode("utf-8", "replace") for record in await _ask(resolver, name, "TXT")
    ]


async def _ask(resolver: "dns.asyncresolver.Resolver", name: str, kind: str) -> list[Any]:
    """The records; none where the name or the kind does not exist. Raises `_NotKnown`."""
    import dns.exception
    import dns.resolver

    try:
        return list(await resolver.resolve(name, kind, lifetime=_TIMEOUT))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError) as error:
        raise _NotKnown(f"the name servers do not say: {error}") from None


async def _spf(resolver: "dns.asyncresolver.Resolver", domain: str) -> Finding:
    """RFC 7208 3.2 and 4.5: one record that begins with the version."""
    subject = f"SPF of {domain}"
    try:
        found = [text for text in await _texts(resolver, domain) if text.lower().split(" ")[0] == "v=spf1"]
    except _NotKnown as error:
        return warn(_AREA, subject, str(error), "Ask again later.")
    if not found:
        todo = f'Publish {domain}. TXT "v=spf1 … ~all" with what your providers name.'
        return warn(_AREA, subject, "there is no record", todo)
    if len(found) > 1:
        return fail(_AREA, subject, f"there are {len(found)} records, which counts as an error", "Leave one.")
    return ok(_AREA, subject, found[0])


async def _dmarc(resolver: "dns.asyncresolver.Resolver", domain: str) -> Finding:
    """RFC 7489 6.6.3: at the domain, else at the one it belongs to, for which its parent with two labels is taken."""
    subject = f"DMARC of {domain}"
    parent = ".".join(domain.split(".")[-2:])
    try:
        for name in dict.fromkeys((domain, parent)):
            found = [text for text in await _texts(resolver, f"_dmarc.{name}") if text.startswith("v=DMARC1")]
            if found:
                return ok(_AREA, subject, found[0])
    except _NotKnown as error:
        return warn(_AREA, subject, str(error), "Ask again later.")
    todo = f'Publish _dmarc.{domain}. TXT "v=DMARC1; p=none; rua=mailto:…"; large receivers ask for it.'
    return warn(_AREA, subject, "there is no record", todo)


async def _dkim(resolver: "dns.asyncresolver.Resolver", name: str, record: str) -> Finding:
    subject = f"DKIM at {name}"
    try:
        found = await _texts(resolver, name)
    except _NotKnown as error:
        return warn(_AREA, subject, str(error), "Ask again later.")
    if not found:
        return fail(
            _AREA,
            subject,
            "there is no record; signatures cannot be verified",
            f'Publish {name}. TXT "{record}"',
        )
    if _key_of(record) not in {_key_of(text) for text in found}:
        return fail(_AREA, subject, "the record has another key", f'Publish {name}. TXT "{record}"')
    return ok(_AREA, subject, "has the key that mail is signed with")


def _key_of(record: str) -> str:
    tags = dict(tag.strip().partition("=")[::2] for tag in record.split(";") if "=" in tag)
    return "".join(tags.get("p", "").split())


async def _return_path(resolver: "dns.asyncresolver.Resolver", settings: Settings) -> list[Finding]:
    domain = settings.ingest.bounce_domain
    if not domain:
        return []
    subject, name = f"return path {domain}", settings.smtp.name.lower()
    try:
        found = [
            record.exchange.to_text(omit_final_dot=True).lower()
            for record in await _ask(resolver, domain, "MX")
        ]
    except _NotKnown as error:
        return [warn(_AREA, subject, str(error), "Ask again later.")]
    if not found:
        return [
            fail(_AREA, subject, "has no MX; bounces do not come home", f"Publish {domain}. MX 10 {name}.")
        ]
    if name not in found and not settings.ingest.mailboxes:
        says = f"its MX is {', '.join(found)} and not this door, {name}"
        todo = (
            f"Publish {domain}. MX 10 {name}., or name the mailbox where bounces arrive in ingest.mailboxes."
        )
        return [warn(_AREA, subject, says, todo)]
    return [ok(_AREA, subject, f"its MX is {', '.join(found)}"), await _spf(resolver, domain)]


async def _links(resolver: "dns.asyncresolver.Resolver", settings: Settings) -> list[Finding]:
    findings = []
    for setting, url in (("public_url", settings.public_url), ("tracking.url", settings.tracking.url)):
        host = urlsplit(url).hostname
        if not host:
            continue
        try:
            found = [*await _ask(resolver, host, "A"), *await _ask(resolver, host, "AAAA")]
        except _NotKnown as error:
            findings.append(warn(_AREA, setting, str(error), "Ask again later."))
            continue
        if found:
            findings.append(ok(_AREA, setting, f"{host} is at {', '.join(one.to_text() for one in found)}"))
        else:
            todo = "Links in mail lead nowhere: publish an address, or change the setting."
            findings.append(fail(_AREA, setting, f"{host} has no address", todo))
    return findings


def dkim_records(settings: Settings, kept: list[dict[str, Any]]) -> dict[str, str]:
    """The record that belongs at each name, for keys of files and of the database. Raises `Misconfigured`."""
    records = {f"{row['selector']}._domainkey.{row['domain']}": row["record"] for row in kept}
    for one in settings.dkim:
        try:
            pem = one.key_file.read_bytes()
        except OSError as error:
            raise Misconfigured(f"dkim: {one.key_file} cannot be read: {error.strerror}") from None
        records[f"{one.selector}._domainkey.{one.domain.lower()}"] = signing.record_of(
            pem, where=str(one.key_file)
        )
    return records
