import pytest


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what waits until a worker looks at the record without being told: it does so five times a second."""
    monkeypatch.setattr("relay.delivery.engine._LOOK", 0.2)
