"""A long list beside urgent mail: `python -m tests.bench.batch [rows] [--database URL] [--every SECONDS]`.

A real installation with a counting sink, everything on this machine. Uploads a list of so many rows, and hands in one
urgent mail a second meanwhile. Prints how memory (the proportional set of all processes), rows and mails grow, the
rates of each phase, and how long urgent mails took from their acceptance to the provider's answer, with the list and
without.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.bench.measure import CountingSink, cpu_seconds, memory
from tests.installation import Installation

CONFIGURATION = """
[providers.out]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
max_connections = 20
[log]
level = "warning"
"""
_BOUNDARY = "pillarbox-list"


def write_form(path: Path, rows: int, fields: dict[str, str]) -> None:
    """A form with a list of so many rows, written without ever being in memory whole."""
    with path.open("w", encoding="utf-8", newline="") as form:
        for name, value in fields.items():
            form.write(f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n')
        form.write(
            f"--{_BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="csv"; filename="list.csv"\r\n'
            "Content-Type: text/csv\r\n\r\n"
        )
        form.write("recipient,name,city,amount\r\n")
        for number in range(rows):
            form.write(f'person{number}@list.example,"Person, {number}",Übersee,{number % 977}.50\r\n')
        form.write(f"\r\n--{_BOUNDARY}--\r\n")


def upload(installation: Installation, form: Path) -> dict[str, Any]:
    """POST the form; returns the batch."""
    with form.open("rb") as data:
        request = urllib.request.Request(
            f"http://127.0.0.1:{installation.api_port}/v1/batches",
            data,
            {
                "Authorization": f"Bearer {installation.key}",
                "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
                "Content-Length": str(form.stat().st_size),
            },
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            assert answer.status == 202
            return json.load(answer)


def prepare(installation: Installation) -> None:
    """The template of the list."""
    made = installation.request(
        "/v1/templates",
        {
            "name": "letter",
            "subject": "For {{ name }}",
            "html": "<p>Dear {{ name }} of {{ city }}, you have <b>{{ amount }}</b>.</p>"
            + "<p>And so on.</p>" * 60,
            "text": "Dear {{ name }} of {{ city }}, you have {{ amount }}.\n" + "And so on.\n" * 60,
        },
    )
    assert made[0] == 201, made


class Urgent:
    """One urgent mail a second."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._ids: list[str] = []
        self.answers: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        fields = {
            "from": "otp@localhost", "to": "somebody@urgent.example", "subject": "Your code", "text": "145863",
            "classification": "URGENT",
        }  # fmt: skip
        while not self._ended.wait(1):
            began = time.perf_counter()
            status, made = self._installation.request("/v1/messages", fields)
            self.answers.append((time.perf_counter() - began) * 1000)
            assert status == 201, made
            self._ids.append(made["id"])

    def latencies(self) -> list[float]:
        """Milliseconds from acceptance to the provider's answer."""
        found = []
        for identifier in self._ids:
            deadline = time.monotonic() + 30
            while True:
                message = self._installation.request(f"/v1/messages/{identifier}")[1]
                if message["sent_at"]:
                    break
                assert time.monotonic() < deadline, message
                time.sleep(0.1)
            sent, made = (datetime.fromisoformat(message[key]) for key in ("sent_at", "created_at"))
            found.append((sent - made).total_seconds() * 1000)
        return found


def told(name: str, urgent: Urgent) -> str:
    values = sorted(urgent.latencies())
    answers = sorted(urgent.answers)
    return (
        f"{name}: {len(values)} urgent mails, accepted to sent p50 {statistics.median(values):.0f} ms,"
        f" p99 {values[int(len(values) * 0.99)]:.0f} ms, worst {values[-1]:.0f} ms;"
        f" answered p50 {statistics.median(answers):.0f} ms, worst {answers[-1]:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=int, nargs="?", default=200_000)
    parser.add_argument("--database", default="")
    parser.add_argument("--every", type=float, default=5, help="seconds between lines")
    parser.add_argument("--quiet", type=float, default=20, help="seconds of urgent mail without the list")
    options = parser.parse_args()
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-bench-") as directory:
        place = Path(directory)
        configuration = CONFIGURATION.format(port=sink.port)
        with Installation(place, configuration, database=options.database) as installation:
            root = installation.up().popen.pid
            prepare(installation)
            with Urgent(installation) as before:
                time.sleep(options.quiet)
            print(told("alone", before), flush=True)
            form = place / "form"
            write_form(form, options.rows, {"template": "letter", "from": "Shop <shop@localhost>"})
            used = cpu_seconds(root)
            with Urgent(installation) as urgent:
                _follow(installation, options, root, form)
            used = cpu_seconds(root) - used
            print(told("beside the list", urgent), flush=True)
            print(f"CPU {used / options.rows * 1000:.2f} s for 1,000 rows", flush=True)
        mails = sink.count() - len(before.answers) - len(urgent.answers)
        assert mails == options.rows, f"{mails} mails for {options.rows} rows"
        print(f"{mails} mails arrived for {options.rows} rows", flush=True)


def _follow(installation: Installation, options: argparse.Namespace, root: int, form: Path) -> None:
    began = time.monotonic()
    print(f"{'s':>6} {'state':>8} {'rows':>8} {'queued':>8} {'sent':>8} {'MiB':>6}", flush=True)
    peak = memory(root)
    print(f"{0:6.0f} {'before':>8} {0:8} {0:8} {0:8} {peak:6.0f}", flush=True)
    identifier = upload(installation, form)["id"]
    print(f"uploaded {form.stat().st_size / 2**20:.1f} MiB in {time.monotonic() - began:.1f} s", flush=True)
    read: float | None = None
    while True:
        batch = installation.request(f"/v1/batches/{identifier}")[1]
        elapsed = time.monotonic() - began
        if read is None and batch["state"] != "reading":
            read = elapsed
            print(f"read {batch['rows'] / read:.0f} rows/s", flush=True)
        held = memory(root)
        peak = max(peak, held)
        sent = batch["messages"].get("sent", 0)
        print(
            f"{elapsed:6.0f} {batch['state']:>8} {batch['rows']:8} {batch['queued']:8} {sent:8} {held:6.0f}",
            flush=True,
        )
        if batch["state"] in {"done", "failed", "halted"}:
            assert batch["state"] == "done", batch
            assert (batch["valid"], batch["queued"]) == (options.rows, options.rows)
            break
        time.sleep(options.every)
    assert read is not None
    print(f"sent {options.rows / (elapsed - read):.0f} mails/s; peak {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
