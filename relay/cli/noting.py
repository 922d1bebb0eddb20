"""What a command changes is in the audit log as well, with the system user who ran it.

As at the API it is one layer around the commands rather than a line in each: `output.in_record` notes every writing.
"""

import os
import pwd
import socket
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

# Typer keeps what is being run in its own copy of Click, and has no public name for it.
from typer._click.core import Context
from typer._click.globals import get_current_context

if TYPE_CHECKING:
    from relay.store.audit import Change
    from relay.store.database import Database

DOOR = "cli"
#: how a command is done or shown, which says nothing of what was changed
_ASIDE = frozenset({"config", "as_json", "yes", "watch"})


def who() -> str:
    """The system user, and behind `sudo` the one who asked for it."""
    name = _name(os.getuid())
    asked = os.environ.get("SUDO_UID", "")
    behind = _name(int(asked)) if asked.isascii() and asked.isdigit() and len(asked) < 10 else name
    return name if behind == name else f"{behind} as {name}"


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        # As in containers, which run as a number that nobody has named.
        return f"uid {number}"


def change() -> "Change":
    """The command that is being run. To be asked on the thread that runs it."""
    from relay.store.audit import Change, hidden

    context = get_current_context()
    given = {name: _value(value) for name, value in context.params.items() if _was_given(context, name)}
    names = [str(one.name) for one in context.command.params if one.param_type_name == "argument"]
    shown = hidden(given)
    subject = ", ".join(_words(shown.pop(name)) for name in names if name in shown)
    # The program's own name is whatever it was called by.
    action = " ".join(["pillarbox", *context.command_path.split()[1:]])
    return Change(action, subject, DOOR, socket.gethostname(), shown or None)


def _was_given(context: Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return name not in _ASIDE and source is not None and source.name == "COMMANDLINE"


def _value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


async def note(database: "Database") -> None:
    """For commands that change things in many steps."""
    from relay.store import audit

    await database.write(audit.add, who(), change())
