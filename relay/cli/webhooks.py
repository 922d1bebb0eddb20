"""Webhooks: where customers are told what becomes of their mail."""

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from relay.cli.noting import note
from relay.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    errors,
    fail,
    settings_from,
    show_json,
    show_table,
    with_record,
)

if TYPE_CHECKING:
    from relay.notices.endpoints import Endpoints
    from relay.store.database import Database

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True, help="Tell customers what becomes of their mail: endpoints, notices, attempts."
)

Id = Annotated[int, typer.Argument(help="The endpoint's id.")]
Kind = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Such as email.bounced; may be repeated. Without, everything."),
]
Stream = Annotated[
    list[str] | None, typer.Option("--stream", help="Only mail of this stream; may be repeated.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="Only mail with this tag; may be repeated.")]
Description = Annotated[str | None, typer.Option(help="For those who read it later.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")]

_SECRETS = {"secret", "previous_secret"}


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="An https URL.")],
    account: Annotated[str, typer.Option(help="The account's name.")] = "default",
    kind: Kind = None,
    stream: Stream = None,
    tag: Tag = None,
    description: Description = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell an account by webhook what becomes of its mail; prints the secret once."""
    from relay.store import accounts

    async def work(endpoints: "Endpoints", database: "Database") -> tuple[dict[str, Any], str]:
        account_id = await database.read(accounts.account_by_name, account)
        wanted = {"kinds": kind, "streams": stream, "tags": tag, "description": description or ""}
        return await endpoints.create(account_id, url, **wanted)

    row, secret = _run(config, work, changing=True)
    if as_json:
        show_json({**_public(row), "secret": secret})
        return
    errors.print(f"endpoint {row['id']} of {account}; this is its secret, which is not shown again:")
    typer.echo(secret)


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="One account's; without it, all.")] = None,
    limit: Limit = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List endpoints, newest first."""
    from relay.store import accounts, endpoints

    async def work(_endpoints: "Endpoints", database: "Database") -> list[dict[str, Any]]:
        account_id = await database.read(accounts.account_by_name, account) if account else None
        return await database.read(endpoints.page, account_id, limit=limit)

    rows = _run(config, work)
    if as_json:
        show_json([_public(row) for row in rows])
        return
    show_table(
        ("ID", "URL", "STATE", "FAILING SINCE", "KINDS", "DESCRIPTION"),
        [
            (
                str(row["id"]),
                row["url"],
                row["state"],
                row["failing_since"],
                ", ".join(row["kinds"] or ["all"]),
                row["description"],
            )
            for row in rows
        ],
    )


@app.command()
def show(endpoint: Id, config: ConfigOption = None) -> None:
    """Show one endpoint as JSON."""
    from relay.store import endpoints

    async def work(_endpoints: "Endpoints", database: "Database") -> dict[str, Any]:
        return await database.read(endpoints.get, None, endpoint)

    show_json(_public(_run(config, work)))


@app.command()
def change(
    endpoint: Id,
    url: Annotated[str | None, typer.Option(help="Another URL.")] = None,
    kind: Kind = None,
    stream: Stream = None,
    tag: Tag = None,
    description: Description = None,
    config: ConfigOption = None,
) -> None:
    """Change an endpoint; what is not given stays. An empty --kind, --stream or --tag lifts that filter."""
    wanted = {
        name: value for name, value in (("url", url), ("description", description)) if value is not None
    } | {
        name: [one for one in value if one]
        for name, value in (("kinds", kind), ("streams", stream), ("tags", tag))
        if value
    }
    if not wanted:
        fail("nothing to change; see --help", 2)
    _change(config, endpoint, wanted)
    console.print(f"endpoint {endpoint} is changed")


@app.command()
def enable(endpoint: Id, config: ConfigOption = None) -> None:
    """Tell an endpoint again, what waited first."""
    _change(config, endpoint, {"enabled": True})
    console.print(f"endpoint {endpoint} is enabled")


@app.command()
def disable(endpoint: Id, config: ConfigOption = None) -> None:
    """Tell an endpoint nothing for now."""
    _change(config, endpoint, {"enabled": False})
    console.print(f"endpoint {endpoint} is disabled")


@app.command()
def delete(endpoint: Id, config: ConfigOption = None) -> None:
    """Delete an endpoint and its notices."""

    async def work(endpoints: "Endpoints", _database: "Database") -> None:
        await endpoints.remove(None, endpoint)

    _run(config, work, changing=True)
    console.print(f"endpoint {endpoint} is deleted")


@app.command()
def rotate(endpoint: Id, config: ConfigOption = None) -> None:
    """Make a new secret and print it once; the old one stays valid for 24 hours."""

    async def work(endpoints: "Endpoints", _database: "Database") -> tuple[dict[str, Any], str]:
        return await endpoints.rotate(None, endpoint)

    row, secret = _run(config, work, changing=True)
    errors.print(f"the secret before stays valid until {row['previous_until']:%Y-%m-%d %H:%M} UTC")
    typer.echo(secret)


@app.command()
def ping(endpoint: Id, config: ConfigOption = None) -> None:
    """Call an endpoint now and say what came of it; exit code 1 when it was not taken."""

    async def work(endpoints: "Endpoints", _database: "Database") -> Any:
        return await endpoints.ping(None, endpoint)

    reply = _run(config, work)
    if not reply.delivered:
        _fail(f"not delivered: {reply.error}")
    console.print(f"delivered: answered {reply.status} after {reply.ms} ms")


