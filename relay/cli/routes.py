"""Explaining routes before, or after, a mail takes one."""

from pathlib import Path
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
    from relay.core.provider import Outgoing
    from relay.routing import Facts

app = typer.Typer(no_args_is_help=True, help="Show which way a mail takes, and why.")


@app.command()
def explain(
    sender: Annotated[str, typer.Option("--from", help="The return path.")] = "",
    to: Annotated[str, typer.Option("--to", help="The recipient.")] = "",
    message: Annotated[
        int | None, typer.Option("--message", help="A stored message's ID, instead of facts.")
    ] = None,
    mail: Annotated[
        Path | None,
        typer.Option(
            "--mail", exists=True, dir_okay=False, help="A mail as a file: what each provider has against it."
        ),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Of a mail with this tag.")] = None,
    classification: Annotated[str | None, typer.Option(help="URGENT, FOR_ACTION or FOR_INFO.")] = None,
    account: Annotated[str | None, typer.Option(help="The account's name.")] = None,
    key: Annotated[str | None, typer.Option(help="The key's label.")] = None,
    stream: Annotated[str | None, typer.Option(help="Of a mail of this stream.")] = None,
    lane: Annotated[str | None, typer.Option(help="Of a mail in this lane: urgent, normal or bulk.")] = None,
    size: Annotated[int, typer.Option(min=0, help="Octets.")] = 1000,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which rule a mail falls under, which provider would take it now, and what keeps the others from it."""
    from relay.core.errors import Misconfigured
    from relay.core.ids import new_id
    from relay.delivery.explain import explain, explain_stored
    from relay.routing import Facts
    from workers.setups import build_providers

    settings = settings_from(config)
    try:
        providers = build_providers(settings)
    except Misconfigured as error:
        fail(str(error), 2)
    if message is None:
        if not to:
            fail("--to is needed, or --message", 2)
        if lane is None:
            lane = "urgent" if classification == "URGENT" else "normal"
        facts = Facts(new_id(), sender, to, account, key, classification, tag, stream, lane, size)
        written = _read(mail, facts) if mail is not None else None
        found = [in_record(settings, explain, settings, providers, facts, mail=written)]
    else:
        found = in_record(settings, explain_stored, settings, providers, message)
        if not found:
            fail(f"there is no message with ID {message}")
    if as_json:
        show_json(found)
        return
    for one in found:
        _show(one)


def _read(file: Path, facts: "Facts") -> "Outgoing":
    """The file's mail with the line ends that mail has on the wire; its size becomes a fact."""
    import re

    from relay.core.provider import Outgoing, OutgoingRecipient

    raw = re.sub(rb"\r?\n", b"\r\n", file.read_bytes())
    facts.size = len(raw)
    utf8 = not (facts.sender.isascii() and facts.recipient.isascii())
    recipients = (OutgoingRecipient(1, facts.recipient, 1),)
    return Outgoing(facts.id, facts.sender, recipients, raw, utf8, eight_bit=not raw.isascii())


def _show(one: dict[str, Any]) -> None:
    if one["recipient"]:
        console.print(f"to       {one['recipient']}", markup=False)
    console.print(f"rule     {one['rule']}", markup=False)
    console.print(f"route    {one['route']}", markup=False)
    console.print(f"provider {one['provider'] or 'none now: ' + one['otherwise']}", markup=False)
    if one["shares"]:
        console.print("         (a share of the mail goes each way; another mail may have another order)")
    show_table(("PROVIDER", "NOW", "WHY"), [(w["name"], w["now"], w["why"]) for w in one["ways"]])
