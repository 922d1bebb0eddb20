"""A copy of the record, made while mail flows."""

from pathlib import Path
from typing import Annotated

import typer

from relay.cli.output import ConfigOption, console, errors, fail, settings_from


def backup(
    file: Annotated[Path, typer.Argument(help="The new file; one that exists is never replaced.")],
    config: ConfigOption = None,
) -> None:
    """Copy a SQLite record to a file while mail flows; for PostgreSQL use pg_dump. See docs/backup.md."""
    from rich.markup import escape

    from relay.core.errors import Misconfigured, RelayError
    from relay.store import backup as store
    from relay.store.database import open_database
    from relay.store.sqlite import SqliteDatabase

    settings = settings_from(config)
    try:
        database = open_database(settings.database_url)
        if not isinstance(database, SqliteDatabase):
            fail("this record is on PostgreSQL: copy it with pg_dump --format=custom", 2)
        with errors.status("copying the record"):
            size = store.copy(database.path, file)
    except (Misconfigured, RelayError) as error:
        fail(escape(str(error)), 2 if isinstance(error, Misconfigured) else 1)
    console.print(f"{file}: {size:,} octets, checked", markup=False)
