"""API keys, which are also the passwords of the SMTP door."""

from datetime import timedelta
from typing import Annotated

import typer

from relay.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    in_record,
    settings_from,
    show_json,
    show_table,
)
from relay.core.clock import now

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    account: Annotated[str, typer.Option(help="The account the key belongs to.")] = "default",
    label: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: send, read, admin. Repeatable.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; default: never.")] = None,
    sender: Annotated[
        list[str] | None,
        typer.Option(help="For a new account: an address, a domain or * it may send as. Repeatable."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Create a key, and its account where there is none of that name. The key is printed once."""
    from relay.store import accounts

    key = in_record(
        settings_from(config),
        accounts.issue_key,
        account,
        label=label,
        scopes=scope or accounts.DEFAULT_SCOPES,
        expires_at=now() + timedelta(days=days) if days else None,
        senders=sender,
        writing=True,
    )
    console.print(key.secret, markup=False)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List keys; the keys themselves are not kept."""
    from relay.store import accounts

    keys = in_record(settings_from(config), accounts.list_keys)
    if as_json:
        show_json(keys)
        return
    show_table(
        ("ID", "ACCOUNT", "LABEL", "ENDS IN", "SCOPES", "CREATED", "EXPIRES", "REVOKED"),
        [
            (
                key["id"],
                key["account"],
                key["label"],
                key["last_five"],
                " ".join(key["scopes"] or accounts.DEFAULT_SCOPES),
                key["created_at"],
                key["expires_at"],
                key["revoked_at"],
            )
            for key in keys
        ],
    )


@app.command()
def revoke(
    key_id: Annotated[int, typer.Argument(help="The ID that `keys list` shows.")], config: ConfigOption = None
) -> None:
    """Make a key stop working; running processes notice within seconds."""
    from relay.store import accounts

    in_record(settings_from(config), accounts.revoke_key, key_id, writing=True)
    console.print(f"key {key_id} is revoked")
