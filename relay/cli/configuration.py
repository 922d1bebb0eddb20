"""Looking at the configuration before a process does."""

from enum import StrEnum
from typing import Annotated

import typer

from relay.cli.output import ConfigOption, console, fail, settings_from, show_json

app = typer.Typer(no_args_is_help=True, help="Check and show the configuration.")


@app.command()
def check(config: ConfigOption = None) -> None:
    """Read the configuration as a process would, providers included; exit code 2 when a part is wrong."""
    from rich.markup import escape

    from relay.config import sealing_secrets
    from relay.core.errors import Misconfigured
    from workers.setups import build_providers

    settings = settings_from(config)
    try:
        providers = build_providers(settings)
        sealing_secrets(settings)
    except Misconfigured as error:
        fail(escape(str(error)), 2)
    console.print(
        f"ok: mail goes out by {settings.default_route} (providers: {', '.join(sorted(providers))})"
    )


@app.command()
def show(config: ConfigOption = None) -> None:
    """Print the settings in force as JSON, secrets hidden."""
    from relay.config import redacted

    settings = settings_from(config)
    shown = settings.model_dump(mode="json")
    shown["providers"] = {name: redacted(options) for name, options in settings.ways_out.items()}
    show_json(shown)


class Form(StrEnum):
    """What a reference is written as."""

    MARKDOWN = "markdown"
    TOML = "toml"
    ENV = "env"


@app.command()
def reference(
    form: Annotated[Form, typer.Option("--format", help="A page, a file, or variables.")] = Form.MARKDOWN,
) -> None:
    """Print every setting with its meaning and default."""
    from relay.cli import reference

    write = {
        Form.MARKDOWN: reference.as_markdown,
        Form.TOML: reference.as_toml,
        Form.ENV: reference.as_environment,
    }
    typer.echo(write[form](), nl=False)


@app.command()
def metrics() -> None:
    """Print every metric with its meaning, as a page."""
    from relay.cli import reference

    typer.echo(reference.metrics_as_markdown(), nl=False)


@app.command()
def errors() -> None:
    """Print every error of both doors with its meaning, as a page."""
    from relay.cli import pages

    typer.echo(pages.errors_as_markdown(), nl=False)


@app.command()
def events() -> None:
    """Print every event, status, state and reason of a bounce with its meaning, as a page."""
    from relay.cli import pages

    typer.echo(pages.events_as_markdown(), nl=False)


@app.command()
def commands() -> None:
    """Print every command with its options, as a page."""
    from relay.cli import pages

    typer.echo(pages.commands_as_markdown(), nl=False)
