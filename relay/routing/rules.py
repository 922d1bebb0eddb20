"""What routing knows of a mail, and which rule is about it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.core import routes
from relay.core.stream import DEFAULT
from relay.sections import RuleSettings


@dataclass(slots=True)  # frozen ones take three times as long to make, and one is made for every recipient
class Facts:
    """One recipient's mail as the rules see it. Texts are compared without regard to case; None never matches."""

    id: int
    sender: str = ""  #: the return path; empty for the null sender
    recipient: str = ""
    account: str | None = None
    key: str | None = None  #: the key's label
    classification: str | None = None
    tag: str | None = None
    stream: str | None = None
    lane: str | None = None
    size: int = 0  #: octets
    #: the provider the sender would like, where its route names it
    hint: str | None = None
    #: the provider an operator wants it to go by, whatever its route names
    pin: str | None = None

    @property
    def sender_domain(self) -> str:
        return self.sender.rpartition("@")[2]

    @property
    def recipient_domain(self) -> str:
        return self.recipient.rpartition("@")[2]


def facts_of(
    row: Mapping[str, Any],
    recipient: str,
    accounts: Mapping[int, str],
    keys: Mapping[int, str],
) -> Facts:
    """The facts of a message's row; `accounts` and `keys` have names and labels by id, where rules ask for them."""
    options = row["options"]
    return Facts(
        id=row["id"],
        sender=row["sender"],
        recipient=recipient,
        account=accounts.get(row["account_id"]) if accounts else None,
        key=keys.get(row["key_id"]) if keys else None,
        classification=row["classification"],
        tag=row["tag"],
        stream=(options.get("stream") if options else None) or DEFAULT,
        lane=row["lane"],
        size=row["size"],
        hint=options.get("provider") if options else None,
    )


#: conditions that are patterns on a text of `Facts` of the same name
TEXTS = (
    "sender",
    "sender_domain",
    "recipient_domain",
    "account",
    "key",
    "classification",
    "tag",
    "stream",
    "lane",
)


class Rule:
    """One compiled rule: all its conditions hold, or it is not about the mail."""

    def __init__(self, number: int, settings: RuleSettings) -> None:
        self.number = number
        self.tree = routes.parse(settings.use)
        when = settings.when
        self._min, self._max = when.min_size, when.max_size
        self._texts = [
            (name, pattern_of(patterns)) for name in TEXTS if (patterns := getattr(when, name)) is not None
        ]
        self.asks = frozenset(name for name, _ in self._texts)
        self.words = settings.name or ", ".join(f"{k} = {v}" for k, v in when.shown().items())

    def __str__(self) -> str:
        return f"rule {self.number} ({self.words})"

    def about(self, facts: Facts) -> bool:
        if self._min is not None and facts.size < self._min:
            return False
        if self._max is not None and facts.size > self._max:
            return False
        for name, pattern in self._texts:
            value = getattr(facts, name)
            if value is None or pattern.match(value) is None:
                return False
        return True


def pattern_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """One expression for any of the patterns, in which `*` stands for anything."""
    each = "|".join(".*".join(map(re.escape, one.split("*"))) for one in patterns)
    return re.compile(rf"(?:{each})\Z", re.IGNORECASE | re.DOTALL)
