"""API keys, which are also the passwords of the SMTP door."""

from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    errors,
    fail,
    in_record,
    settings_from,
    show_json,
    show_table,
)
from relay.core.clock import now, wire_time
from relay.core.identity import SCOPES

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(no_args_is_help=True, help="Create, list, rotate and revoke API keys.")


@app.command()
def create(
    account: Annotated[str, typer.Option(help="The account the key belongs to.")] = "default",
    label: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: send, read, manage, admin. Repeatable.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; default: never.")] = None,
    sender: Annotated[
        list[str] | None,
        typer.Option(help="For a new account: an address, a domain or * it may send as. Repeatable."),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Where it may be used from (CIDR). Repeatable; default: anywhere."),
    ] = None,
    rate_limit: Annotated[int | None, typer.Option(min=1, help="Sends per second.")] = None,
    daily_quota: Annotated[int | None, typer.Option(min=1, help="Sends per day (UTC).")] = None,
    track_opens: Annotated[
        bool | None, typer.Option(help="Whether opens are tracked where mail and stream do not say.")
    ] = None,
    track_clicks: Annotated[
        bool | None, typer.Option(help="Whether clicks are tracked where mail and stream do not say.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key, and its account where there is none of that name. The key is printed once."""
    from relay.store import accounts

    unknown = set(scope or ()) - set(SCOPES)
    if unknown:
        fail(f"--scope must be one of {', '.join(SCOPES)}", 2)
    key = in_record(
        settings_from(config),
        accounts.issue_key,
        account,
        label=label,
        scopes=scope or accounts.DEFAULT_SCOPES,
        expires_at=now() + timedelta(days=days) if days else None,
        senders=sender,
        networks=[_network(one) for one in network or ()],
        rate_limit=rate_limit,
        daily_quota=daily_quota,
        track_opens=track_opens,
        track_clicks=track_clicks,
        writing=True,
    )
    if as_json:
        show_json({"id": str(key.id), "account": key.account, "key": key.secret})
    else:
        console.print(key.secret, markup=False)


def _network(written: str) -> str:
    try:
        return str(ip_network(written, strict=False))
    except ValueError:
        fail(f"--network: {written} is no network such as 192.0.2.0/24 or 2001:db8::/32", 2)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List keys; the keys themselves are not kept."""
    from relay.store import accounts

    keys = in_record(settings_from(config), accounts.list_keys)
    if as_json:
        show_json(keys)
        return
    show_table(
        (
            "ID",
            "ACCOUNT",
            "LABEL",
            "ENDS IN",
            "SCOPES",
            "NETWORKS",
            "CREATED",
            "LAST USED",
            "EXPIRES",
            "REVOKED",
        ),
        [
            (
                key["id"],
                key["account"],
                key["label"],
                key["last_five"],
                " ".join(key["scopes"] or accounts.DEFAULT_SCOPES),
                " ".join(key["networks"] or ()),
                key["created_at"],
                key["last_used_at"],
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


@app.command()
def rotate(
    key_id: Annotated[int, typer.Argument(help="The ID that `keys list` shows.")],
    hours: Annotated[float, typer.Option(min=0, max=90 * 24, help="Hours that the old key works on.")] = 24,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key's successor, which may do the same. It is printed once; the old one works on for a while."""
    from relay.store import accounts, keys

    def work(connection: "sa.Connection") -> tuple[accounts.NewKey, datetime]:
        account_id = keys.owner(connection, key_id)
        return keys.rotate(connection, account_id, key_id, overlap=timedelta(hours=hours))

    key, ends = in_record(settings_from(config), work, writing=True)
    errors.print(f"key {key_id} works until {wire_time(ends)}")
    if as_json:
        show_json(
            {"id": str(key.id), "account": key.account, "key": key.secret, "old_until": wire_time(ends)}
        )
    else:
        console.print(key.secret, markup=False)
