"""What Prometheus reads, alerts and draws, by Prometheus itself."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from relay.cli import reference
from relay.observe import counts
from tests import debian
from tests.installation import Installation, free_port, wait_for

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/pillarbox.json").read_text(encoding="utf-8"))

MAIL = {"from": "you@example.org", "subject": "Hello", "body": "Hello"}


def promtool(*arguments: str | Path, stdin: bytes = b"") -> str:
    done = subprocess.run(
        [str(debian.tool("promtool", "prometheus")), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def expressions() -> list[str]:
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [one.replace("$__rate_interval", "5m") for one in found]


def names() -> set[str]:
    found = set()
    for metric in counts.REGISTRY:
        found.add(metric.name)
        if isinstance(metric, counts.Histogram):
            found |= {metric.name + end for end in ("_bucket", "_count", "_sum")}
    return found


def test_alerts_go_off_when_they_should() -> None:
    promtool("check", "rules", ALERTS)
    promtool("check", "config", "--syntax-only", ALERTS.with_name("prometheus.yml"))
    said = promtool("test", "rules", ALERTS.with_name("alerts.test.yml"))
    assert "SUCCESS" in said
    alerts = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert alerts == set(re.findall(r"alertname: (\w+)", ALERTS.with_name("alerts.test.yml").read_text()))


def test_everything_drawn_or_alerted_is_counted() -> None:
    written = " ".join([*expressions(), ALERTS.read_text()])
    assert set(re.findall(r"\bpillarbox_\w+", written)) <= names()
    drawn = set(re.findall(r"\bpillarbox_\w+", " ".join(expressions())))
    assert len(drawn) > 15


def test_everything_declared_is_counted_somewhere() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("relay", "api", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "metrics.py" or folder == "api"
    )
    names = re.findall(r"^([A-Z_]+) = ", (ROOT / "relay/observe/metrics.py").read_text(), re.MULTILINE)
    assert [one for one in names if not re.search(rf"metrics\.{one}\.(add|observe|read)\b", code)] == []


def test_the_page_of_metrics_is_as_the_code_has_them() -> None:
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == reference.metrics_as_markdown()


class Prometheus:
    """A real one, asked by HTTP."""

    def __init__(self, directory: Path, target: int) -> None:
        self.port = free_port()
        configuration = ALERTS.with_name("prometheus.yml").read_text()
        configuration = configuration.replace("127.0.0.1:8080", f"127.0.0.1:{target}").replace("15s", "1s")
        (directory / "prometheus.yml").write_text(configuration)
        (directory / "alerts.yml").write_text(ALERTS.read_text())
        self._output = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                str(debian.tool("prometheus")),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._output,
            stderr=self._output,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._output.close()

    def ask(self, expression: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10
            ) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            if error.code != 503:  # not ready yet
                pytest.fail(f"{expression}: {said}")
            return []
        except OSError:  # nor this, or not in time
            return []

    def value(self, expression: str) -> float | None:
        found = self.ask(expression)
        return float(found[0]["value"][1]) if found else None


def test_prometheus_reads_what_all_processes_count(tmp_path: Path) -> None:
    configuration = '[providers.nowhere]\ntype = "smtp"\nhost = "127.0.0.1"\nport = 1\n[[routes.rules]]\n'
    configuration += 'when = { recipient_domain = "late.example" }\nuse = "nowhere"\n'
    configuration += '[providers.capture]\ntype = "capture"\n[routes.default]\nuse = "capture"\n'
    with Installation(tmp_path, configuration) as installation:
        installation.up()
        page = f"http://127.0.0.1:{installation.api_port}/metrics"
        with urllib.request.urlopen(page, timeout=10) as answer:
            promtool("check", "metrics", stdin=answer.read())
        with Prometheus(tmp_path, installation.api_port) as prometheus:
            for recipient in ("one@example.net", "two@example.net", "three@late.example"):
                status, _ = installation.request(
                    "/v1/transactional/email/send", {**MAIL, "recipient": recipient}
                )
                assert status == 201
            wait_for(lambda: prometheus.value("sum(pillarbox_accepted_total)") == 3, "Prometheus's reading")
            wait_for(
                lambda: prometheus.value('pillarbox_outcomes_total{outcome="sent",provider="capture"}') == 2,
                "the count of another process",
            )
            wait_for(
                lambda: (prometheus.value('pillarbox_outcomes_total{outcome="deferred"}') or 0) >= 1,
                "the count of what was put off",
            )
            wait_for(
                lambda: prometheus.value('pillarbox_queue_recipients{lane="normal",state="queued"}') == 1,
                "the queue's standing",
            )
            for expression in expressions():
                prometheus.ask(expression)


def test_metrics_are_not_for_everybody(tmp_path: Path) -> None:
    with Installation(tmp_path, "[metrics]\nallow_from = ['192.0.2.0/24']\n") as installation:
        installation.up()
        status, answer = installation.request("/metrics")
        assert (status, answer["code"]) == (403, "unauthorized")
        assert "metrics.allow_from" in answer["message"]


def test_a_process_alone_answers_for_itself(tmp_path: Path) -> None:
    port = free_port()
    with Installation(tmp_path, f"[metrics]\nport = {port}\n") as installation:
        assert installation.run("migrate").returncode == 0
        installation.start("clock")

        def read() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    return str(answer.read().decode())
            except OSError:
                return ""

        text = wait_for(read, "metrics of the clock")
        assert "pillarbox_recovered_total 0.0" in text
        second = installation.run("clock")
        assert second.returncode == 2
        assert f"metrics.port: 127.0.0.1:{port}" in second.stdout + second.stderr
