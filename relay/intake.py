"""The last step of every door: make a submission durable, then ask for its delivery."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from relay.capacity import Space
from relay.core.errors import Full, KeyReused, RelayError, Unavailable
from relay.core.message import Accepted, MemoryTail, Submission
from relay.observe import facts
from relay.queue import Queue
from relay.signing import Signer
from relay.store import messages
from relay.store.database import Database
from relay.store.messages import Stored
from relay.store.writer import GroupWriter

#: octets written in one transaction before the next group starts, so that one large mail delays few others
_GROUP_BYTES = 8 * 1024 * 1024
#: seconds that a busy door waits for company before a commit at most
_LINGER = 0.004
#: commits of a door side by side: PostgreSQL syncs its log once for all that wait for it, SQLite has one writer
_AT_ONCE = {"postgresql": 2}
#: seconds in which a record that was lost sight of may come back, for clients to hear what became of their mail
_PATIENCE = 15.0
#: seconds between two looks for it
_PAUSE = 0.25
#: octets in memory of mails that wait for their commit, beyond which a door takes no more: the record may be slow
_MOST = 128 * 1024 * 1024


class Intake:
    """One per door process. `accept` returns once the submission is committed and not before."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        signer: Signer | None = None,
        space: Space | None = None,
        edit: Callable[[Submission], Awaitable[None]] | None = None,
    ) -> None:
        """`edit` changes a mail in place or refuses it, `signer` signs what will not be edited any more; `space` says
        when the disk is nearly full.
        """
        self._edit = edit
        self._signer = signer
        self._space = space
        self._database = database
        self._queue = queue
        self._writer: GroupWriter[Submission, Stored] = GroupWriter(
            self._commit,
            limit=200,
            weigh=lambda s: s.size,
            weight_limit=_GROUP_BYTES,
            linger=_LINGER,
            occupies=_in_memory,
            at_once=_AT_ONCE.get(database.dialect, 1),
        )

    async def accept(self, submission: Submission) -> Accepted:
        """Store a submission; on return it will be tried, whatever happens to this process.

        The commit goes on when the caller is cancelled (a client that hangs up), so a mail is stored whole or not
        at all. Where the submission's idempotency key stands for an earlier message, that one is the receipt's and
        nothing is stored. Raises `Full` while the disk is nearly full or too much waits to be stored, `Unavailable`
        when it could not be stored, `KeyReused` when the key was used for something else.
        """
        await self.prepare(submission)
        size = submission.size
        started = time.monotonic()
        # One that is larger than all that is allowed is taken when it is alone.
        if self._writer.held and self._writer.held + _in_memory(submission) > _MOST:
            raise Full
        try:
            stored = await self._writer.submit(submission)
        except RelayError:
            raise
        except Exception as error:
            facts.store_failed(error)
            raise Unavailable from error
        if stored.earlier is not None:
            assert submission.idempotency is not None
            if stored.earlier.fingerprint != submission.idempotency.fingerprint:
                raise KeyReused
            return Accepted(stored.id, stored.at, repeated=True, answer=stored.earlier.answer)
        facts.accepted(submission, stored.id, size, time.monotonic() - started)
        return Accepted(stored.id, stored.at)

    async def prepare(self, submission: Submission) -> None:
        """All that is done to a mail before it is stored: `accept` does it, others who store mail have to.

        Raises `Full`, and what the edit refuses.
        """
        if self._space is not None:
            self._space.check()
        if self._edit is not None:
            await self._edit(submission)
        if self._signer is not None:
            await self._signer.sign(submission)

    async def close(self) -> None:
        """Wait for commits in flight."""
        await self._writer.join()

    async def _commit(self, group: Sequence[Submission]) -> Sequence[Stored]:
        rows = messages.prepare(group, self._database.dialect)
        try:
            stored = await messages.store(self._database, rows)
        except Unavailable as error:
            if not error.unclear or not await self._was_stored(rows.stored):
                raise
            stored = rows.stored
        lanes: dict[str, list[int]] = {}
        for submission, one in zip(group, stored, strict=True):
            submission.tail.close()
            if one.earlier is None and "error_code" not in submission.options and submission.send_at is None:
                lanes.setdefault(one.lane, []).append(one.id)
        for lane, ids in lanes.items():
            self._queue.deliver(lane, ids)
        return stored

    async def _was_stored(self, stored: Sequence[Stored]) -> bool:
        """Whether a group is in the record although the answer to its commit was lost.

        A client that is put off sends its mail again, and the first of the two would go out as well.
        """
        written = next((one.id for one in stored if one.earlier is None), None)
        if written is None:
            return True
        patience = time.monotonic() + _PATIENCE
        while time.monotonic() < patience:
            # A server that only lost the line may be committing still; one that has ended is starting again.
            await asyncio.sleep(_PAUSE)
            with contextlib.suppress(Unavailable):
                return await self._database.read(messages.exists, written)
        return False


def _in_memory(submission: Submission) -> int:
    """Octets; a large mail lies in a file."""
    tail = submission.tail
    return len(submission.head) + (tail.size if isinstance(tail, MemoryTail) else 0)
