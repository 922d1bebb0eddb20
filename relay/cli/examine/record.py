"""The record and the queue: reachable, current, in step, and moving."""

import time
from datetime import timedelta
from typing import Any

from relay.cli.examine.finding import Finding, fail, ok, warn
from relay.config import Settings, sealing_secrets
from relay.core.clock import now
from relay.core.errors import Misconfigured, RelayError
from relay.core.inbox import InboxState
from relay.delivery.board import ALIVE
from relay.notices.secrets import open_safe
from relay.process import queue_url
from relay.queue import answers
from relay.store import dkim, endpoints, inbox, migrate, senders, watch
from relay.store.database import Database, open_database, words_of

_AREA = "record"
#: seconds by which a database server's clock may differ, and for which due mail may wait
_SKEW, _LATE = 5.0, 120.0
#: reports counted at most
_MANY = 1000


async def examine(settings: Settings) -> list[Finding]:
    """What can be said of a database that has its schema."""
    database = open_database(settings.database_url)
    try:
        return [
            await _speed(database),
            await _clock(database),
            *await _standing(database),
            await _sealed(settings, database),
            await _reports(database),
        ]
    except RelayError as error:
        return [fail(_AREA, "database", words_of(error), "Look at the database's own log.")]
    finally:
        await database.close()


async def domains(settings: Settings) -> tuple[list[str], list[dict[str, Any]]]:
    """The domains that accounts may send from, and the DKIM keys of the database."""
    database = open_database(settings.database_url)
    try:
        patterns = await database.read(senders.patterns, limit=1000)
        kept = await database.read(dkim.keys)
    finally:
        await database.close()
    found = {pattern.rpartition("@")[2].lower() for pattern in patterns if pattern != "*"}
    return sorted(found), kept


def schema(settings: Settings) -> list[Finding]:
    kind = settings.database_url.partition(":")[0].partition("+")[0]
    try:
        found = migrate.current(settings.database_url)
    except (RelayError, OSError) as error:
        todo = "Is the server up, and are name, user and password in database.url right?"
        return [fail(_AREA, "database", f"{kind} cannot be reached: {words_of(error)}", todo)]
    except Misconfigured as error:
        return [fail(_AREA, "database", str(error), "Mend database.url.")]
    if found is None:
        return [fail(_AREA, "database", f"{kind} is empty", "Run `pillarbox migrate`, or `pillarbox up`.")]
    if found != migrate.head():
        says = f"{kind} is at revision {found}, this version wants {migrate.head()}"
        return [fail(_AREA, "database", says, "Run `pillarbox migrate`.")]
    return [ok(_AREA, "database", f"{kind}, revision {found}")]


async def _speed(database: Database) -> Finding:
    """How long a commit takes, durable as accepting a mail is."""
    taken = []
    for _ in range(5):
        started = time.monotonic()
        await database.write(watch.touch)
        taken.append(time.monotonic() - started)
    middle = sorted(taken)[len(taken) // 2] * 1000
    if middle > 50:
        todo = "Every mail waits for one: put the database on a faster disk, or nearer."
        return warn(_AREA, "commits", f"one takes {middle:.0f} ms", todo)
    return ok(_AREA, "commits", f"one takes {middle:.1f} ms")


async def _clock(database: Database) -> Finding:
    if database.dialect == "sqlite":
        return ok(_AREA, "clock", "the database is on this machine")
    theirs = await database.read(watch.server_time)
    skew = abs((theirs - now()).total_seconds())
    if skew > _SKEW:
        todo = "Leases and retries go by the clock: run chrony or ntpd on both."
        return fail(_AREA, "clock", f"differs from the database server's by {skew:.0f} s", todo)
    return ok(_AREA, "clock", "agrees with the database server's")


async def _standing(database: Database) -> list[Finding]:
    moment = now()
    found = await database.read(watch.look, now=moment, alive_since=moment - timedelta(seconds=ALIVE))
    findings = []
    if found.workers:
        findings.append(ok(_AREA, "workers", f"{found.workers} alive"))
    else:
        todo = "Start `pillarbox worker`, or `pillarbox up`; mail is kept meanwhile."
        findings.append(warn(_AREA, "workers", "none has been heard of", todo))
    for name, lane in found.lanes.items():
        count = lane.recipients["queued"]
        says = f"{count} waiting" if count else "empty"
        if lane.overdue > _LATE:
            says += f", due for {lane.overdue:.0f} s"
            findings.append(fail(_AREA, f"lane {name}", says, "`pillarbox queue` says why mail waits."))
        else:
            findings.append(ok(_AREA, f"lane {name}", says))
    for provider in found.providers.values():
        if provider.is_open:
            todo = f"`pillarbox providers check {provider.name}`; mail goes on by itself once it is well."
            findings.append(warn(_AREA, f"circuit {provider.name}", f"open: {provider.reason}", todo))
        if provider.mode != "active":
            todo = f"`pillarbox providers resume {provider.name}` when it may send again."
            findings.append(warn(_AREA, f"provider {provider.name}", f"is {provider.mode.value}", todo))
    return findings


async def _sealed(settings: Settings, database: Database) -> Finding:
    """Whether the secrets of customers' endpoints can be read, and by the key in force."""
    name = "webhooks' secrets"
    try:
        outside = sealing_secrets(settings)
    except Misconfigured as error:
        return fail(_AREA, name, str(error), "No endpoint is told anything until this is mended.")
    safe, lost, old = await open_safe(outside, database), 0, 0
    for row in await database.read(endpoints.sealed):
        try:
            safe.unseal(row["id"], row["secret"])
        except Misconfigured:
            lost += 1
        else:
            old += not safe.is_current(row["id"], row["secret"])
    if lost:
        todo = "Name their key in security.previous_secrets, or rotate their secrets."
        return fail(_AREA, name, f"{lost} are encrypted with a key that is not known", todo)
    if old:
        todo = "Run `pillarbox webhooks reseal`."
        return warn(_AREA, name, f"{old} are not encrypted with the key in force", todo)
    return ok(_AREA, name, f"the key is {'outside of' if outside else 'in'} the database")


async def _reports(database: Database) -> Finding:
    failed = await database.read(inbox.page, limit=_MANY, state=InboxState.FAILED)
    if not failed:
        return ok(_AREA, "reports", "none that could not be read")
    count = f"{_MANY} or more" if len(failed) == _MANY else str(len(failed))
    todo = "`pillarbox ingest list`; once the cause is mended, `pillarbox ingest replay --all`."
    return warn(_AREA, "reports", f"{count} could not be read: {failed[0]['reason']}", todo)


def queue(settings: Settings) -> Finding:
    if answers(queue_url(settings)):
        return ok(_AREA, "queue server", "answers")
    if settings.embedded_queue:
        todo = "It runs as long as `pillarbox up` does."
        return warn(_AREA, "queue server", "the embedded one does not answer", todo)
    todo = "Mail is found within seconds all the same; look at queue.url and the server."
    return warn(_AREA, "queue server", "does not answer", todo)
