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
from relay.core.strip import strip
from relay.store import audit, erasure, messages, retention, retention_lists, scrub
from relay.store.database import Database
from relay.store.retention import Part, Rules, Swept

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
    told: Callable[[str, int], None] = lambda _part, _messages: None,
) -> dict[str, Sum]:
    """Walk over everything now, in small steps, and tell of each; with `dry_run` only count."""
    moment = at or now()
    known = await database.read(retention.rules, defaults(settings))
    found: dict[str, Sum] = {}
    for walk in _walks(known):
        total = found[walk.name] = Sum()
        position: int | None = 0
        while position is not None:
            step = await _step(database, walk, known, moment, position, dry_run=dry_run)
            total.messages += step.messages
            total.unsent += step.unsent
            told(walk.name, total.messages)
            position = step.position
    return found


async def sweep_some(database: Database, settings: Settings, *, steps: int) -> int:
    """Up to so many steps of every walk that does not rest; returns how many messages and rows lost something."""
    known = await database.read(retention.rules, defaults(settings))
    count = 0
    for walk in _walks(known):
        position = await database.read(retention.place, walk.name, now())
        for _ in range(steps):
            if position is None:
                break
            step = await _step(database, walk, known, now(), position)
            count += step.messages
            position = step.position
            await database.write(retention.advance, walk.name, position, now())
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


@dataclass(frozen=True, slots=True)
class _Walk:
    """Over the messages that have the part, or over recipient lists."""

    part: Part
    over_lists: bool = False

    @property
    def name(self) -> str:
        return f"{self.part} of lists" if self.over_lists else self.part.value


def _walks(known: Rules) -> list[_Walk]:
    over_messages = [_Walk(part) for part in Part if known.shortest(part)]
    return over_messages + [_Walk(part, True) for part in retention_lists.PARTS if known.shortest(part)]


async def _step(
    database: Database, walk: _Walk, known: Rules, at: datetime, position: int, *, dry_run: bool = False
) -> Swept:
    if walk.part is Part.ATTACHMENTS:
        return await _strip_some(database, known, at, position, dry_run=dry_run)
    sweep = retention_lists.sweep if walk.over_lists else retention.sweep
    call = database.read if dry_run else database.write
    done: Swept = await call(sweep, walk.part, known, now=at, limit=STEP, position=position, dry_run=dry_run)
    return done


async def _strip_some(
    database: Database, known: Rules, at: datetime, position: int, *, dry_run: bool
) -> Swept:
    """Mails are taken apart outside of any transaction, as a large one takes its time."""
    due = await database.read(retention.look, Part.ATTACHMENTS, known, now=at, limit=STEP, position=position)
    found, plain = 0, []
    for identifier in due.ids:
        raw = await database.read(messages.raw, identifier)
        stripped = await asyncio.to_thread(strip, raw, at.date())
        if stripped is None:
            plain.append(identifier)
        elif dry_run or await database.write(retention.keep_stripped, identifier, stripped, at):
            found += 1
    if plain and not dry_run:
        await database.write(retention.without_files, plain, at)
    return Swept(found, due.unsent, due.position)


async def strip_one(database: Database, account_id: int | None, identifier: int) -> bool:
    """Delete one message's attachments; False when there is no such message.

    Raises `Refused` while somebody still waits for it.
    """
    if not await database.read(retention.sent, account_id, identifier):
        return False
    raw = await database.read(messages.raw, identifier)
    stripped = await asyncio.to_thread(strip, raw, now().date())
    if stripped is not None:
        await database.write(retention.keep_stripped, identifier, stripped, now())
    return True


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


async def scrub_record(settings: Settings, *, full: bool = False) -> None:
    """Have the database let go of the octets of what was deleted; see `relay.store.scrub`."""
    await asyncio.to_thread(scrub.scrub, settings.database_url, full=full)
