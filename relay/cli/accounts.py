"""Accounts: who sends through this installation."""

from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(no_args_is_help=True, help="Create, list, change and disable accounts.")

Name = Annotated[str, typer.Argument(help="The account's name.")]


@app.command()
def create(
    name: Name,
    sender: Annotated[
        list[str] | None, typer.Option(help="An address, a domain or * it may send as. Repeatable.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Reply-To of its mail that names none.")] = None,
    config: ConfigOption = None,
) -> None:
    """Create an account. Keys are made with `keys create --account`."""
    from relay.store import accounts

    identifier = in_record(
        settings_from(config), accounts.create_account, name, email=email, senders=sender or (), writing=True
    )
    console.print(f"account {name} has the ID {identifier}", markup=False)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List accounts, newest first."""
    from relay.store import accounts

    rows = in_record(settings_from(config), accounts.list_accounts)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("ID", "NAME", "EMAIL", "CREATED", "DISABLED"),
        [(row["id"], row["name"], row["email"], row["created_at"], row["disabled_at"]) for row in rows],
    )


@app.command()
def rename(
    name: Name, to: Annotated[str, typer.Argument(help="The new name.")], config: ConfigOption = None
) -> None:
    """Change an account's name; its keys work on."""
    _change(config, name, {"name": to})
    console.print(f"account {name} is called {to} now", markup=False)


@app.command()
def disable(name: Name, config: ConfigOption = None) -> None:
    """Stop every key of an account; running processes notice within seconds.

    Mail it handed in goes on; its recipient lists are paused, and what of them is in the queue is held.
    """
    _change(config, name, {"disabled_at": now()})
    console.print(f"account {name} is disabled", markup=False)


@app.command()
def enable(name: Name, config: ConfigOption = None) -> None:
    """Let a disabled account's keys work again; its lists go on once they are resumed."""
    _change(config, name, {"disabled_at": None})
    console.print(f"account {name} is enabled", markup=False)


def _change(config: ConfigOption, name: str, changes: dict[str, Any]) -> None:
    from relay.store import accounts

    def work(connection: "sa.Connection") -> None:
        accounts.update_account(connection, accounts.account_by_name(connection, name), changes)

    in_record(settings_from(config), work, writing=True)
