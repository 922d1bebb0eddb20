"""Pages of reference beside the settings: errors, events, commands, each read from where it is defined.

The meaning of a member or a constant is its comment (`#:`), that of an error the second paragraph of its docstring.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from types import ModuleType
from typing import Any, get_args

from relay.core import errors

_NAMED = re.compile(r"^ *([A-Z][A-Z0-9_]*) = ")
_MEANING = re.compile(r"#: (.*)")


def meanings(source: type[Enum] | ModuleType) -> dict[str, str]:
    """The `#:` comments above or beside the members of an enumeration or the constants of a module."""
    found: dict[str, str] = {}
    above: list[str] = []
    name = ""
    for line in inspect.getsource(source).splitlines():
        said = _MEANING.search(line)
        if said and line.strip().startswith("#:"):
            above.append(said[1])
            continue
        named = _NAMED.match(line)
        if named:
            name = named[1]
            if above:
                found[name] = " ".join(above)
        if said and name:
            found[name] = said[1]
        above = []
    return found


@dataclass(frozen=True, slots=True)
class Face:
    """One way to say no, by both doors; `smtp` is empty for what only HTTP knows."""

    status: int
    code: str
    smtp: str
    message: str
    meaning: str


def faces() -> list[Face]:
    """All errors of ours and of the web framework's, by status and code."""
    from api.errors import FRAMEWORK

    ours = []
    kinds: list[type[errors.RelayError]] = [errors.RelayError, *_below(errors.RelayError)]
    for one in kinds:
        message, _, meaning = inspect.cleandoc(one.__doc__ or "").partition("\n\n")
        reply, enhanced = one.smtp
        ours.append(
            Face(
                one.http_status,
                one.code,
                f"{reply} {enhanced}",
                message.partition("\n")[0],
                meaning.replace("\n", " "),
            )
        )
    known = {one.code for one in ours}
    others = [
        Face(status, code, "", HTTPStatus(status).phrase, meaning)
        for status, (code, meaning) in FRAMEWORK.items()
        if code not in known
    ]
    return sorted([*ours, *others], key=lambda one: (one.status, one.code))


def _below(base: type[errors.RelayError]) -> Iterator[type[errors.RelayError]]:
    for one in base.__subclasses__():
        # Tests and packages may have errors of their own.
        if one.__module__ == errors.__name__:
            yield one
            yield from _below(one)


@dataclass(frozen=True, slots=True)
class Reply:
    """One fixed reply of the SMTP door."""

    code: str
    enhanced: str
    text: str
    meaning: str


def replies() -> list[Reply]:
    """The replies that say no, by code."""
    from relay.smtp import replies as table

    why = meanings(table)
    found = []
    for name, value in vars(table).items():
        parts = value.decode("ascii").strip().split(" ", 2) if isinstance(value, bytes) else ()
        if parts and parts[0][0] in "45":
            found.append(Reply(parts[0], parts[1], parts[2], why.get(name, "")))
    return sorted(found, key=lambda one: (one.code, one.enhanced))


def errors_as_markdown() -> str:
    """All errors of both doors as a page for people."""
    lines = [
        "# Errors",
        "",
        "Written by `pillarbox config errors`; do not edit by hand.",
        "",
        'By REST an error is `{"code": …, "message": …}` with its status. Branch on the code: messages may say',
        "more than what stands here, such as the name of the field. By SMTP it is a reply with an enhanced status",
        "code (RFC 3463): `4xx` means try again, `5xx` do not. Answers of 429, 503 and `idempotency_in_progress`",
        "have `Retry-After`.",
        "",
        "## By both doors",
        "",
    ]
    lines += _table(
        ("status", "code", "SMTP", "message", "what it means"),
        [
            (str(one.status), f"`{one.code}`", f"`{one.smtp}`" if one.smtp else "", one.message, one.meaning)
            for one in faces()
        ],
    )
    lines += [
        "",
        "## By SMTP alone",
        "",
        "Replies about the conversation rather than the mail. After `421` the door hangs up.",
        "",
    ]
    lines += _table(
        ("reply", "text", "what it means"),
        [(f"`{one.code} {one.enhanced}`", f"`{one.text}`", one.meaning) for one in replies()],
    )
    return "\n".join(lines) + "\n"


