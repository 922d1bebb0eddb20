"""Pillarbox beside other relays, in one interleaved run on this machine: A B C, A B C, …; prints a Markdown table.

    python -m tests.bench.peers --rounds 3 --haraka DIRECTORY

Each peer takes the same load from the same generator and relays it to the same counting sink. Durable means that the
mail is synced to disk before the 250: Postfix and Haraka do so by their own account, Pillarbox commits with
`synchronous=FULL`. Peers are left out when they are not installed:

* `postfix` from Debian's package of that name (needs root: its parts change users);
* `haraka` from npm, in the directory given;
* `naive`: stock aiosmtpd, one commit per mail and stock aiosmtplib (`tests/bench/naive.py`; needs aiosqlite).
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import throughput
from tests.bench.measure import ENVIRONMENT, CountingSink, cpu_seconds, generate, load_options, memory
from tests.installation import free_port, wait_for

_COLUMNS = {
    "accepted_per_second": "accepted/s",
    "delivered_per_second": "relayed/s",
    "p50_ms": "accept p50 ms",
    "p99_ms": "accept p99 ms",
    "cpu_per_1000": "CPU s / 1000",
    "memory_mib": "memory MiB (PSS)",
}


def postfix(options: argparse.Namespace) -> dict[str, float]:
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-postfix-") as name:
        directory, port = Path(name), free_port()
        directory.chmod(0o755)
        conf, spool, data = directory / "conf", directory / "spool", directory / "data"
        for folder in (conf, spool, data):
            folder.mkdir()
        shutil.chown(data, "postfix")
        (conf / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {spool}\ndata_directory = {data}\n"
            "command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n"
            "shlib_directory = /usr/lib/postfix\n"
            f"mynetworks = 127.0.0.0/8\nrelayhost = [127.0.0.1]:{sink.port}\nmydestination =\n"
            "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = peer.example\n"
            "smtpd_recipient_restrictions = permit_mynetworks, reject\n"
            "alias_maps =\nsmtpd_tls_security_level = none\n"
            f"maillog_file = {directory}/maillog\nmaillog_file_prefixes = {directory}\n"
        )
        master = Path("/usr/share/postfix/master.cf.dist").read_text().splitlines()
        services = [_service(line, port) for line in master]
        (conf / "master.cf").write_text(
            "\n".join([*services, "postlog unix-dgram n - n - 1 postlogd"]) + "\n"
        )
        command = ["postfix", "-c", str(conf)]
        subprocess.run([*command, "start"], check=True, capture_output=True)
        root = int((spool / "pid" / "master.pid").read_text())
        try:
            return _relay(options, root, port, sink)
        finally:
            subprocess.run([*command, "stop"], check=False, capture_output=True)


def _service(line: str, port: int) -> str:
    """A line of master.cf: smtpd on our port, nothing in a chroot."""
    fields = line.split()
    if len(fields) < 8 or line[0] in "# " or fields[0] == "postlog":
        return "" if fields[:1] == ["postlog"] else line
    if fields[:2] == ["smtp", "inet"]:
        fields[0] = f"127.0.0.1:{port}"
    fields[4] = "n"
    return " ".join(fields)


def haraka(options: argparse.Namespace) -> dict[str, float]:
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-haraka-") as name:
        directory, port = Path(name), free_port()
        config = directory / "config"
        for folder in (config, directory / "queue", directory / "plugins"):
            folder.mkdir()
        files = {
            "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\n",
            "plugins": "relayall\nroute\n",
            "loglevel": "ERROR",
            "me": "peer.example",
            "host_list": "example.net",
            "outbound.ini": "concurrency_max=100\nenable_tls=false\npool_concurrency_max=20\n",
        }
        for file, text in files.items():
            (config / file).write_text(text)
        package = options.haraka / "node_modules" / "Haraka"
        shutil.copy(package / "config" / "connection.ini", config)
        (directory / "plugins" / "relayall.js").write_text(
            "exports.register = function () { this.register_hook('connect', 'relay') }\n"
            "exports.relay = function (next, connection) { connection.relaying = true; next() }\n"
        )
        (directory / "plugins" / "route.js").write_text(
            f"exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink.port} }})\n"
        )
        binary = options.haraka / "node_modules" / ".bin" / "haraka"
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen([str(binary), "-c", str(directory)], stdout=log, stderr=log)
            try:
                wait_for(lambda: _greets(port), "Haraka's opening", 30)
                return _relay(options, process.pid, port, sink)
            finally:
                process.terminate()
                process.wait(30)


def naive(options: argparse.Namespace) -> dict[str, float]:
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-naive-") as directory:
        port = free_port()
        process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.bench.naive",
                "--port", str(port), "--sink", str(sink.port), "--directory", directory,
            ],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            process.stdout.readline()
            return _relay(options, process.pid, port, sink)
        finally:
            process.terminate()
            process.wait(30)


def _relay(options: argparse.Namespace, root: int, port: int, sink: CountingSink) -> dict[str, float]:
    before = cpu_seconds(root)
    started = time.perf_counter()
    accepted = generate(options, port)
    sink.wait(accepted["accepted"], 600)
    seconds = time.perf_counter() - started
    return {
        "accepted_per_second": accepted["per_second"],
        "delivered_per_second": accepted["accepted"] / seconds,
        "p50_ms": accepted["p50_ms"],
        "p99_ms": accepted["p99_ms"],
        "cpu_per_1000": (cpu_seconds(root) - before) / accepted["accepted"] * 1000,
        "memory_mib": memory(root),
    }


def _greets(port: int) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.settimeout(5)
            return client.recv(100).startswith(b"220")
    except OSError:
        return False


def main() -> None:
    parser = load_options(__doc__)
    throughput.add_options(parser)
    parser.add_argument("--haraka", type=Path, help="a directory in which npm has installed Haraka")
    parser.add_argument("--only", nargs="*", help="these peers only")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    options = parser.parse_args()
    runs: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {"pillarbox": throughput.one_round}
    if shutil.which("postfix") and os.geteuid() == 0:
        runs["postfix"] = postfix
    if options.haraka:
        runs["haraka"] = haraka
    if importlib.util.find_spec("aiosqlite"):
        runs["naive"] = naive
    if options.only:
        runs = {name: run for name, run in runs.items() if name in options.only}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name, run in runs.items():
            results[name].append(run(options))
            print(
                f"round {number + 1}: {name}: {results[name][-1]['delivered_per_second']:.0f}/s",
                file=sys.stderr,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    print("| relay | " + " | ".join(_COLUMNS.values()) + " |\n" + "|---" * (len(_COLUMNS) + 1) + "|")
    for name, rounds in results.items():
        cells = [f"{statistics.median(r[column] for r in rounds):.2f}" for column in _COLUMNS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(
        f"\nMedians of {options.rounds} interleaved rounds of {options.mails} mails of {options.size} octets."
    )


if __name__ == "__main__":
    main()
