import hmac
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pillarbox_pigeon import Pigeon

from relay.core.event import EventKind
from relay.core.provider import WebhookRequest
from relay.testing import Arrival, ProviderContract, webhook


def told(event: str, key: str = "seed") -> WebhookRequest:
    said = {
        "event": event,
        "token": "17.21",
        "address": "jane@example.org",
        "id": "1",
        "at": "2026-01-02T03:04:05Z",
    }
    body = json.dumps(said).encode()
    return webhook(body, {"Pigeon-Signature": hmac.digest(key.encode(), body, "sha256").hex()})


class TestPigeon(ProviderContract):
    busy = None

    @pytest.fixture(autouse=True)
    def _loft(self, tmp_path: Path) -> None:
        self.loft = tmp_path

    def make(self) -> Pigeon:
        return self.options_with()()

    def options_with(self, **more: Any) -> Callable[[], Pigeon]:
        return lambda: Pigeon("home", {"loft": str(self.loft), "webhook_key": "seed", **more})

    def unreachable(self) -> Pigeon:
        return self.options_with(loft=str(self.loft / "gone"))()

    def arrivals(self) -> Sequence[Arrival]:
        landed = sorted(self.loft.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [Arrival("", (path.name.partition("-")[2],), path.read_bytes()) for path in landed]

    def webhooks(self) -> Sequence[tuple[WebhookRequest, EventKind]]:
        kinds = {
            "landed": EventKind.DELIVERED,
            "caught by a falcon": EventKind.BOUNCED,
            "sang": EventKind.UNKNOWN,
        }
        return [(told(event), kind) for event, kind in kinds.items()]

    def forged(self) -> Sequence[WebhookRequest]:
        return [told("landed", key="corn"), webhook(b'{"event": "landed"}')]
