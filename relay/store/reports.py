"""Reports into timelines: whose they are, whether they were told before, and what follows from them.

Everything about a batch happens in one transaction with a few statements. The recipients are locked first, so that
two workers which are told the same at once, or a worker that settles the very send, come one after the other.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

from relay.core.address import InvalidAddress, normalise
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.provider import Report
from relay.core.reply import Reply
from relay.core.standing import Standing, after
from relay.core.status import State
from relay.core.stream import DEFAULT, Leaving, Stream
from relay.observe import facts
from relay.store import standings, streams, suppressions, timeline
from relay.store import tables as t
from relay.store.suppressions import NewSuppression, Reason
from relay.store.types import BigInt


@dataclass(slots=True)
class Line:
    """One report on its way: who told it, and, for the caller, where it came from."""

    source: str
    report: Report
    origin: int = 0
    key: str = ""

    def __post_init__(self) -> None:
        self.key = self.key or dedupe_key(self.source, self.report)


@dataclass(slots=True)
class Applied:
    """What became of lines. `early` may find their mail later; `unknown` name none that could turn up."""

    applied: int = 0
    repeated: int = 0
    early: list[Line] = field(default_factory=list)
    unknown: list[Line] = field(default_factory=list)
    #: of those applied, by source and kind
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)


def dedupe_key(source: str, report: Report) -> str:
    """Equal for two tellings of one fact: by the teller's own id of it, or else by what it says."""
    said: list[Any] = [
        source,
        report.kind.value,
        report.token,
        report.ref,
        (report.recipient or "").lower(),
        report.key,
    ]
    if report.key is None:
        said += [report.at.isoformat(), report.reply, report.bounce, dict(report.detail)]
    try:
        written = orjson.dumps(said, default=repr, option=_ORDERED)
    except TypeError:
        written = repr(said).encode(errors="replace")
    digest = hashlib.blake2b(written, digest_size=16).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


