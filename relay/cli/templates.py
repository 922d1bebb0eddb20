"""Templates: mail with places for variables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
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
from relay.core.errors import RelayError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.store.templates import NewVersion

app = typer.Typer(no_args_is_help=True, help="List, add, change and try templates.")

Account = Annotated[str, typer.Option(help="The account's name.")]
Name = Annotated[str, typer.Argument(help="The template's name or id.")]
Subject = Annotated[str, typer.Option(help="The subject, such as 'Hello {{ name }}'.")]
Html = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A file with the HTML.")]
Text = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A file with the plain text.")]
Note = Annotated[str | None, typer.Option(help="What has changed.")]
Variables = Annotated[
    list[str] | None, typer.Option("--var", help="A variable, as name=text; may be given several times.")
]


@app.command("list")
def list_(
    account: Account = "default",
    archived: Annotated[bool, typer.Option(help="Archived ones as well.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List an account's templates, newest first."""
    from relay.store import accounts, templates

    def work(connection: "sa.Connection") -> list[dict[str, Any]]:
        account_id = accounts.account_by_name(connection, account)
        return templates.page(connection, account_id, limit=1000, before=None, archived=archived)

    rows = in_record(settings_from(config), work)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("NAME", "ACTIVE", "LATEST", "CHANGED", "ARCHIVED"),
        [(row["name"], row["active"], row["latest"], row["updated_at"], row["archived_at"]) for row in rows],
    )


@app.command()
def add(
    name: Name,
    subject: Subject,
    html: Html = None,
    text: Text = None,
    note: Note = None,
    account: Account = "default",
    config: ConfigOption = None,
) -> None:
    """Add a template; where there is one of that name, a version, which mail is made from at once."""
    import re

    from relay.core.errors import NotFound
    from relay.store import accounts, templates

    if not re.fullmatch(r"[a-z][a-z0-9._-]{0,63}", name):
        fail("a template's name has 1 to 64 of a-z, 0-9, dot, underscore and hyphen, a letter first")
    version = _version(subject, html, text, note)

    def work(connection: "sa.Connection") -> dict[str, Any]:
        account_id = accounts.account_by_name(connection, account)
        try:
            templates.get(connection, account_id, name)
        except NotFound:
            return templates.create(connection, account_id, name, version)
        return templates.add_version(connection, account_id, name, version, activate=True)

    made = in_record(settings_from(config), work, writing=True)
    console.print(f"{name} has version {made['latest']}", markup=False)


@app.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Which; without it, the active one.")] = None,
    account: Account = "default",
    config: ConfigOption = None,
) -> None:
    """Print what a template says, as JSON."""
    show_json(_get(name, version, account, config))


@app.command()
def versions(
    name: Name, account: Account = "default", config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List a template's versions, newest first."""
    from relay.store import accounts, templates

    def work(connection: "sa.Connection") -> list[dict[str, Any]]:
        account_id = accounts.account_by_name(connection, account)
        return templates.versions(connection, account_id, name, limit=1000, before=None)

    rows = in_record(settings_from(config), work)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("VERSION", "SUBJECT", "MADE", "NOTE"),
        [(row["number"], row["subject"], row["created_at"], row["note"]) for row in rows],
    )


@app.command()
def activate(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version's number.")],
    account: Account = "default",
    config: ConfigOption = None,
) -> None:
    """Make mail from another version, an earlier one too."""
    from relay.store import accounts, templates

    def work(connection: "sa.Connection") -> dict[str, Any]:
        return templates.activate(connection, accounts.account_by_name(connection, account), name, version)

    in_record(settings_from(config), work, writing=True)
    console.print(f"{name} is version {version} now", markup=False)


@app.command()
def archive(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back into use.")] = False,
    account: Account = "default",
    config: ConfigOption = None,
) -> None:
    """Take a template out of use; what is being sent goes on."""
    from relay.store import accounts, templates

    def work(connection: "sa.Connection") -> dict[str, Any]:
        account_id = accounts.account_by_name(connection, account)
        return templates.archive(connection, account_id, name, archived=not undo)

    in_record(settings_from(config), work, writing=True)
    console.print(f"{name} is {'in use again' if undo else 'archived'}", markup=False)


@app.command()
def preview(
    name: Name,
    var: Variables = None,
    json: Annotated[str | None, typer.Option("--variables", help="An object as JSON.")] = None,
    version: Annotated[int | None, typer.Option(help="Which; without it, the active one.")] = None,
    account: Account = "default",
    config: ConfigOption = None,
) -> None:
    """Print what a mail with these variables would say."""
    from relay.templates import Source, load
    from relay.templates.render import check_variables

    variables = _variables(var or [], json)
    said = _get(name, version, account, config)["version"]
    try:
        check_variables(variables)
        mail = load(Source(said["subject"], said["html"], said["text"])).render(variables)
    except RelayError as error:
        fail(error.message)
    show_json({"subject": mail.subject, "html": mail.html, "text": mail.text})


def _get(name: str, version: int | None, account: str, config: Path | None) -> dict[str, Any]:
    from relay.store import accounts, templates

    def work(connection: "sa.Connection") -> dict[str, Any]:
        return templates.get(connection, accounts.account_by_name(connection, account), name, version)

    found: dict[str, Any] = in_record(settings_from(config), work)
    return found


def _version(subject: str, html: Path | None, text: Path | None, note: str | None) -> "NewVersion":
    from relay.store.templates import NewVersion
    from relay.templates import Source, Template

    try:
        said = NewVersion(subject, _read(html), _read(text), note)
        Template(Source(said.subject, said.html, said.text))
    except UnicodeDecodeError:
        fail("a template is UTF-8 text")
    except RelayError as error:
        fail(error.message)
    return said


def _read(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8")


def _variables(listed: list[str], written: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if written is not None:
        try:
            found = orjson.loads(written)
        except orjson.JSONDecodeError:
            found = {}
        if not isinstance(found, dict) or not found:
            fail("--variables needs an object as JSON")
    for one in listed:
        name, equals, value = one.partition("=")
        if not equals:
            fail(f"--var {one}: is no name=text")
        found[name] = value
    return found
