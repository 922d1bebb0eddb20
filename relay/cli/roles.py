"""One process, one role: the parts that `up` runs together, for running apart on one or many machines."""

from typing import TYPE_CHECKING

import typer

from relay.cli.output import ConfigOption, console, fail, settings_from

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.process import Role


def smtp(config: ConfigOption = None) -> None:
    """Run the SMTP door."""
    from relay.smtp.server import serve

    _run(serve, "smtp", settings_from(config))


def api(config: ConfigOption = None) -> None:
    """Run the REST door."""
    from api.main import serve

    _run(serve, "api", settings_from(config))


def worker(config: ConfigOption = None) -> None:
    """Run a delivery worker; run as many as you like."""
    from workers.main import serve

    _run(serve, "worker", settings_from(config))


def clock(config: ConfigOption = None) -> None:
    """Run a clock, which asks again for what is due; of several, one leads."""
    from workers.clock import serve

    _run(serve, "clock", settings_from(config))


def migrate(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema; safe to run again and side by side."""
    from rich.markup import escape

    from relay.core.errors import Misconfigured, RelayError
    from relay.store import migrate

    settings = settings_from(config)
    try:
        migrate.upgrade(settings.database_url)
    except (Misconfigured, RelayError, OSError) as error:
        fail(escape(str(error)))
    console.print("the database is at this version's schema")


def _run(role: "Role", name: str, settings: "Settings") -> None:
    from relay import process
    from relay.store import migrate

    if not migrate.is_current(settings.database_url):
        fail("the database has no current schema yet; run `pillarbox migrate` first", 2)
    raise typer.Exit(process.run(role, name, settings))
