"""Keys for outgoing DKIM signatures, kept in the database."""

from enum import StrEnum
from typing import Annotated

import typer

from relay.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    fail,
    in_record,
    settings_from,
    show_json,
    show_table,
)

app = typer.Typer(
    no_args_is_help=True, help="Make, list and remove the keys that outgoing mail is signed with."
)

Domain = Annotated[str, typer.Argument(help="The domain whose mail is signed, subdomains included.")]
Selector = Annotated[str, typer.Option(help="The key's name below the domain.")]


class Kind(StrEnum):
    """Every receiver knows RSA; Ed25519 may be given besides."""

    RSA = "rsa"
    ED25519 = "ed25519"


@app.command()
def create(
    domain: Domain,
    selector: Selector = "pillarbox",
    kind: Annotated[Kind, typer.Option(help="The kind of key.")] = Kind.RSA,
    config: ConfigOption = None,
) -> None:
    """Make a key and print the DNS record to publish. Mail is signed with it from the next minute on."""
    from relay import signing
    from relay.config import secret
    from relay.store import dkim

    settings = settings_from(config)
    passphrase = secret(settings.dkim_passphrase.get_secret_value())
    if not passphrase:
        fail('set dkim_passphrase first, for example dkim_passphrase = "env:DKIM_PASSPHRASE"', 2)
    pem, record = signing.generate(kind.value, passphrase)
    in_record(settings, dkim.add, domain.lower(), selector, pem, record, writing=True)
    console.print(f'{selector}._domainkey.{domain.lower()}. TXT "{record}"', markup=False, soft_wrap=True)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the keys of the database and their DNS records."""
    from relay.store import dkim

    keys = [
        {name: key[name] for name in ("domain", "selector", "record", "created_at")}
        for key in in_record(settings_from(config), dkim.keys)
    ]
    if as_json:
        show_json(keys)
        return
    show_table(
        ("DOMAIN", "SELECTOR", "CREATED", "RECORD"),
        [(key["domain"], key["selector"], key["created_at"], key["record"]) for key in keys],
    )


@app.command()
def remove(domain: Domain, selector: Selector = "pillarbox", config: ConfigOption = None) -> None:
    """Sign with a key no more; leave its DNS record for some days, until signed mail has arrived."""
    from relay.store import dkim

    in_record(settings_from(config), dkim.remove, domain.lower(), selector, writing=True)
    console.print("removed")