def events_as_markdown() -> str:
    """Events, statuses, states and the words of bounces as a page for people."""
    from relay.core.bounce import BounceClass, BounceReason
    from relay.core.event import STATUS_OF, EventKind
    from relay.core.notice import DISABLED, PING, TYPES
    from relay.core.status import State, Status

    why = meanings(EventKind)
    lines = [
        "# Events and statuses",
        "",
        "Written by `pillarbox config events`; do not edit by hand. See also [how it becomes known](ingest.md)",
        "what became of a mail, and [webhooks](webhooks.md), which tell your own applications.",
        "",
        "## Events",
        "",
        "The lines of a recipient's timeline. A status only ever rises, in the order of the table below; an event",
        "without one leaves it as it is. What a machine opened or clicked counts as `DELIVERED` and no more.",
        "",
    ]
    lines += _table(
        ("event", "what happened", "status", "webhook"),
        [
            (
                f"`{kind.value}`",
                why.get(kind.name, ""),
                f"`{STATUS_OF[kind].value}`" if kind in STATUS_OF else "",
                f"`{TYPES[kind.value]}`" if kind.value in TYPES else "",
            )
            for kind in EventKind
        ],
    )
    lines += [
        "",
        f"Two more webhooks are about endpoints and no mail: `{PING}`, when one is asked for, and `{DISABLED}`,",
        "to an account's other endpoints.",
    ]
    for title, intro, words in (
        ("Statuses", "What is known about a recipient, lowest first; clients see these.", Status),
        ("States", "Where a recipient stands in the queue; operators see these.", State),
        ("Classes of bounces", "What a bounce says about writing to the address again.", BounceClass),
        ("Reasons of bounces", "What was wrong, as far as it can be told.", BounceReason),
    ):
        why = meanings(words)
        lines += ["", f"## {title}", "", intro, ""]
        lines += _table(("word", "meaning"), [(f"`{word.value}`", why.get(word.name, "")) for word in words])
    return "\n".join(lines) + "\n"


def commands() -> list[tuple[str, Any]]:
    """Every command with its words (`keys create`), in the order of `pillarbox --help`."""
    import typer

    from relay.cli.app import app

    return list(_commands(typer.main.get_command(app), ""))


def _commands(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    if command.invoke_without_command:
        yield words, command
    for name, one in inner.items():
        yield from _commands(one, f"{words} {name}".strip())


def commands_as_markdown() -> str:
    """Every command as a page for people."""
    lines = [
        "# Commands",
        "",
        "Written by `pillarbox config commands`; do not edit by hand. `pillarbox COMMAND --help` says the same.",
        "Exit codes: 0 done, 1 it could not be done, 2 the command or the configuration is wrong.",
        "",
        "`--config FILE` (`-c`) names the configuration file, else `$PILLARBOX_CONFIG` does, else it is",
        "`pillarbox.toml` in the current directory. Every command that reads it has this option; it is not",
        "repeated below.",
    ]
    for words, command in commands():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option"]
        own = [one for one in options if one.name != "config"]
        usage = " ".join(["pillarbox", words, *(_argument(one) for one in arguments)])
        lines += ["", f"## `{words}`", "", inspect.cleandoc(command.help or ""), ""]
        lines += ["```text", f"{usage} [OPTIONS]" if own else usage, "```"]
        rows = [(f"`{_argument(one)}`", "", one.help or "") for one in arguments]
        rows += [(_flags(one), _default(one), _help(one)) for one in own]
        if rows:
            lines += ["", *_table(("", "default", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def _argument(one: Any) -> str:
    name = str(one.name).upper() + ("..." if one.nargs == -1 else "")
    return name if one.required else f"[{name}]"


def _flags(one: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*one.opts, *one.secondary_opts))
    return flags + (" (required)" if one.required else "")


def _help(one: Any) -> str:
    said: str = one.help or ""
    kinds = {one.type_descriptor.annotation, *get_args(one.type_descriptor.annotation)}
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            said += f" One of {', '.join(f'`{choice.value}`' for choice in kind)}."
    if one.multiple and "Repeatable" not in said:
        said += " Repeatable."
    return said.strip()


def _default(one: Any) -> str:
    value = getattr(one.default, "value", one.default)
    if value is None or isinstance(value, bool | tuple | list) or callable(value) or value == "":
        return ""
    return f"`{value}`"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    columns = list(columns)
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    return lines + [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
