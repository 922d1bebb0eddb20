"""One function per fact worth a log line, so that wording and fields cannot drift.

No bodies, no secrets, no subjects; addresses are masked unless the operator asks for them.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from relay.core import address
from relay.core.message import Submission
from relay.core.provider import OutcomeKind, Outgoing, Receipt, Report
from relay.core.status import lane_of
from relay.observe import metrics, traces
from relay.observe.lines import Lines

_log = structlog.get_logger()
_full_addresses = False
_lines: Lines | None = None


def show_addresses(full: bool) -> None:
    global _full_addresses
    _full_addresses = full


def _shown(one: str) -> str:
    return one if _full_addresses or not one else address.mask(one)


def gather(lines: Lines | None) -> None:
    """Have the busiest facts written by `lines` rather than by the logger; None for the logger."""
    global _lines
    _lines = lines


def _busy(event: str, **fields: Any) -> None:
    if _lines is None:
        _log.info(event, **fields)
    else:
        _lines.put(event, fields)


def accepted(submission: Submission, identifier: int, size: int, seconds: float) -> None:
    """A door has stored a mail, which took so many seconds."""
    lane = submission.options.get("lane") or lane_of(submission.classification)
    metrics.ACCEPTED.add(submission.door, lane)
    metrics.ACCEPTED_BYTES.add(submission.door, count=size)
    metrics.STORE_SECONDS.observe(seconds, submission.door)
    if traces.on():
        traces.accepted(
            identifier,
            seconds,
            {"door": submission.door, "lane": lane, "size": size, "recipients": len(submission.recipients)},
        )
    _busy(
        "accepted",
        id=identifier,
        door=submission.door.value,
        account=submission.account_id,
        sender=_shown(submission.sender),
        recipient=_shown(submission.recipients[0].address),
        recipients=len(submission.recipients),
        size=size,
    )


def asked(provider: str, seconds: float, answers: Iterable[tuple[Outgoing, Receipt]]) -> None:
    """A provider has answered for some mails, which took so many seconds."""
    metrics.SEND_SECONDS.observe(seconds, provider)
    if not traces.on():
        return
    for mail, receipt in answers:
        for recipient, outcome in zip(mail.recipients, receipt, strict=True):
            well = outcome.kind is OutcomeKind.ACCEPTED
            traces.tried(
                mail.message_id,
                seconds,
                {
                    "provider": provider,
                    "recipient_id": str(recipient.id),
                    "attempt": recipient.attempt,
                    "outcome": outcome.kind,
                },
                failed=None if well else str(outcome.reply),
            )


def tried(provider: str, lane: str, outcome: str, age: float) -> None:
    """What a try came to for one recipient, `age` seconds after its mail was accepted."""
    metrics.OUTCOMES.add(provider, lane, outcome)
    if outcome == "sent":
        metrics.ACCEPT_TO_SENT_SECONDS.observe(age, lane)


def untracked(submission: Submission, reason: str) -> None:
    _log.info("not tracked", account=submission.account_id, sender=_shown(submission.sender), reason=reason)


def record_away(words: str) -> None:
    _log.error("database cannot be used; mail is put off until it can", says=words)


def record_back(seconds: float) -> None:
    _log.info("database is back", away=round(seconds, 1))


def store_failed(error: BaseException) -> None:
    _log.error("store failed", error=repr(error), exc_info=error)


def sent(message_id: int, recipient: str, provider: str, attempt: int, reply: str) -> None:
    _busy("sent", id=message_id, recipient=_shown(recipient), provider=provider, attempt=attempt, reply=reply)


def deferred(message_id: int, recipient: str, provider: str, attempt: int, reply: str, due: Any) -> None:
    _log.info(
        "deferred",
        id=message_id,
        recipient=_shown(recipient),
        provider=provider,
        attempt=attempt,
        reply=reply,
        due=str(due),
    )


def bounced(message_id: int, recipient: str, provider: str, attempt: int, reply: str) -> None:
    _log.info(
        "bounced", id=message_id, recipient=_shown(recipient), provider=provider, attempt=attempt, reply=reply
    )


def parked(message_id: int, recipient_id: int, reason: str) -> None:
    metrics.PARKED.add()
    _log.warning("parked", id=message_id, recipient_id=recipient_id, reason=reason)


def recovered(message_id: int, recipient_id: int, crashes: int) -> None:
    metrics.RECOVERED.add()
    _log.warning("recovered", id=message_id, recipient_id=recipient_id, crashes=crashes)


def stale(message_id: int, recipient_id: int) -> None:
    metrics.STALE.add()
    _log.warning("stale result ignored", id=message_id, recipient_id=recipient_id)


def overslept(message_id: int, recipient_id: int) -> None:
    _log.warning(
        "not sent: this worker was away for longer than its lease", id=message_id, recipient_id=recipient_id
    )


def refused(door: str, code: str, message: str, peer: str | None = None) -> None:
    _log.info("refused", door=door, code=code, message=message, peer=peer)


def bounce_taken(source: str, peer: str | None, size: int) -> None:
    """Bounce mail has come home; what it says is read later."""
    _log.info("bounce taken", source=source, peer=peer, size=size)


def mailbox_read(mailbox: str, taken: int) -> None:
    _log.info("bounces fetched", mailbox=mailbox, taken=taken)


def mailbox_failed(mailbox: str, error: str, pause: float) -> None:
    """It is looked into again after `pause` seconds; nothing in it is lost."""
    _log.warning("mailbox cannot be read", mailbox=mailbox, error=error, again_in=pause)


def provider_bug(provider: str, error: BaseException) -> None:
    _log.error("provider raised", provider=provider, error=repr(error), exc_info=error)


def provider_misconfigured(provider: str, reply: str) -> None:
    _log.error("provider will not serve us", provider=provider, reply=reply)


def wake_up_lost(count: int, error: BaseException) -> None:
    metrics.WAKE_UPS_LOST.add(count=count)
    _log.warning("wake-up not delivered; the clock will ask again", count=count, error=repr(error))


def limits_unshared(error: BaseException) -> None:
    _log.warning("queue server does not count; each process counts sends by itself", error=repr(error))


def limits_shared() -> None:
    _log.info("queue server counts sends again")


def listening(door: str, where: str) -> None:
    _log.info("listening", door=door, address=where)


def stopping(reason: str) -> None:
    _log.info("stopping", reason=reason)


def stopped() -> None:
    _log.info("stopped")


def fault(where: str, error: BaseException, **fields: Any) -> None:
    """Something we did not expect; the line has what the client was not told."""
    metrics.FAULTS.add(where)
    _log.error("fault", where=where, error=repr(error), exc_info=error, **fields)


def queue_server_started(pid: int, where: str) -> None:
    _log.debug("queue server started", pid=pid, address=where)


def queue_server_adopted(where: str) -> None:
    _log.info("queue server was running already", address=where)


def queue_server_lost(code: int, pause: float) -> None:
    _log.error("queue server ended; starting it again", code=code, pause=pause)


def queue_set_aside(where: str) -> None:
    _log.error("queue could not be read and was set aside; waiting mail is in the record", kept=where)


def child_started(name: str, pid: int) -> None:
    _log.debug("process started", name=name, pid=pid)


def child_lost(name: str, code: int, pause: float) -> None:
    """`code` is the exit code, or the negative number of the signal that ended it."""
    _log.error("process ended; starting it again", name=name, code=code, pause=pause)


def child_failed(name: str, code: int) -> None:
    _log.error("process did not start; giving up", name=name, code=code)


def child_killed(name: str, pid: int) -> None:
    _log.warning("process did not end in time and was killed", name=name, pid=pid)


def clock_jumped(seconds: float) -> None:
    _log.warning("the machine's clock has jumped", seconds=round(seconds, 1))


def migrated(before: str | None, after: str) -> None:
    _log.info("database brought up to date", before=before, after=after)


def tls_failed(door: str, peer: str, error: BaseException) -> None:
    _log.info("TLS handshake failed", door=door, peer=peer, error=repr(error))


def refusals_hidden(door: str, count: int, clients: int) -> None:
    """So many lines like `refused` were left out, because of so many clients that caused too many of them."""
    _log.warning("refusals not shown", door=door, count=count, clients=clients)


def certificate_reloaded(path: str) -> None:
    _log.info("certificate reloaded", path=path)


def certificate_kept(path: str, reason: str) -> None:
    _log.error("certificate not reloaded; the one in use stays", path=path, reason=reason)


def login_locked(door: str, peer: str) -> None:
    _log.warning("too many failed logins", door=door, peer=peer)


def overloaded(door: str, lag: float) -> None:
    _log.warning("overloaded; new clients are asked to come back later", door=door, lag=round(lag, 1))


def switched(message_id: int, recipient_id: int, came_from: str, went_to: str, why: str, words: str) -> None:
    metrics.SWITCHES.add(came_from, went_to, why)
    _log.info(
        "switched",
        id=message_id,
        recipient_id=recipient_id,
        provider=came_from,
        to=went_to,
        why=why,
        reason=words,
    )


def circuit_opened(provider: str, reason: str, pause: float) -> None:
    """One worker has had enough of a provider."""
    _log.error("circuit opened", worker=os.getpid(), provider=provider, reason=reason, pause=pause)


def circuit_probed(provider: str) -> None:
    _log.info("circuit probed", provider=provider)


def circuit_closed(provider: str) -> None:
    _log.warning("circuit closed", worker=os.getpid(), provider=provider)


def circuit_learned(provider: str, circuit: str, reason: str | None) -> None:
    """Another worker, or an operator, has opened or closed it."""
    _log.info("circuit seen", worker=os.getpid(), provider=provider, circuit=circuit, reason=reason)


def provider_mode(provider: str, mode: str) -> None:
    _log.warning("provider set by an operator", provider=provider, mode=mode)


def provider_closed(provider: str) -> None:
    _log.info("provider closed: nothing of it is left in hand", worker=os.getpid(), provider=provider)


def reloaded(why: str, providers: str) -> None:
    _log.info("configuration reloaded", worker=os.getpid(), why=why, providers=providers)


def reload_refused(why: str, reason: str) -> None:
    _log.error("configuration not reloaded; the one before stays in force", why=why, reason=reason)


def endpoint_disabled(endpoint_id: int, account_id: int, url: str, reason: str) -> None:
    """A customer's webhook endpoint is not told anything any more. Its query may hold a token of the customer's."""
    _log.error(
        "webhook endpoint disabled",
        endpoint=endpoint_id,
        account=account_id,
        url=url.partition("?")[0],
        reason=reason,
    )


def told(reports: Iterable[tuple[int, str, Report]]) -> None:
    """What became of mails, by message and who told it."""
    if traces.on():
        for message_id, source, report in reports:
            traces.told(message_id, report.kind, report.at, {"told_by": source})


def endpoint_called(*, delivered: bool, status: int | None) -> None:
    """A customer's webhook endpoint was called; `status` is None where no answer came."""
    metrics.NOTICES.add("delivered" if delivered else f"{status // 100}xx" if status else "no answer")


def ingested(
    applied: int, repeated: int, early: int, unknown: int, kinds: Mapping[tuple[str, str], int]
) -> None:
    """Reports were recorded; `early` and `unknown` ones are kept. `kinds` counts those by source and kind."""
    for (source, kind), count in kinds.items():
        metrics.EVENTS.add(source, kind, count=count)
    _log.info("reports recorded", applied=applied, repeated=repeated, early=early, unknown=unknown)


def unreadable(source: str, kind: str, identifier: int, reason: str, due: Any) -> None:
    """Something told could not be recorded; without `due` it is set aside for a human."""
    level = _log.warning if due is not None else _log.error
    level("report not read", source=source, kind=kind, id=identifier, reason=reason, due=due)


def webhook_refused(provider: str, reason: str) -> None:
    _log.warning("webhook refused", provider=provider, reason=reason)


def swept(messages: int) -> None:
    _log.info("old mail cleaned", messages=messages)


def erased(identifier: int, rows: int, files: int) -> None:
    _log.info("person erased", erasure=identifier, rows=rows, files=files)
