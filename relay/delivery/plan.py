"""Who of a claimed mail takes which way: what is known beforehand, the choice, and parts to send."""

import asyncio
import random
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from relay.core.clock import now
from relay.core.provider import Outgoing, OutgoingRecipient
from relay.delivery.ways import Fleet, Way
from relay.observe import facts as log
from relay.routing import FRESH, Block, Facts, History, Plan, Why, facts_of, switch_of
from relay.store import circuits, deliveries
from relay.store.database import Database
from relay.store.deliveries import Claim, ClaimedMail, HandBack
from relay.store.settling import Switch

#: seconds after which waiting mail is looked at even if nobody has let it in
_WAIT = 300.0
#: seconds for which names of accounts and keys are believed
_NAMES = 10.0


async def guarded(work: Coroutine[Any, Any, Any]) -> Any:
    """The result, or None where it failed, which is logged."""
    try:
        return await work
    except Exception as error:
        log.fault("prepare", error)
        return None


@dataclass(slots=True, eq=False)
class Part:
    """Those recipients of a mail that take the same way, in this worker's hands."""

    mail: ClaimedMail
    claims: list[Claim]
    way: Way
    history: History = FRESH
    #: providers asked in vain by this very try
    tried: Mapping[str, Block] = field(default_factory=dict)
    switches: tuple[Switch, ...] = ()
    probing: bool = False


class Planner:
    """Makes parts; the places they take at their ways are taken with them."""

    def __init__(self, database: Database, fleet: Fleet, batch_octets: int) -> None:
        self._database = database
        self._fleet = fleet
        self._batch_octets = batch_octets
        self._names: tuple[dict[int, str], dict[int, str]] = ({}, {})
        self._names_read = 0.0

    async def prepare(self, mails: Sequence[ClaimedMail]) -> dict[int, History]:
        """What the choice for these mails depends on: names for rules, and the histories of their recipients."""
        if self._fleet.router.asks_names:
            await guarded(self._read_names())
        return await self._histories(mails)

    async def _histories(self, mails: Sequence[ClaimedMail]) -> dict[int, History]:
        """Of recipients that were tried before; most never were."""
        again = [mail.id for mail in mails if any(claim.attempts > 1 for claim in mail.claims)]
        if not again:
            return {}
        pause = 0.1
        while True:
            # Without it a mail that may have gone out could be sent once more, by another provider.
            lines = await guarded(self._database.read(deliveries.history, again))
            if lines is not None:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)
        return {recipient: self._fleet.router.history(found) for recipient, found in lines.items()}

    async def _read_names(self) -> None:
        moment = asyncio.get_running_loop().time()
        if not self._names_read or moment - self._names_read > _NAMES:
            self._names = await self._database.read(circuits.names)
            self._names_read = moment

    def plan(
        self,
        mail: ClaimedMail,
        claims: Sequence[Claim],
        histories: Mapping[int, History],
        tried: Mapping[str, Block] | None = None,
        switches: tuple[Switch, ...] = (),
    ) -> tuple[list[Part], list[tuple[Claim, Plan]]]:
        """Parts for the recipients that can go now, places taken; and the others with what keeps them."""
        fleet = self._fleet
        parts: dict[tuple[str, str | None, bool], Part] = {}
        left: list[tuple[Claim, Plan]] = []
        for claim in claims:
            facts: Facts = facts_of(mail.row, claim.address, *self._names)
            if claim.route in fleet.ways:
                facts.pin = claim.route
            history = histories.get(claim.id, FRESH)
            plan = fleet.router.choose(facts, fleet.circuits, tried, history)
            if plan.provider is None:
                left.append((claim, plan))
                continue
            way = fleet.ways[plan.provider]
            probing = way.take(facts.recipient_domain if way.by_domain else "")
            away = switch_of(plan, history) if plan.passed or history is not FRESH else None
            # Recipients with pasts of their own are told apart, so that each keeps its own.
            key = (plan.provider, away[0] if away else None, history is FRESH)
            part = parts.get(key)
            if part is not None and history is FRESH and not probing:
                part.claims.append(claim)
                continue
            part = Part(mail, [claim], way, history, tried or {}, switches, probing)
            if away is not None:
                part.switches += (self._switch(mail, claim, away, plan.provider),)
            parts[key if history is FRESH else (plan.provider, str(claim.id), False)] = part
        return list(parts.values()), left

    def _switch(self, mail: ClaimedMail, claim: Claim, away: tuple[str, Block], to: str) -> Switch:
        name, block = away
        log.switched(mail.id, claim.id, name, to, block.why.value, block.words)
        return Switch(now(), name, to, block.why.value, block.words)

    def waiting(self, claim: Claim, plan: Plan) -> HandBack:
        """A recipient that has to wait, with what it waits for and when to look again at the latest."""
        key = plan.waits_for
        seconds = random.uniform(_WAIT, 2 * _WAIT)
        if key is None:
            return HandBack(claim, now() + timedelta(seconds=random.uniform(30, 60)))
        if plan.block is not None and plan.block.why is Why.DOMAIN:
            key = f"{key}/{claim.address.rpartition('@')[2]}"[:320]
        return HandBack(claim, now() + timedelta(seconds=seconds), key)

    def batches(self, parts: Sequence[Part]) -> Iterator[list[Part]]:
        """Runs by way, as long as it takes them, cut short where bodies grow large: a run is in memory whole."""
        groups: dict[int, list[Part]] = {}
        for part in parts:
            groups.setdefault(id(part.way), []).append(part)
        for group in groups.values():
            size = group[0].way.provider.capabilities.batch_size
            batch: list[Part] = []
            octets = 0
            for part in group:
                if batch and (len(batch) == size or octets + part.mail.row["size"] > self._batch_octets):
                    yield batch
                    batch, octets = [], 0
                batch.append(part)
                octets += part.mail.row["size"]
            yield batch


def outgoing_of(mail: ClaimedMail, claims: Sequence[Claim], raw: bytes, way: Way | None = None) -> Outgoing:
    """One mail for one call of the way's provider; with a return path of ours it has one recipient."""
    row = mail.row
    sender, envid = _envelope(mail, claims, way)
    return Outgoing(
        message_id=mail.id,
        sender=sender,
        recipients=tuple(
            OutgoingRecipient(claim.id, claim.address, claim.attempts, claim.notify, claim.orcpt)
            for claim in claims
        ),
        raw=raw,
        smtputf8=row["smtputf8"],
        eight_bit=row["eight_bit"],
        ret=row["ret"],
        envid=envid,
        tag=row["tag"],
        metadata=row["metadata"],
        accepted_at=row["accepted_at"],
    )


def _envelope(mail: ClaimedMail, claims: Sequence[Claim], way: Way | None) -> tuple[str, str | None]:
    """Return path and envelope id. By either a bounce is known for what it is, and by nothing else."""
    sender, envid = mail.row["sender"], mail.row["envid"]
    if way is None or not sender:
        return sender, envid
    if way.return_paths is not None and len(claims) == 1:
        return way.return_paths.make(mail.id, claims[0].id, now()), envid
    if way.envids is not None and not envid:
        envid = way.envids.seal(mail.id, claims[0].id if len(claims) == 1 else 0, now())
    return sender, envid
