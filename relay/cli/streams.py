"""Streams: kinds of mail that an account keeps apart."""

from dataclasses import replace
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
from relay.core.status import Lane
from relay.core.stream import Leaving, Stream, Track
from relay.core.timing import QuietHours

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(no_args_is_help=True, help="List, add, change and remove streams of mail.")

Account = Annotated[str, typer.Option(help="The account's name.")]
Name = Annotated[str, typer.Argument(help="The stream's name, such as news.")]
Title = Annotated[str | None, typer.Option(help="What recipients read when they unsubscribe.")]
LaneOption = Annotated[str | None, typer.Option(help="normal or bulk.")]
Opens = Annotated[bool | None, typer.Option(help="Whether opens are tracked where mail does not say.")]
Clicks = Annotated[bool | None, typer.Option(help="Whether clicks are tracked where mail does not say.")]
Unsubscribe = Annotated[
    bool | None, typer.Option(help="Whether mail to one recipient gets List-Unsubscribe.")
]
From = Annotated[
    str | None, typer.Option(help="What those who unsubscribe get no more of: this stream, or the account.")
]

ComplaintFrom = Annotated[
    str | None, typer.Option(help="What those who complain get no more of: this stream, or the account.")
]


Quiet = Annotated[
    str | None,
    typer.Option(help="Hours in which its mail waits: '22:00-07:00 Europe/Berlin', or none."),
]

Provider = Annotated[
    str | None,
    typer.Option(help="By which its mail rather goes, where its route has that one; or none."),
]


@app.command("list")
def list_(account: Account = "default", config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List an account's streams, the built-in ones first."""
    from relay.store import accounts, streams

    def work(connection: "sa.Connection") -> dict[str, Stream]:
        return streams.of_account(connection, accounts.account_by_name(connection, account))

    found = in_record(settings_from(config), work).values()
    rows = [_row(one) for one in found]
    if as_json:
        show_json(rows)
        return
    show_table(tuple(name.upper() for name in rows[0]), [tuple(row.values()) for row in rows])


@app.command()
def add(
    name: Name,
    account: Account = "default",
    title: Title = None,
    lane: LaneOption = None,
    track_opens: Opens = None,
    track_clicks: Clicks = None,
    unsubscribe: Unsubscribe = None,
    unsubscribe_from: From = None,
    complaint_from: ComplaintFrom = None,
    quiet: Quiet = None,
    provider: Provider = None,
    config: ConfigOption = None,
) -> None:
    """Add a stream; doors know it within seconds."""
    from relay.store import accounts, streams

    changes = _changes(
        title, lane, unsubscribe, unsubscribe_from=unsubscribe_from, complaint_from=complaint_from
    )
    stream = replace(
        Stream(name),
        track=Track(track_opens, track_clicks),
        **changes,
        **_hours(quiet),
        **_way(provider, config),
    )

    def work(connection: "sa.Connection") -> Stream:
        return streams.create(connection, accounts.account_by_name(connection, account), stream)

    in_record(settings_from(config), work, writing=True)
    console.print(f"{account} has the stream {name}", markup=False)


@app.command()
def change(
    name: Name,
    account: Account = "default",
    title: Title = None,
    lane: LaneOption = None,
    track_opens: Opens = None,
    track_clicks: Clicks = None,
    unsubscribe: Unsubscribe = None,
    unsubscribe_from: From = None,
    complaint_from: ComplaintFrom = None,
    quiet: Quiet = None,
    provider: Provider = None,
    config: ConfigOption = None,
) -> None:
    """Change a stream, a built-in one too; what is not named stays."""
    from relay.store import accounts, streams

    changes = _changes(
        title, lane, unsubscribe, unsubscribe_from=unsubscribe_from, complaint_from=complaint_from
    )
    track = Track(track_opens, track_clicks)

    def work(connection: "sa.Connection") -> Stream:
        account_id = accounts.account_by_name(connection, account)
        before = streams.get(connection, account_id, name)
        return streams.replace(
            connection,
            account_id,
            replace(
                before, track=track.over(before.track), **changes, **_hours(quiet), **_way(provider, config)
            ),
        )

    in_record(settings_from(config), work, writing=True)
    console.print(f"the stream {name} of {account} is changed", markup=False)


@app.command()
def remove(name: Name, account: Account = "default", config: ConfigOption = None) -> None:
    """Remove a stream; a built-in one gets its first settings back. Its suppressions stay."""
    from relay.store import accounts, streams

    def work(connection: "sa.Connection") -> None:
        streams.remove(connection, accounts.account_by_name(connection, account), name)

    in_record(settings_from(config), work, writing=True)
    console.print(f"the stream {name} of {account} is removed", markup=False)


def _changes(
    title: str | None, lane: str | None, unsubscribe: bool | None, **leaving: str | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"title": title, "unsubscribe": unsubscribe}
    listed = [("lane", lane, Lane), *((name, word, Leaving) for name, word in leaving.items())]
    for name, word, words in listed:
        try:
            found[name] = None if word is None else words(word)
        except ValueError:
            fail(f"--{name.replace('_', '-')}: {word} is not known; see --help", 2)
    return {name: value for name, value in found.items() if value is not None}


def _hours(written: str | None) -> dict[str, Any]:
    if written is None:
        return {}
    if written == "none":
        return {"quiet": None}
    span, _, zone = written.partition(" ")
    start, _, end = span.partition("-")
    try:
        return {"quiet": QuietHours.parse(start, end, zone)}
    except ValueError as error:
        fail(f"--quiet: {error}; the form is '22:00-07:00 Europe/Berlin'", 2)


def _way(provider: str | None, config: ConfigOption) -> dict[str, Any]:
    if provider is None:
        return {}
    if provider == "none":
        return {"provider": None}
    known = settings_from(config).ways_out
    if provider not in known:
        fail(f"--provider: there is no provider {provider}; there are {', '.join(sorted(known))}", 2)
    return {"provider": provider}


def _row(stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "lane": stream.lane.value,
        "opens": stream.track.opens,
        "clicks": stream.track.clicks,
        "unsubscribe": stream.unsubscribe,
        "from": stream.unsubscribe_from.value,
        "complaint": stream.complaint_from.value,
        "title": stream.title,
        "quiet": "{}-{} {}".format(*stream.quiet.words()) if stream.quiet else None,
        "provider": stream.provider,
    }
