"""The door's memory stays flat; the short form of `python -m tests.bench.door_memory`."""

import pytest

from tests.bench.door_memory import measure


@pytest.mark.slow
def test_memory_stays_flat() -> None:
    idle, command, data, crowd = measure(clients=20, megabytes=4, idle=300, endless=32)
    assert command.peak - command.before < 15, command
    assert command.sent == 32 << 20
    assert data.peak - data.before < 15, data
    # 80 MiB were sent at the same time; less than 1 MiB of each client may be in memory.
    assert crowd.peak - crowd.before < 40, crowd
    assert crowd.sent > 70 << 20
    assert idle.peak - idle.before < 20, idle
