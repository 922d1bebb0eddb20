"""Who changed what: through the API, the console or the command line."""

import json
from typing import Annotated

import typer

from relay.cli.output import ConfigOption, JsonOption, in_record, settings_from, show_json, show_table


def audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    action: Annotated[
        str | None, typer.Option(help="Calls and commands with this in their name, such as `providers`.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Changes of this: an id, a name, an address.")] = None,
    key: Annotated[int | None, typer.Option(help="Changes by the key with this id.")] = None,
    door: Annotated[str | None, typer.Option(help="Changes made there: api, console or cli.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the changes made through the API, the console and the command line, newest first."""
    from relay.core.ids import made_at
    from relay.store.audit import page

    rows = in_record(
        settings_from(config), page, limit=limit, action=action, subject=subject, key_id=key, door=door
    )
    if as_json:
        show_json([{**row, "at": made_at(row["id"])} for row in rows])
        return
    show_table(
        ("AT", "WHO", "DOOR", "FROM", "ACTION", "SUBJECT", "DETAIL"),
        [
            (
                made_at(row["id"]),
                row["who"],
                row["door"],
                row["address"],
                row["action"],
                row["subject"],
                json.dumps(row["detail"], ensure_ascii=False) if row["detail"] else None,
            )
            for row in rows
        ],
    )
