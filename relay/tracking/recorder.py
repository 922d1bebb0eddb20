"""Reports become facts: matched to recipients, told once, and recorded with what follows from them."""

from collections.abc import Sequence

from relay.core.clock import now
from relay.core.provider import Report
from relay.store import ingestion
from relay.store.database import Database
from relay.store.ingestion import Recorded

__all__ = ["Recorded", "Recorder"]


class Recorder:
    """Records reports at once, for those who have no inbox between; workers read the inbox with `relay.tracking`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, source: str, reports: Sequence[Report]) -> Recorded:
        """Record what `source` (a provider's name, or such as `tracking`) reported, all in one transaction.

        Every report finds its recipient by the token, else by the provider's id, else by that and the address.
        One whose mail is not known by its id yet is kept and tried again. Raises `Unavailable`.
        """
        return await self._database.write(ingestion.record, source, reports, now=now())
