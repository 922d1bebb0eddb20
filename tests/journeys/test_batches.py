"""A list survives the end of every process, in the middle of its upload, of its reading and of its sending."""

import contextlib
import signal
import socket
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.batch import prepare, upload, write_form
from tests.installation import Installation, Process, wait_for
from tests.sink import Sink

ROWS = 2_000
CONFIGURATION = """
[providers.out]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
max_connections = 4
[batches]
group = 25
max_waiting = 100
"""


def end(process: Process, record: Path) -> int:
    """Kill -9 to all of it; returns how many recipients its worker then had in hand.

    The leases of the dead, of ten seconds, are ended in the record, as if that time had passed.
    """
    process.signal_group(signal.SIGKILL)
    process.wait()
    with contextlib.closing(sqlite3.connect(record)) as connection, connection:
        (claimed,) = connection.execute("SELECT count(*) FROM recipient WHERE state = 'sending'").fetchone()
        connection.execute("UPDATE batch SET lease_until = NULL")
        connection.execute("DELETE FROM leader_lease")
    return int(claimed)


def half_an_upload(installation: Installation, form: Path) -> None:
    """Send the first half of a list, and see that the door has begun to take it."""
    data = form.read_bytes()
    client = socket.create_connection(("127.0.0.1", installation.api_port), 10)
    client.sendall(
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=pillarbox-list\r\n"
        b"Authorization: Bearer " + installation.key.encode() + b"\r\n"
        b"Content-Length: %d\r\n\r\n" % len(data) + data[: len(data) // 2]
    )
    spool = installation.directory / "data" / "spool"
    wait_for(lambda: spool.exists() and client.getsockname(), "the door's taking of half a list")
    client.close()


@pytest.mark.timeout(170)
def test_a_list_survives_kill_9_at_every_stage(tmp_path: Path) -> None:
    form = tmp_path / "form"
    write_form(form, ROWS, {"template": "letter", "from": "Shop <shop@localhost>"})
    with Sink() as sink, Installation(tmp_path, CONFIGURATION.format(port=sink.port)) as installation:
        record = installation.directory / "data" / "pillarbox.db"
        process = installation.up()
        prepare(installation)
        half_an_upload(installation, form)
        assert end(process, record) == 0
        process = installation.up()
        batch = upload(installation, form)
        assert upload(installation, form)["id"] == batch["id"]

        def now() -> dict[str, Any]:
            return installation.request(f"/v1/batches/{batch['id']}")[1]

        wait_for(lambda: now()["rows"] > 0, "the reading of some rows")
        claimed = end(process, record)
        for share in (1, 2):
            process = installation.up()
            wait_for(lambda share=share: now()["queued"] > ROWS * share // 3, f"{share} thirds of the mail")
            claimed += end(process, record)
        process = installation.up()
        assert upload(installation, form)["id"] == batch["id"]
        wait_for(lambda: now()["state"] == "done", "the end of the list", 100)
        found = now()
        assert (found["rows"], found["valid"], found["refused"], found["queued"]) == (ROWS, ROWS, 0, ROWS)
        assert found["messages"] == {"sent": ROWS}
        expected = {f"person{number}@list.example" for number in range(ROWS)}
        with contextlib.closing(sqlite3.connect(record)) as connection:
            mails = Counter(row[0] for row in connection.execute("SELECT recipient FROM message"))
        assert mails == Counter(expected)
        arrived = Counter(one.recipients[0] for one in sink.mails)
        assert set(arrived) == expected
        # What a worker had in hand when it was killed may have gone out before it could say so; nothing else.
        assert sum(arrived.values()) - ROWS <= claimed
