"""`pillarbox up`: everything on this machine, in the foreground, from nothing."""

import fcntl
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from relay.cli.output import ConfigOption, console, fail, settings_from

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.config import Settings
    from relay.store.accounts import NewKey
    from relay.supervisor import Child

#: seconds to wait for the children of a run whose parent is gone: they finish what they have in hand
_HANDOVER = 30.0
#: seconds beyond the children's own drain before they are ended
_PATIENCE = 5.0

_EXAMPLE = '{"from": "you@example.org", "recipient": "someone@example.net", "subject": "Hello", "body": "First mail"}'


def up(config: ConfigOption = None) -> None:
    """Start everything: both doors, delivery workers, the clock, and a queue server unless one is configured."""
    from rich.markup import escape

    from relay.core.errors import Misconfigured, RelayError
    from relay.embedded import EmbeddedValkey
    from relay.observe import logs, sharing
    from relay.process import DRAIN, counts_directory
    from relay.store import migrate
    from relay.supervisor import Supervisor

    settings = settings_from(config)
    logs.configure(settings.log, role="up")
    try:
        _make_data_directory(settings)
        _own(settings.data_dir)
        valkey = EmbeddedValkey(settings.data_dir) if settings.embedded_queue else None
        migrate.upgrade(settings.database_url)
        key = _prepare_record(settings)
        children = _children(settings)
        sharing.clear(counts_directory(settings))
        supervisor = Supervisor(children, valkey, drain=DRAIN + _PATIENCE)
        shown: list[NewKey | None] = []

        def greet() -> None:
            shown.append(key)
            _greet(settings, key)

        try:
            code = supervisor.run(greet)
        finally:
            if key and not shown:
                # Nobody has seen it: the next start makes another one, and shows that.
                _discard(settings, key)
    except (Misconfigured, RelayError, OSError) as error:
        fail(escape(str(error)), 2 if isinstance(error, Misconfigured) else 1)
    raise typer.Exit(code)


def _make_data_directory(settings: "Settings") -> None:
    from relay.core.errors import Misconfigured

    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"data_dir: {directory} cannot be made: {error.strerror}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Misconfigured(f"data_dir: {directory} cannot be written to")


def _own(directory: Path) -> None:
    """Make sure that no other `up`, nor a child of one that is still finishing its mail, works in this directory.

    The lock lives on in every child, so it is free only when the last of them has ended. Raises `Misconfigured`.
    """
    from relay.core.errors import Misconfigured

    lock = os.open(directory / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _HANDOVER
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
            running = owner.isdigit() and Path(f"/proc/{owner}").exists()
            if running or time.monotonic() > deadline:
                raise Misconfigured(
                    f"data_dir: {directory} is in use by another `pillarbox up`"
                    + (f" (process {owner})" if running else "")
                ) from None
            time.sleep(0.1)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _prepare_record(settings: "Settings") -> "NewKey | None":
    """Make a key where there is none yet, so that the first mail can be sent at once; take back what was in hand.

    The data directory is ours alone (`_own`), so claims in its SQLite record are those of a run that was cut short.
    """
    import asyncio

    from relay.cli import noting
    from relay.core.clock import now
    from relay.store import accounts, audit, recovery
    from relay.store.database import open_database

    change = noting.change()

    def first_key(connection: "sa.Connection") -> "NewKey":
        scopes = ("send", "read", "admin")
        made = accounts.issue_key(connection, "default", label="first key", scopes=scopes)
        audit.add(connection, noting.who(), replace(change, subject=str(made.id)))
        return made

    async def prepare() -> "NewKey | None":
        database = open_database(settings.database_url)
        try:
            if database.dialect == "sqlite":
                await database.write(recovery.reclaim, now=now(), poison_after=settings.delivery.poison_after)
            if await database.read(accounts.has_keys):
                return None
            return await database.write(first_key)
        finally:
            await database.close()

    return asyncio.run(prepare())


def _discard(settings: "Settings", key: "NewKey") -> None:
    import asyncio

    from relay.store import accounts
    from relay.store.database import open_database

    async def discard() -> None:
        database = open_database(settings.database_url)
        try:
            await database.write(accounts.discard_key, key.id)
        finally:
            await database.close()

    asyncio.run(discard())


def _children(settings: "Settings") -> "list[Child]":
    """The processes, doors first. What they have in common is loaded here, before any fork, so that they share it."""
    import relay.process  # noqa: F401
    from relay.supervisor import Child

    wanted = [
        ("smtp", "relay.smtp.server", settings.smtp.processes),
        ("api", "api.main", settings.api.processes),
        ("worker", "workers.main", settings.delivery.processes),
        ("clock", "workers.clock", 1),
    ]
    for _, module, count in wanted:
        if count > 1:
            importlib.import_module(module)
    return [
        Child(name if count == 1 else f"{name}-{number}", _body(module, name, settings))
        for name, module, count in wanted
        for number in range(1, count + 1)
    ]


def _body(module: str, name: str, settings: "Settings") -> Callable[[Callable[[], None]], int]:
    """What a child does. What it alone needs it loads itself: children load side by side."""
    from relay import process

    def run(ready: Callable[[], None]) -> int:
        role = importlib.import_module(module).serve
        return process.run(role, name, settings, ready=ready, together=True)

    return run


def _greet(settings: "Settings", key: "NewKey | None") -> None:
    """What a newcomer needs next, ready to paste."""
    from relay import __version__

    listener = settings.smtp.listeners[0]
    smtp = f"{listener.host}:{listener.port}"
    rest = f"http://{settings.api.host}:{settings.api.port}"
    out = settings.default_route
    if out in settings.ways_out:
        out += f" ({settings.ways_out[out]['type']})"
    if settings.routes.rules:
        out += f", and {len(settings.routes.rules)} rules"
    if not settings.providers:
        out = "capture (mail is kept here, not sent; configure a provider to send it)"
    shown = key.secret if key else "$PILLARBOX_API_KEY"
    lines = [
        "",
        f"Pillarbox {__version__} is up. Ctrl-C stops it.",
        f"  SMTP   {smtp}",
        f"  REST   {rest}",
        *([f"  see    {rest}/console, with an admin key"] if settings.api.console else []),
        f"  data   {settings.data_dir}",
        f"  out    {out}",
        "",
    ]
    if key:
        lines += [f"Your first API key, shown this once:  {key.secret}", ""]
    lines += [
        "Send a mail by SMTP:",
        f"  swaks --server {smtp} --auth PLAIN --auth-user default --auth-password '{shown}' \\",
        "    --from you@example.org --to someone@example.net",
        "Send a mail by REST:",
        f"  curl {rest}/v1/transactional/email/send -H 'Authorization: Bearer {shown}' \\",
        "    -H 'Content-Type: application/json' \\",
        f"    -d '{_EXAMPLE}'",
        "See what became of it:",
        "  pillarbox messages list",
        "",
    ]
    for line in lines:
        console.print(line, markup=False)