_ORDERED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def ref_key(provider: str, ref: str) -> int:
    """By what a recipient is found when a provider names its own id: shorter than the id, which may be anything."""
    digest = hashlib.blake2b(f"{provider}\0{_plain(ref)}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _plain(ref: str) -> str:
    """An id without the angle brackets that one of two places has and the other has not."""
    return ref.strip().removeprefix("<").removesuffix(">")


#: reports that one statement is about at most
_AT_ONCE = 1000


def apply(connection: sa.Connection, lines: Sequence[Line]) -> Applied:
    """Record what `lines` tell, each once, in the transaction of `connection`."""
    result = Applied()
    for start in range(0, len(lines), _AT_ONCE):
        _apply(connection, lines[start : start + _AT_ONCE], result)
    return result


def _apply(connection: sa.Connection, lines: Sequence[Line], result: Applied) -> None:
    fresh: dict[str, Line] = {}
    for line in lines:
        if line.key in fresh:
            result.repeated += 1
        else:
            fresh[line.key] = line
    homes = _homes(connection, list(fresh.values()))
    seen = _seen(connection, list(homes))
    told: list[tuple[Line, _Home]] = []
    for key, line in fresh.items():
        home = homes.get(key)
        if key in seen:
            result.repeated += 1
        elif home is not None:
            told.append((line, home))
        elif line.report.ref is not None:
            result.early.append(line)
        else:
            result.unknown.append(line)
    if told:
        timeline.add(
            connection,
            [_event(line, home) for line, home in told],
            {home.message_id: home.account_id for _, home in told},
        )
        facts.told((home.message_id, line.source, line.report) for line, home in told)
        _advance(connection, told)
        _suppress(connection, told)
        result.applied += len(told)
        result.kinds.update((line.source, line.report.kind.value) for line, _ in told)


# Whose it is.


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a report belongs; `recipient` is the locked row, or None where only the message is known."""

    message_id: int
    account_id: int
    recipient: Any = None


_R = t.recipient.c
_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_LOCKED = (
    sa.select(
        _R.id,
        _R.message_id,
        _R.account_id,
        _R.position,
        _R.address,
        _R.state,
        _R.attempts,
        _R.provider,
        *standings.COLUMNS,
    )
    .where(_R.id.in_(_IDS))
    .order_by(_R.id)
    .with_for_update()
)
_CANDIDATE = (_R.id, _R.message_id, _R.account_id, _R.address, _R.provider, _R.provider_ref, _R.ref_key)
_OF_MESSAGES = sa.select(*_CANDIDATE).where(_R.message_id.in_(_IDS)).order_by(_R.position)
_BY_REF = sa.select(*_CANDIDATE).where(_R.ref_key.in_(_IDS)).order_by(_R.id)
_LOCK_MESSAGES = (
    sa.select(t.message.c.id).where(t.message.c.id.in_(_IDS)).order_by(t.message.c.id).with_for_update()
)
_SEEN = sa.select(t.event.c.dedupe).where(t.event.c.dedupe.in_(sa.bindparam("b_keys", expanding=True)))


def _homes(connection: sa.Connection, lines: Sequence[Line]) -> dict[str, _Home]:
    """Where each line belongs, by its key; those that belong nowhere are missing."""
    tokens = {line.key: _read_token(line.report.token) for line in lines}
    locked = _lock(connection, {token[1] for token in tokens.values() if token and token[1]})
    homes: dict[str, _Home] = {}
    rest: list[Line] = []
    for line in lines:
        token = tokens[line.key]
        row = locked.get(token[1]) if token else None
        if token and row is not None and row.message_id == token[0]:
            homes[line.key] = _Home(row.message_id, row.account_id, row)
        elif token or line.report.ref:
            rest.append(line)
    if rest:
        _look_further(connection, rest, tokens, homes)
    return homes


def _read_token(token: str | None) -> tuple[int, int] | None:
    """Message and recipient of `Outgoing.token`; 0 where it names no recipient."""
    message, _, recipient = (token or "").strip().partition(".")
    if not (message.isascii() and message.isdigit() and len(message) <= _DIGITS):
        return None
    if not (recipient.isascii() and recipient.isdigit() and len(recipient) <= _DIGITS):
        return int(message), 0
    return int(message), int(recipient)


#: of an id of 63 bits, so that none is asked for that no column could hold
_DIGITS = 18 + 1
_MOST = (1 << 63) - 1


def _lock(connection: sa.Connection, ids: Iterable[int]) -> dict[int, Any]:
    wanted = [one for one in ids if one <= _MOST]
    if not wanted:
        return {}
    return {row.id: row for row in connection.execute(_LOCKED, {"b_ids": wanted})}


def _look_further(
    connection: sa.Connection,
    lines: Sequence[Line],
    tokens: Mapping[str, tuple[int, int] | None],
    homes: dict[str, _Home],
) -> None:
    """Find the homes of lines whose token does not name the recipient, or that have none."""
    of_message = _grouped(
        connection, _OF_MESSAGES, {token[0] for line in lines if (token := tokens[line.key])}, "message_id"
    )
    keys = {line.key: ref_key(line.source, line.report.ref) for line in lines if line.report.ref}
    by_ref = _grouped(connection, _BY_REF, set(keys.values()), "ref_key")
    chosen: dict[str, Any] = {}
    for line in lines:
        token = tokens[line.key]
        candidates = of_message.get(token[0], []) if token else []
        if not candidates and line.key in keys:
            candidates = [
                row
                for row in by_ref.get(keys[line.key], [])
                if row.provider == line.source and _plain(row.provider_ref) == _plain(line.report.ref or "")
            ]
        row = _choose(candidates, line.report.recipient)
        if row is not None:
            chosen[line.key] = row.id
        elif len({one.message_id for one in candidates}) == 1:
            homes[line.key] = _Home(candidates[0].message_id, candidates[0].account_id)
    rows = _lock(connection, set(chosen.values()))
    for key, identifier in chosen.items():
        row = rows[identifier]
        homes[key] = _Home(row.message_id, row.account_id, row)
    whole = {home.message_id for home in homes.values() if home.recipient is None}
    if whole:
        connection.execute(_LOCK_MESSAGES, {"b_ids": sorted(whole)})


def _grouped(
    connection: sa.Connection, statement: sa.Executable, ids: set[int], by: str
) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    wanted = [one for one in ids if one <= _MOST]
    for row in connection.execute(statement, {"b_ids": wanted}) if wanted else ():
        found.setdefault(getattr(row, by), []).append(row)
    return found


def _choose(candidates: Sequence[Any], address: str | None) -> Any:
    """The candidate that is meant. A lone one is, even under another spelling of its address."""
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    if address is None:
        return None
    wanted = _spelling(address)
    return next((row for row in candidates if _spelling(row.address) == wanted), None)


def _spelling(address: str) -> str:
    address = _plain(address)
    try:
        return normalise(address).lower()
    except InvalidAddress:
        return address.lower()


def _seen(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    return set(connection.execute(_SEEN, {"b_keys": keys}).scalars()) if keys else set()


# What is written.


def _event(line: Line, home: _Home) -> dict[str, Any]:
    report, row = line.report, home.recipient
    detail: dict[str, Any] = dict(report.detail)
    if report.bounce is not None:
        detail["bounce"] = {"class": report.bounce.kind.value, "reason": report.bounce.reason.value}
    detail["told_by"] = line.source
    if report.original:
        detail["original"] = dict(report.original)
    return {
        "id": new_id(),
        "message_id": home.message_id,
        "recipient_id": row.id if row is not None else None,
        "kind": report.kind.value,
        "at": _aware(report.at),
        "provider": (row.provider if row is not None else None) or line.source,
        "attempt": None,
        "reply": _fit(str(report.reply)) if report.reply is not None else None,
        "detail": _storable(detail),
        "dedupe": line.key,
    }


def _storable(detail: dict[str, Any]) -> Any:
    """`detail` as JSON that both databases take: told by strangers, it may have what JSON or text may not."""
    try:
        written = orjson.dumps(detail, default=_encodable, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return _scrubbed(detail)
    return detail if b"\\u0000" not in written and b"null" not in written else _scrubbed(detail)


def _scrubbed(value: Any, depth: int = 32) -> Any:
    if isinstance(value, Mapping | list | tuple) and not depth:
        return "..."
    if isinstance(value, Mapping):
        return {_fit(str(key)): _scrubbed(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(inner, depth - 1) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < _MOST:
        return value
    return _fit(str(value))


def _fit(text: str) -> str:
    """Text without what no column takes: NUL, and halves of characters."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _advance(connection: sa.Connection, told: Sequence[tuple[Line, _Home]]) -> None:
    before: dict[int, tuple[Any, Standing]] = {}
    standing: dict[int, Standing] = {}
    for line, home in told:
        row = home.recipient
        if row is None:
            continue
        if row.id not in before:
            standing[row.id] = standings.of_row(row)
            before[row.id] = row, standing[row.id]
        report = line.report
        feedback = report.detail.get("feedback_type")
        standing[row.id] = after(
            standing[row.id],
            report.kind,
            _aware(report.at),
            bounce=report.bounce,
            feedback_type=_fit(str(feedback))[:255] if feedback else None,
            machine=report.detail.get("machine") is True,
        )
    changed = [(row, standing[row.id]) for row, known in before.values() if standing[row.id] is not known]
    standings.write(connection, changed)
    # Whatever our own last try came to, it has arrived somewhere: another one would be a double.
    gone = [row.id for row, now in changed if now.status in standings.GONE and _waits(row)]
    standings.finish(connection, gone)


def _waits(row: Any) -> bool:
    return bool(row.attempts) and row.state in {State.QUEUED, State.HELD, State.PARKED}


def _suppress(connection: sa.Connection, told: Sequence[tuple[Line, _Home]]) -> None:
    entries = []
    leavers: list[tuple[Line, Any]] = []
    complainers: list[tuple[Line, Any]] = []
    for line, home in told:
        row, report = home.recipient, line.report
        if row is None:
            continue
        note = _fit(str(report.reply)) if report.reply is not None else None
        if report.kind is EventKind.COMPLAINED:
            complainers.append((line, row))
        elif report.kind is EventKind.BOUNCED and report.bounce and report.bounce.kind is BounceClass.HARD:
            entries.append(NewSuppression(row.account_id, row.address, Reason.BOUNCE, line.source, note=note))
        elif report.kind is EventKind.UNSUBSCRIBED and "stream" not in report.detail:
            # Who names a stream has acted on it already.
            leavers.append((line, row))
    if leavers:
        entries += _left(connection, leavers)
    if complainers:
        entries += _complained(connection, complainers)
    if entries:
        suppressions.add_many(connection, entries)


def _left(connection: sa.Connection, leavers: Sequence[tuple[Line, Any]]) -> Iterable[NewSuppression]:
    """Those who unsubscribed at a provider get no more mail of the stream, or of the account where that says so."""
    for line, row, stream in _streamed(connection, leavers):
        scope = None if stream.unsubscribe_from is Leaving.ACCOUNT else stream.name
        yield NewSuppression(row.account_id, row.address, Reason.UNSUBSCRIBE, line.source, stream=scope)


def _complained(
    connection: sa.Connection, complainers: Sequence[tuple[Line, Any]]
) -> Iterable[NewSuppression]:
    """Those who complained get no more mail of the account, or of the stream where that says so."""
    for line, row, stream in _streamed(connection, complainers):
        note = _fit(str(line.report.reply)) if line.report.reply is not None else None
        scope = stream.name if stream.complaint_from is Leaving.STREAM else None
        yield NewSuppression(
            row.account_id, row.address, Reason.COMPLAINT, line.source, stream=scope, note=note
        )


def _streamed(
    connection: sa.Connection, told: Sequence[tuple[Line, Any]]
) -> Iterable[tuple[Line, Any, Stream]]:
    """With the stream of each mail, as it is now."""
    ids = list({row.message_id for _, row in told})
    options = {row.id: row.options or {} for row in connection.execute(_OPTIONS, {"b_ids": ids})}
    known = {
        account_id: streams.of_account(connection, account_id)
        for account_id in {row.account_id for _, row in told}
    }
    for line, row in told:
        name = options[row.message_id].get("stream") or DEFAULT
        yield line, row, known[row.account_id].get(name) or Stream(name)


_OPTIONS = sa.select(t.message.c.id, t.message.c.options).where(t.message.c.id.in_(_IDS))


# Reports as bytes, for the inbox.


def encode_reports(reports: Sequence[Report]) -> bytes:
    """Reports as JSON; the inverse of `decode_reports`."""
    try:
        return orjson.dumps(reports, default=_encodable, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return orjson.dumps([_scrubbed_report(one) for one in reports], default=_encodable)


def _encodable(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _scrubbed_report(report: Report) -> dict[str, Any]:
    told = {name: getattr(report, name) for name in Report.__slots__}
    texts = {name: _fit(value) for name, value in told.items() if isinstance(value, str)}
    reply = report.reply and Reply(report.reply.code, report.reply.enhanced, _fit(report.reply.text))
    detail, original = _scrubbed(report.detail), _scrubbed(report.original)
    return {**told, **texts, "kind": report.kind, "reply": reply, "detail": detail, "original": original}


def decode_reports(data: bytes) -> list[Report]:
    """What `encode_reports` wrote. Raises `ValueError` for anything else."""
    try:
        return [_report(one) for one in orjson.loads(data)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a list of reports: {error!r}") from None


def _report(said: dict[str, Any]) -> Report:
    reply, bounce = said.get("reply"), said.get("bounce")
    return Report(
        EventKind(said["kind"]),
        datetime.fromisoformat(said["at"]),
        said.get("token"),
        said.get("ref"),
        said.get("recipient"),
        said.get("key"),
        Reply(reply["code"], reply["enhanced"], reply["text"]) if reply else None,
        Bounce(BounceClass(bounce["kind"]), BounceReason(bounce["reason"])) if bounce else None,
        said.get("detail") or {},
        said.get("original") or {},
    )
