"""How long things are kept, and what is to go now."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli.noting import note
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
    with_record,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.store.database import Database

app = typer.Typer(no_args_is_help=True, help="Show and change how long things are kept; clean up now.")

Full = Annotated[
    bool, typer.Option("--full", help="PostgreSQL: write every table anew; nobody reaches it meanwhile.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is changed.")]


@app.command()
def run(dry_run: DryRun = False, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Let go now what was kept for long enough, in small steps; the clock does it by itself."""
    from relay.retention import sweep_all

    settings = settings_from(config)

    async def work(database: "Database") -> Any:
        if not dry_run:
            await note(database)
        return await sweep_all(
            database,
            settings,
            dry_run=dry_run,
            told=lambda part, messages: status.update(f"{part}: {messages:,} messages"),
        )

    with errors.status("looking") as status:
        found = with_record(settings, work)
    rows = [{"part": part, "messages": one.messages, "unsent": one.unsent} for part, one in found.items()]
    if as_json:
        show_json(rows)
    elif not rows:
        console.print("everything is kept for ever; see [retention] in the configuration", markup=False)
    else:
        word = "WOULD GO" if dry_run else "GONE"
        show_table(("PART", word, "NOT SENT YET"), [tuple(row.values()) for row in rows])


@app.command()
def show(
    account: Annotated[str, typer.Option(help="The account's name.")] = "default",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many days what is kept: by the configuration, and by an account's own rules."""
    from relay.retention import defaults
    from relay.store import accounts, retention

    settings = settings_from(config)

    def work(connection: "sa.Connection") -> Any:
        return retention.of_account(connection, accounts.account_by_name(connection, account))

    own = in_record(settings, work)
    rules: list[dict[str, Any]] = [{"account": None, "stream": None, "days": defaults(settings)}]
    rules += [{"account": account, "stream": stream or None, "days": days} for stream, days in own.items()]
    if as_json:
        show_json(rules)
        return
    rows = [(one["account"] or "everybody", one["stream"] or "all", _days(one["days"])) for one in rules]
    show_table(("ACCOUNT", "STREAM", "DAYS (0 IS FOR EVER)"), rows)


def _days(days: Any) -> str:
    return " ".join(f"{part}={number}" for part, number in days.items())


@app.command("set")
def set_(
    days: Annotated[
        list[str] | None, typer.Argument(help="Such as body=30 addresses=90; none lets the rule go.")
    ] = None,
    account: Annotated[str, typer.Option(help="The account's name.")] = "default",
    stream: Annotated[str, typer.Option(help="Only mail of this stream.")] = "",
    config: ConfigOption = None,
) -> None:
    """Keep an account's mail, or that of one of its streams, for other times."""
    from relay.store import accounts, retention

    found = {}
    for one in days or []:
        part, _, number = one.partition("=")
        if not number.isascii() or not number.isdigit():
            fail(f"{one}: the form is body=30", 2)
        found[part] = int(number)

    def work(connection: "sa.Connection") -> None:
        retention.set_rule(connection, accounts.account_by_name(connection, account), stream, found)

    in_record(settings_from(config), work, writing=True)
    console.print(
        f"{account}{f' {stream}' if stream else ''}: {_days(found) or 'as everybody'}", markup=False
    )


@app.command()
def scrub(full: Full = False, config: ConfigOption = None) -> None:
    """Have the database let go of the octets of what was deleted. On SQLite writers wait until it has ended."""
    from relay.store.scrub import scrub as work

    settings = settings_from(config)
    with errors.status("writing the database anew"):
        work(settings.database_url, full=full)
    console.print("done", markup=False)


def redact(
    message: Annotated[int, typer.Argument(help="The message's id.")],
    addresses: Annotated[bool, typer.Option("--addresses", help="Whom it was for goes as well.")] = False,
    attachments: Annotated[
        bool, typer.Option("--attachments", help="Only its attachments go; the rest can be read.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Delete what a message says; its status stays."""
    from relay.core.clock import now
    from relay.retention import strip_one
    from relay.store.retention import redact_one

    if addresses and attachments:
        fail("--addresses and --attachments exclude one another", 2)
    settings = settings_from(config)
    if attachments:
        done = with_record(settings, lambda database: strip_one(database, None, message))
    else:
        done = in_record(settings, redact_one, None, message, addresses=addresses, now=now(), writing=True)
    if not done:
        fail(f"there is no message {message}")
    what = f"the attachments of message {message} are" if attachments else f"message {message} is"
    console.print(f"{what} redacted", markup=False)


def erase(
    address: Annotated[str, typer.Argument(help="Whom to erase.")],
    dry_run: DryRun = False,
    scrubbing: Annotated[
        bool, typer.Option("--scrub/--no-scrub", help="Have the database let go of the octets too.")
    ] = True,
    full: Full = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a person from the whole record and from captured mail; a suppression stays as a hash."""
    from relay import retention
    from relay.store import erasure
    from relay.store.scrub import scrub as let_go
    from relay.store.suppressions import clean

    settings = settings_from(config)
    if dry_run:
        counts = in_record(settings, erasure.remains, address)
        files = len(list(retention.files_naming(retention.folders(settings), address)))
        _show_counts({**counts, "files": files}, as_json)
        return

    async def work(database: "Database") -> Any:
        wanted = clean(address)
        # First of all, so that the address is found there as well.
        await note(database)
        return await retention.erase(database, wanted, "cli")

    with errors.status("searching the record") as status:
        row = with_record(settings, work)
        status.update("searching captured mail")
        files = retention.erase_files(settings, address)
        if scrubbing:
            status.update("having the database let go of it")
            let_go(settings.database_url, full=full)
    _show_counts({**row["counts"], "files": files}, as_json)
    if row["state"] != erasure.DONE:
        fail(
            "mail that names the address still waits for other recipients, or a list is not read or sent yet; "
            "the clock goes on once that is done"
        )
    if not as_json:
        console.print(f"erased; a last search found nothing (erasure {row['id']})", markup=False)


def _show_counts(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        show_json(counts)
    else:
        show_table(("WHAT", "COUNT"), list(counts.items()))
