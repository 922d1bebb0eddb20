"""Senders: what accounts may send as."""

from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(no_args_is_help=True, help="Add, list and remove what accounts may send as.")

Account = Annotated[str, typer.Option(help="The account's name.")]
Pattern = Annotated[str, typer.Argument(help="An address, a domain, or * for anything.")]


@app.command()
def add(pattern: Pattern, account: Account = "default", config: ConfigOption = None) -> None:
    """Let an account send as an address or a domain."""
    from relay.store import accounts, senders

    def work(connection: "sa.Connection") -> dict[str, Any]:
        return senders.add_sender(connection, accounts.account_by_name(connection, account), pattern)

    made = in_record(settings_from(config), work, writing=True)
    console.print(f"{account} may send as {made['pattern']}", markup=False)


@app.command("list")
def list_(account: Account = "default", config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what an account may send as."""
    from relay.store import accounts, senders

    def work(connection: "sa.Connection") -> list[dict[str, Any]]:
        return senders.list_senders(connection, accounts.account_by_name(connection, account))

    rows = in_record(settings_from(config), work)
    if as_json:
        show_json(rows)
        return
    show_table(("ID", "SENDER", "CREATED"), [(row["id"], row["pattern"], row["created_at"]) for row in rows])


@app.command()
def remove(pattern: Pattern, account: Account = "default", config: ConfigOption = None) -> None:
    """Stop an account from sending as an address or a domain."""
    from relay.store import accounts, senders

    def work(connection: "sa.Connection") -> bool:
        account_id = accounts.account_by_name(connection, account)
        for row in senders.list_senders(connection, account_id):
            if row["pattern"] == pattern.strip().lower():
                senders.remove_sender(connection, account_id, row["id"])
                return True
        return False

    if not in_record(settings_from(config), work, writing=True):
        fail(f"{pattern} is no sender of {account}")
    console.print(f"{account} may not send as {pattern} any more", markup=False)
