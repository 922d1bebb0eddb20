"""Who is handing mail in."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated key and the account behind it."""

    account_id: int
    key_id: int
    account: str  #: the account's name
    email: str | None  #: the account's own address
    scopes: frozenset[str]
    expires_at: datetime | None
    senders: tuple[str, ...]  #: addresses, domains or `*`, in lower case

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def may_send_as(self, address: str) -> bool:
        """Whether `address` (normalised) is one of the account's senders: exactly, by its domain, or by `*`."""
        lowered = address.lower()
        return any(
            pattern in ("*", lowered) or pattern == lowered.rpartition("@")[2] for pattern in self.senders
        )
