"""Looking at messages and what became of them."""

from collections.abc import Mapping
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
from relay.core.status import Status

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(no_args_is_help=True, help="List messages and show what became of them.")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    status: Annotated[
        Status | None, typer.Option(case_sensitive=False, help="Only with this status.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List messages, newest first."""
    from relay.store import messages

    query = messages.Query(limit=limit, status=status, tag=tag)
    found, more = in_record(settings_from(config), messages.listing, None, query)
    if as_json:
        show_json({"data": found, "has_more": more})
        return
    show_table(
        ("ID", "CREATED", "DOOR", "STATUS", "FROM", "RECIPIENT", "SUBJECT"),
        [
            (
                row["id"],
                row["created_at"],
                row["door"],
                row["status"],
                row["from"],
                row["recipient"],
                row["subject"],
            )
            for row in found
        ],
    )
    if more:
        console.print(f"… and more; --limit shows up to 1000 (now {limit})")


@app.command()
def show(
    message_id: Annotated[int, typer.Argument(help="The ID that the door answered.")],
    source: Annotated[bool, typer.Option("--source", help="Print the stored mail itself.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one message: every recipient's state and its timeline."""
    settings = settings_from(config)
    found = in_record(settings, _everything, message_id)
    if found is None:
        fail(f"there is no message with ID {message_id}")
    if source:
        typer.echo(found["source"].decode("utf-8", "replace"), nl=False)
        return
    del found["source"]
    if as_json:
        show_json(found)
        return
    message = found["message"]
    show_table(
        ("MESSAGE", str(message["id"])),
        [
            (name, message[name])
            for name in (
                "status",
                "door",
                "from",
                "sender",
                "subject",
                "tag",
                "size",
                "created_at",
                "sent_at",
            )
        ],
    )
    console.print()
    show_table(
        ("RECIPIENT", "STATUS", "STATE", "TRIES", "NEXT TRY", "PROVIDER", "LAST REPLY"),
        [
            (
                one["address"],
                one["status"],
                one["state"],
                one["attempts"],
                one["due_at"] if one["state"] == "queued" else None,
                one["provider"],
                one["reply"],
            )
            for one in found["recipients"]
        ],
    )
    if found["timeline"]:
        addresses = {one["id"]: one["address"] for one in found["recipients"]}
        console.print()
        show_table(
            ("AT", "EVENT", "RECIPIENT", "TRY", "PROVIDER", "WHY", "REPLY"),
            [
                (
                    line["at"],
                    line["kind"],
                    addresses.get(line["recipient_id"]),
                    line["attempt"],
                    line["provider"],
                    _why(line["detail"] or {}),
                    line["reply"],
                )
                for line in found["timeline"]
            ],
        )


def _why(detail: Mapping[str, Any]) -> str | None:
    """What a line's detail says in a word or two."""
    bounce = detail.get("bounce")
    if bounce:
        return f"{bounce['class']}: {bounce['reason']}"
    return (
        "by a machine" if detail.get("machine") is True else detail.get("feedback_type") or detail.get("url")
    )


def _everything(connection: "sa.Connection", message_id: int) -> dict[str, Any] | None:
    from relay.store import messages

    message = messages.get(connection, None, message_id)
    if message is None:
        return None
    return {
        "message": message,
        "recipients": messages.recipients(connection, message_id),
        "timeline": messages.timeline(connection, message_id),
        "source": messages.raw(connection, message_id),
    }
