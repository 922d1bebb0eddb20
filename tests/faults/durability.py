"""F19: power cannot be cut here. What can be seen is the order of system calls: between the last octet of a mail and
the first of its answer, a sync of the journal has ended.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests import debian
from tests.faults.campaign import Campaign
from tests.faults.load import Door, Load
from tests.installation import wait_for

_CALLS = "trace=fsync,fdatasync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg"
_SYNCED = re.compile(r"(?:fsync|fdatasync)\(.*\) += 0|<\.\.\. (?:fsync|fdatasync) resumed>.*= 0")


def postgres_processes(campaign: Campaign) -> list[int]:
    """The server, as a door that connects anew is served by a process yet to be, and those there are."""
    assert campaign.postgres is not None
    parent = str(campaign.postgres.pid)
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", parent], capture_output=True, text=True).stdout
    return [int(parent), *map(int, found.split())]


def traced(campaign: Campaign, role: str, mails: int) -> list[str]:
    """The calls of a door, and of the database's own processes, while mail comes in one by one."""
    pids = campaign.pids(role)
    if campaign.database == "postgres":
        pids += postgres_processes(campaign)
    file = campaign.directory / f"{role}.strace"
    wanted = [part for pid in pids for part in ("-p", str(pid))]
    tracer = subprocess.Popen(
        [debian.tool("strace"), "-f", "-s", "600", "-e", _CALLS, "-o", file, *wanted],
        stderr=subprocess.PIPE,
        env=debian.environment(),
    )
    try:
        wait_for(lambda: _traced_all(pids), "the tracer's attachment")
        door = Door(
            campaign.installation.smtp_port, campaign.installation.api_port, campaign.installation.key
        )
        by = {"by_rest": role == "api", "by_smtp": role == "smtp"}
        with Load(door, f"power-{role}", most=mails, clients=1, rate=8, **by) as load:
            load.join()
        assert len(load.accepted) == mails
        time.sleep(0.3)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(60)
        assert tracer.stderr is not None
        tracer.stderr.close()
    return file.read_text(errors="replace").splitlines()


def _traced_all(pids: Sequence[int]) -> bool:
    return all(_traced(pid) for pid in pids)


def _traced(pid: int) -> bool:
    """Or gone by now: a connection's process of the server, or one that it has for a moment."""
    try:
        return "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def orders(lines: Sequence[str], role: str, doors: Sequence[int]) -> list[str]:
    """For each mail what happened between its last octet and its answer, as words: data, synced, answered.

    The database's processes read the mail as well, so what is read and written counts at the doors only.
    """
    data, answer = {
        "smtp": (r"body\\r\\n\.\\r\\n", r'"250 2\.0\.0 queued'),
        "api": (r"<p>body</p>", r'HTTP/1\.1 201|"status":"ACCEPTED"'),
    }[role]
    word: list[str] = []
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.strip()
        at_door = int(thread) in doors
        reads = re.match(r"(?:read|readv|recvfrom|recvmsg)\(|<\.\.\. (?:read|recv\w*|readv) resumed>", call)
        writes = re.match(r"(?:write|writev|sendto|sendmsg)\(", call)
        if at_door and reads and re.search(data, call):
            word.append("data")
        elif _SYNCED.search(call) and word and word[-1] == "data":
            word.append("synced")
        elif at_door and writes and re.search(answer, call) and word and word[-1] != "answered":
            word.append("answered")
    told = " ".join(word)
    return [f"data{part}".strip() for part in told.split("data")[1:]]


def proved(campaign: Campaign, mails: int = 5) -> dict[str, int]:
    """How many answers of each door came after a sync; raises where one did not."""
    counts = {}
    for role in ("smtp", "api"):
        found = orders(traced(campaign, role, mails), role, campaign.pids(role))
        assert found == ["data synced answered"] * mails, found
        counts[role] = len(found)
    return counts


if __name__ == "__main__":
    for name in ("sqlite", "postgres"):
        with Campaign(name) as one:
            print(name, proved(one), f"load {os.getloadavg()[0]:.1f}")
