"""The commands and how they are grouped."""

from typing import Annotated

import typer

from relay import __version__
from relay.cli import (
    accounts,
    audit,
    backup,
    batches,
    bounces,
    configuration,
    dkim,
    doctor,
    fakes,
    health,
    ingest,
    keys,
    messages,
    providers,
    queue,
    retention,
    roles,
    routes,
    send,
    senders,
    statistics,
    streams,
    suppressions,
    templates,
    up,
    webhooks,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Mail in by SMTP or REST, out through the provider you configure, with a true status to read back.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pillarbox {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


app.command("up")(up.up)
for role in (roles.smtp, roles.api, roles.worker, roles.clock):
    app.command(role.__name__)(role)
app.command("migrate")(roles.migrate)
app.command("send")(send.send)
app.command("fakes")(fakes.fakes)
app.command("health")(health.health)
app.command("doctor")(doctor.doctor)
app.command("audit")(audit.audit)
app.command("stats")(statistics.stats)
app.command("redact")(retention.redact)
app.command("erase")(retention.erase)
app.add_typer(retention.app, name="retention")
app.command("backup")(backup.backup)
app.add_typer(accounts.app, name="accounts")
app.add_typer(senders.app, name="senders")
app.add_typer(keys.app, name="keys")
app.add_typer(streams.app, name="streams")
app.add_typer(suppressions.app, name="suppressions")
app.add_typer(messages.app, name="messages")
app.add_typer(templates.app, name="templates")
app.add_typer(batches.app, name="batches")
app.add_typer(dkim.app, name="dkim")
app.add_typer(bounces.app, name="bounces")
app.add_typer(configuration.app, name="config")
app.add_typer(providers.app, name="providers")
providers.app.command("webhooks")(ingest.webhooks)
app.add_typer(ingest.app, name="ingest")
app.add_typer(routes.app, name="routes")
app.add_typer(queue.app, name="queue")
app.add_typer(webhooks.app, name="webhooks")
