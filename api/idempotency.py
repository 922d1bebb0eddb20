"""`Idempotency-Key`: a send that a client repeats is one message, and is answered as it was the first time."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import orjson
from starlette.requests import Request

from api.answers import Answer
from relay.core.clock import now
from relay.core.errors import InProgress, KeyReused, Refused
from relay.core.identity import Identity
from relay.core.message import Accepted, Idempotency, Submission
from relay.intake import Intake
from relay.store import idempotency
from relay.store.database import Database, ping

HEADER = "Idempotency-Key"
MAX_KEY = 256
_REPLAYED = ((b"idempotency-replayed", b"true"),)


class Once:
    """One per process: which keys are being worked on, and what became of earlier ones."""

    def __init__(self, database: Database, intake: Intake) -> None:
        self._database = database
        self._intake = intake
        self._running: set[tuple[int, str]] = set()

    def turn(
        self,
        request: Request,
        identity: Identity,
        asked: Any,
        *,
        part: int | None = None,
        key: str | None = None,
    ) -> "Turn":
        """A context for one request. `asked` is what the client wants, as far as orjson can write it.

        One of several messages in a request is told by `part`. `key` stands in where the request names none.

        Entering raises `Refused` for a key that is none, `KeyReused` for one used for something else, `InProgress`
        while another request with it is being worked on here. Other processes' are waited for by the record.
        """
        key = _key(request) or key
        if key is None:
            return Turn(self, identity.account_id, None, "")
        if part is not None:
            key = f"{key}/{part}"
        written = orjson.dumps([request.url.path, asked], default=_nothing, option=orjson.OPT_SORT_KEYS)
        return Turn(self, identity.account_id, key, hashlib.sha256(written).hexdigest())

    async def accept(self, submission: Submission) -> Accepted:
        return await self._intake.accept(submission)

    async def enter(self, account_id: int, key: str, fingerprint: str) -> Answer | None:
        """The earlier answer, or None and the key is held until `leave`."""
        if (account_id, key) in self._running:
            raise InProgress
        self._running.add((account_id, key))
        try:
            earlier = await self._database.read(idempotency.find, account_id, key, now=now())
            if earlier is None:
                return None
            if earlier.fingerprint != fingerprint:
                raise KeyReused
            # The answer is a promise, and what was read may be about to be synced only.
            await self._database.write(ping)
        except BaseException:
            self.leave(account_id, key)
            raise
        self.leave(account_id, key)
        return _replay(earlier.answer)

    def leave(self, account_id: int, key: str) -> None:
        self._running.discard((account_id, key))


class Turn:
    """One request's use of its key, or of none."""

    __slots__ = ("_account_id", "_fingerprint", "_held", "_key", "_once", "earlier")

    def __init__(self, once: Once, account_id: int, key: str | None, fingerprint: str) -> None:
        self._once = once
        self._account_id = account_id
        self._key = key
        self._fingerprint = fingerprint
        self._held = False
        #: what was answered before; where it is set, it is the answer and nothing else is to be done
        self.earlier: Answer | None = None

    async def __aenter__(self) -> Self:
        if self._key is not None:
            self.earlier = await self._once.enter(self._account_id, self._key, self._fingerprint)
            self._held = self.earlier is None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            assert self._key is not None
            self._once.leave(self._account_id, self._key)

    async def accept(self, submission: Submission, render: Callable[[Accepted], Answer]) -> Answer:
        """Store the submission, with its answer where there is a key. See `relay.intake.Intake.accept`."""
        if self._key is None:
            return render(await self._once.accept(submission))

        def answer(identifier: int, at: datetime) -> tuple[int, bytes]:
            rendered = render(Accepted(identifier, at))
            return rendered.status_code, bytes(rendered.body)

        submission.idempotency = Idempotency(self._key, self._fingerprint, answer)
        receipt = await self._once.accept(submission)
        return _replay(receipt.answer) if receipt.repeated else render(receipt)


def _key(request: Request) -> str | None:
    for name, value in request.scope["headers"]:
        if name == b"idempotency-key":
            key: str = value.decode("latin-1").strip()
            if not 0 < len(key) <= MAX_KEY or not all(" " <= char <= "~" for char in key):
                raise Refused(f"{HEADER} must be 1 to {MAX_KEY} printable ASCII characters")
            return key
    return None


def _replay(answer: tuple[int, bytes] | None) -> Answer:
    if answer is None:
        # The key was used at another door, which keeps no HTTP answer.
        raise KeyReused
    status, body = answer
    return Answer.written(body, status, _REPLAYED)


def _nothing(_value: Any) -> None:
    """Open files and the like say nothing by themselves; what they hold is asked for by its hash."""
