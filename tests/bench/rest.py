"""Requests per second of send, get and list by wrk against one door process, with the door's own CPU per request.

python -m tests.bench.rest --seconds 5 --connections 32
"""

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

from tests import debian
from tests.installation import Installation, _listens, wait_for

_POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"from": "you@example.org", "recipient": "someone@example.net", "subject": "First mail", \
"body": "<p>Hello, it is 145863</p>"}'
"""


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--limit", type=int, default=0, help="sends per second; 0 asks no queue server")
    options = parser.parse_args()
    wrk = debian.tool("wrk", "wrk", "libluajit-5.1-2")
    with tempfile.TemporaryDirectory(prefix="pb-rest-") as directory:
        script = Path(directory, "post.lua")
        script.write_text(_POST)
        with Installation(Path(directory), f"[limits]\nsends_per_second = {options.limit}\n") as installation:
            assert installation.run("migrate").returncode == 0
            installation.key = installation.run("keys", "create").stdout.strip()
            door = installation.start("api")
            wait_for(lambda: _listens(installation.api_port), "the door's opening")
            emails = f"http://127.0.0.1:{installation.api_port}/v1/transactional/email"
            calls = {"send": ["-s", str(script), f"{emails}/send"], "get": [], "list": [emails]}
            for name in ("send", "get", "list"):
                if name == "get":
                    _, page = installation.request("/v1/transactional/email?limit=1")
                    calls[name] = [f"{emails}/{page['data'][0]['id']}"]
                before = cpu(door.popen.pid)
                said = subprocess.run(
                    [
                        str(wrk), "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "--latency",
                        "-H", f"Authorization: Bearer {installation.key}", *calls[name],
                    ],
                    env=debian.environment(), capture_output=True, text=True, check=True,
                ).stdout  # fmt: skip
                spent = cpu(door.popen.pid) - before
                requests = int(re.search(r"(\d+) requests in", said)[1])
                rate = re.search(r"Requests/sec:\s+(\S+)", said)[1]
                p99 = re.search(r"99%\s+(\S+)", said)[1]
                bad = "Non-2xx" in said
                print(
                    f"{name}: {rate}/s, p99 {p99}, {spent / requests * 1e6:.0f} us of CPU each"
                    f"{', NOT ALL WELL' if bad else ''}"
                )


if __name__ == "__main__":
    main()
