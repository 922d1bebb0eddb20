"""Cleaning up: sweeps of what was kept for long enough, and persons erased from the record and from files."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from relay.config import Settings
from relay.core.clock import now
from relay.store import audit, erasure, retention, scrub
from relay.store.database import Database
from relay.store.retention import Part, Swept

#: messages looked at in one transaction
STEP = 200
#: octets of a file read at once
_PIECE = 1024 * 1024
_WAIT = 0.5
#: octets around an address that tell it from a longer one
_AROUND = 8


def defaults(settings: Settings) -> dict[str, int]:
    """The installation's days by part."""
    return {part.value: getattr(settings.retention, part.value) for part in Part}


@dataclass(slots=True)
class Sum:
    """What whole walks came to."""

    messages: int = 0
    unsent: int = 0


async def sweep_all(
    database: Database,
    settings: Settings,
    *,
    dry_run: bool = False,
    at: datetime | None = None,
    told: Callable[[Part, int], None] = lambda _part, _messages: None,
) -> dict[Part, Sum]:
    """Walk over everything now, in small steps, and tell of each; with `dry_run` only count."""
    moment = at or now()
    known = await database.read(retention.rules, defaults(settings))
    found: dict[Part, Sum] = {}
    for part in Part:
        if not known.shortest(part):
            continue
        total = found[part] = Sum()
        position: int | None = 0
        while position is not None:
            call = database.read if dry_run else database.write
            step: Swept = await call(
                retention.sweep, part, known, now=moment, limit=STEP, position=position, dry_run=dry_run
            )
            total.messages += step.messages
            total.unsent += step.unsent
            told(part, total.messages)
            position = step.position
    return found


async def sweep_some(database: Database, settings: Settings, *, steps: int) -> int:
    """Up to so many steps of every walk that does not rest; returns how many messages lost something."""
    known = await database.read(retention.rules, defaults(settings))
    count = 0
    for part in Part:
        if not known.shortest(part):
            continue
        position = await database.read(retention.place, part.value, now())
        for _ in range(steps):
            if position is None:
                break
            step: Swept = await database.write(
                retention.sweep, part, known, now=now(), limit=STEP, position=position
            )
            count += step.messages
            position = step.position
            await database.write(retention.advance, part.value, position, now())
    days = settings.retention
    if days.statistics:
        await database.write(retention.forget_hours, before=now() - timedelta(days=days.statistics))
    if days.audit:
        await _forget_changes(database, now() - timedelta(days=days.audit))
    return count


async def _forget_changes(database: Database, before: datetime) -> None:
    """Some of the audit log's oldest lines. Mostly there are none, and then nothing is written."""
    if await database.read(audit.any_before, before):
        await database.write(audit.prune, before=before)


async def erase_some(database: Database, row: dict[str, Any], *, steps: int) -> dict[str, Any]:
    """Up to so many steps of one erasure; returns it as it stands then."""
    for _ in range(steps):
        if row["state"] == erasure.DONE:
            break
        found = await database.read(erasure.look, row)
        if found is not None and found.wait:
            break
        row = await database.write(erasure.step, row["id"], found)
        if row["place"].get("waits"):
            break
    return row


async def erase(database: Database, address: str, asked_by: str) -> dict[str, Any]:
    """Erase a person and wait for the end of it, or until only mail is left that others wait for."""
    row = await database.write(erasure.begin, address, asked_by)
    while row["state"] != erasure.DONE and not row["place"].get("waits"):
        before = row["place"]
        row = await erase_some(database, row, steps=100)
        if row["place"] == before:
            await asyncio.sleep(_WAIT)
    return row


# Files.


def folders(settings: Settings) -> list[Path]:
    """Where providers of this machine keep copies of mail."""
    return [
        Path(options.get("directory") or settings.data_dir / "captured")
        for options in settings.ways_out.values()
        if options.get("type") in {"capture", "file"}
    ]


def files_naming(directories: Iterable[Path], address: str) -> Iterator[Path]:
    """The files with the address in them, in any letter case."""
    wanted = re.compile(erasure.whole(address).pattern.encode(), re.IGNORECASE)
    for directory in directories:
        for path in sorted(directory.rglob("*")) if directory.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and _has(path, wanted, len(address.encode())):
                    yield path


def _has(path: Path, wanted: re.Pattern[bytes], length: int) -> bool:
    carried = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if wanted.search(carried + piece):
                return True
            carried = (carried + piece)[-length - _AROUND :]
    return False


def erase_files(settings: Settings, address: str) -> int:
    """Delete captured mail that names the address; returns how many files."""
    gone = 0
    for path in list(files_naming(folders(settings), address)):
        path.unlink(missing_ok=True)
        gone += 1
    return gone


async def scrub_record(settings: Settings) -> None:
    """Have the database let go of the octets of what was deleted; see `relay.store.scrub`."""
    await asyncio.to_thread(scrub.scrub, settings.database_url)
