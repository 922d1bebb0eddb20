"""The provider for tests, tested, so that it cannot lie to the others."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from providers import registry
from providers.memory import Memory
from relay.core.errors import Misconfigured
from relay.core.provider import OutcomeKind
from relay.testing import Arrival, ProviderContract, outgoing


class TestMemoryContract(ProviderContract):
    def make(self) -> Memory:
        self.memory = Memory("pretend", {"outcomes": {self.refused: "rejected", self.busy: "retry"}})
        return self.memory

    def options_with(self, **more: Any) -> Callable[[], Memory]:
        return lambda: Memory("pretend", more)

    def losing_the_line(self) -> Memory:
        return Memory("pretend", {"outcomes": {self.good: "ambiguous"}})

    def arrivals(self) -> Sequence[Arrival]:
        grouped: dict[int, Arrival] = {}
        for mail, recipient in self.memory.delivered:
            before = grouped.get(mail.message_id, Arrival(mail.sender, (), mail.raw))
            grouped[mail.message_id] = Arrival(mail.sender, (*before.recipients, recipient.address), mail.raw)
        return list(grouped.values())


def test_planned_outcomes_come_one_by_one_and_the_last_stays() -> None:
    memory = Memory("pretend", {"outcomes": {"a@b.c": ["throttled", "retry", "accepted"]}})

    async def send() -> list[OutcomeKind]:
        return [(await memory.send([outgoing("a@b.c")]))[0][0].kind for _ in range(4)]

    kinds = asyncio.run(send())
    assert kinds == [OutcomeKind.THROTTLED, OutcomeKind.RETRY, OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]
    assert len(memory.sent) == 4
    assert len(memory.delivered) == 2


def test_a_planned_exception_is_raised() -> None:
    memory = Memory("pretend", {})
    memory.answer("a@b.c", RuntimeError("bug"), "accepted")
    with pytest.raises(RuntimeError, match="bug"):
        asyncio.run(memory.send([outgoing("a@b.c")]))
    assert asyncio.run(memory.send([outgoing("a@b.c")]))[0][0].kind is OutcomeKind.ACCEPTED


def test_an_outcome_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Misconfigured, match="mayby"):
        Memory("pretend", {"outcomes": {"a@b.c": "mayby"}})


def test_the_registry_builds_by_type_and_names_what_is_wrong() -> None:
    built = registry.build({"pretend": {"type": "memory"}})
    assert isinstance(built["pretend"], Memory)
    assert {"smtp", "capture", "memory"} <= set(registry.kinds())
    with pytest.raises(Misconfigured, match=r"providers\.office: type 'carrier-pigeon' is not installed"):
        registry.build({"office": {"type": "carrier-pigeon"}})
    with pytest.raises(Misconfigured, match=r"providers\.office: host is needed"):
        registry.build({"office": {"type": "smtp"}})