@app.command()
def notices(
    endpoint: Id,
    state: Annotated[str | None, typer.Option(help="pending, sending, delivered or failed.")] = None,
    limit: Limit = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what an endpoint was told, or is to be told, newest first."""
    from relay.core.notice import NoticeState
    from relay.store import endpoints
    from relay.store import notices as store

    if state is not None and state not in set(NoticeState):
        fail(f"--state must be one of {', '.join(NoticeState)}", 2)

    async def work(_endpoints: "Endpoints", database: "Database") -> list[dict[str, Any]]:
        await database.read(endpoints.get, None, endpoint)
        wanted = NoticeState(state) if state else None
        return await database.read(store.page, endpoint, limit=limit, state=wanted)

    rows = _run(config, work)
    if as_json:
        show_json([{**row, "payload": json.loads(bytes(row["payload"]))} for row in rows])
        return
    show_table(
        ("ID", "TYPE", "MESSAGE", "STATE", "TRIES", "DUE", "ERROR"),
        [
            (
                str(row["id"]),
                row["kind"],
                str(row["message_id"] or ""),
                row["state"],
                row["attempts"],
                row["due_at"] if row["done_at"] is None else None,
                row["error"],
            )
            for row in rows
        ],
    )


@app.command()
def attempts(
    endpoint: Id,
    notice: Annotated[int | None, typer.Option(help="Those of one notice.")] = None,
    limit: Limit = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the calls of an endpoint's URL, newest first."""
    from relay.store import endpoints
    from relay.store import notices as store

    async def work(_endpoints: "Endpoints", database: "Database") -> list[dict[str, Any]]:
        await database.read(endpoints.get, None, endpoint)
        return await database.read(store.attempts, endpoint, limit=limit, notice_id=notice)

    rows = _run(config, work)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("NOTICE", "AT", "STATUS", "MS", "ERROR"),
        [(str(row["notice_id"]), row["at"], row["status"], row["ms"], row["error"]) for row in rows],
    )


_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def replay(
    endpoint: Id,
    notice: Annotated[int | None, typer.Option(help="One notice.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Everything that was given up.")] = False,
    start: Annotated[
        datetime | None, typer.Option("--from", help="Everything from this time on (UTC).", formats=_FORMATS)
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(help="With --from: up to this time; without it, now.", formats=_FORMATS)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Tell one thing, everything that failed, or everything of a time again."""
    if (notice is not None) + failed + (start is not None) != 1 or (before and not start):
        fail("give one of --notice, --failed, or --from with --before", 2)

    async def work(endpoints: "Endpoints", _database: "Database") -> int:
        if notice is not None:
            return await endpoints.replay_one(None, endpoint, notice)
        if start is None:
            return await endpoints.replay_failed(None, endpoint)
        end = before.replace(tzinfo=UTC) if before else datetime.now(UTC)
        return await endpoints.replay_between(None, endpoint, start.replace(tzinfo=UTC), end)

    count = _run(config, work, changing=True)
    console.print(f"{count} notice{'' if count == 1 else 's'} will be sent again")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The body, exactly as it came.", exists=True, dir_okay=False)],
    identifier: Annotated[str, typer.Option("--id", help="The webhook-id header.")],
    timestamp: Annotated[int, typer.Option(help="The webhook-timestamp header.")],
    signature: Annotated[str, typer.Option(help="The webhook-signature header.")],
    secret: Annotated[
        str,
        typer.Option(help="The endpoint's secret.", envvar="WEBHOOK_SECRET", prompt=True, hide_input=True),
    ],
) -> None:
    """Check a signature by hand, whenever it was made; exit code 1 when it is wrong."""
    import hmac

    from relay.notices.secrets import sign

    if not re.fullmatch(r"whsec_[A-Za-z0-9+/=]+", secret):
        fail("the secret must begin with whsec_", 2)
    try:
        base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        fail("the secret is not whole", 2)
    expected = sign(secret, identifier, timestamp, file.read_bytes())
    if not any(hmac.compare_digest(expected, one) for one in signature.split()):
        fail("the signature is wrong: another secret, or not the bytes, id and time that were signed")
    console.print("the signature is right")


@app.command()
def reseal(config: ConfigOption = None) -> None:
    """Encrypt endpoints' secrets anew, after `security.secret` has changed; receivers notice nothing."""

    async def work(endpoints: "Endpoints", _database: "Database") -> tuple[int, list[int]]:
        return await endpoints.reseal()

    changed, lost = _run(config, work)
    console.print(f"{changed} endpoints' secrets are encrypted anew")
    if lost:
        fail(
            f"encrypted with a key that is not known: {', '.join(map(str, lost))}; name it in "
            "security.previous_secrets, or rotate these endpoints' secrets"
        )


def _change(config: Path | None, endpoint: int, wanted: dict[str, Any]) -> None:
    async def work(endpoints: "Endpoints", _database: "Database") -> None:
        await endpoints.change(None, endpoint, wanted)

    _run(config, work, changing=True)


def _public(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in _SECRETS}
    return {**shown, "id": str(row["id"]), "account_id": str(row["account_id"])}


def _run(
    config: Path | None, work: "Callable[[Endpoints, Database], Awaitable[T]]", *, changing: bool = False
) -> T:
    """Do something with the endpoints of the configured database, schema checked first."""
    from relay.config import sealing_secrets
    from relay.notices.endpoints import Endpoints
    from relay.notices.secrets import open_safe

    settings = settings_from(config)

    async def run(database: "Database") -> T:
        safe = partial(open_safe, sealing_secrets(settings), database)
        found = await work(Endpoints(database, settings.webhooks, safe), database)
        if changing:
            await note(database)
        return found

    return with_record(settings, run)


def _fail(message: str) -> NoReturn:
    from rich.markup import escape

    fail(escape(message))
