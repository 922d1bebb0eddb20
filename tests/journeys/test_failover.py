"""A provider fails in every way there is, under load and with real processes: nothing is lost, nothing goes out
twice but what was unclear, and every worker learns of it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.failover import Stage, lines
from tests.installation import wait_for

_LOAD = {"rate": 60, "before": 0.5, "during": 1.5}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("failover"))
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["killed", "refusing", "locked_out", "dropping"])
def test_a_failing_provider_is_left_by_all_workers(stage: Stage, way: str) -> None:
    figures = stage.play(way, getattr(stage, way), **_LOAD, until_left=True)
    assert (figures.lost, figures.refused, figures.unexplained) == (0, 0, 0), figures
    assert figures.by_b > figures.by_a, figures
    assert figures.switched is not None, figures
    assert figures.doubles <= figures.ambiguous, figures


@pytest.mark.slow
def test_a_slow_provider_keeps_its_mail(stage: Stage) -> None:
    figures = stage.play("slow", stage.slow, **_LOAD)
    assert (figures.lost, figures.refused, figures.doubles, figures.ambiguous) == (0, 0, 0, 0), figures
    assert figures.by_b == 0, figures


@pytest.mark.slow
def test_a_bad_file_changes_nothing_and_a_good_one_swaps_a_provider(stage: Stage, tmp_path: Path) -> None:
    good = stage.installation.config.read_text()
    stage.installation.config.write_text(good.replace("failover(a, b)", "failover(a, nobody)"))
    stage.process.popen.send_signal(signal.SIGHUP)

    def refused() -> bool:
        found = [
            one for one in lines(stage.process, 0) if one["event"].startswith("configuration not reloaded")
        ]
        return len(found) >= 2 and all("'nobody' is no provider" in one["reason"] for one in found)

    wait_for(refused, "both workers' refusal of a bad file")
    checked = stage.installation.run("config", "check")
    assert checked.returncode == 2
    assert "routes.default.use: at character 13: 'nobody' is no provider" in checked.stderr.replace("\n", " ")
    stage.installation.config.write_text(good)
    figures = stage.swap(**_LOAD)
    wanted = {
        "errors at the door": 0,
        "troubled": 0,
        "twice": 0,
        "lost": 0,
        "by A after its end": 0,
        "by B": 0,
    }
    assert {name: figures[name] for name in wanted} == wanted, figures
    assert figures["by C"], figures
