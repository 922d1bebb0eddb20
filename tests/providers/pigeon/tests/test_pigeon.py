from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pillarbox_pigeon import Pigeon

from relay.testing import Arrival, ProviderContract


class TestPigeon(ProviderContract):
    busy = None

    @pytest.fixture(autouse=True)
    def _loft(self, tmp_path: Path) -> None:
        self.loft = tmp_path

    def make(self) -> Pigeon:
        return self.options_with()()

    def options_with(self, **more: Any) -> Callable[[], Pigeon]:
        return lambda: Pigeon("home", {"loft": str(self.loft), **more})

    def unreachable(self) -> Pigeon:
        return self.options_with(loft=str(self.loft / "gone"))()

    def arrivals(self) -> Sequence[Arrival]:
        landed = sorted(self.loft.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [Arrival("", (path.name.partition("-")[2],), path.read_bytes()) for path in landed]
