"""One page of large mails, read by several clients at once: what it costs the REST door in memory.

python -m tests.bench.pages --mails 300 --size 512 --clients 2
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from tests.bench.push import rss
from tests.installation import Installation, _listens, wait_for


async def read(port: int, key: str, path: str) -> tuple[int, int]:
    """Octets of the answer and the emails in it; read as a slow client does, without any of it being kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode()
    )
    octets = emails = 0
    last = b""
    while piece := await reader.read(256 * 1024):
        octets += len(piece)
        emails += (last + piece).count(b'"recipient":') - last.count(b'"recipient":')
        last = piece[-20:]
    writer.close()
    return octets, emails


async def crowd(port: int, key: str, path: str, clients: int) -> list[tuple[int, int]]:
    return await asyncio.gather(*(read(port, key, path) for _ in range(clients)))


def run(mails: int, size: int, clients: int) -> tuple[list[tuple[int, int]], int, int, float]:
    """What each client got (octets, emails), the door's memory before, the most it had, and the seconds it took."""
    body = "x" * (size - 100)
    with tempfile.TemporaryDirectory(prefix="pb-pages-") as directory:
        with Installation(Path(directory), "[limits]\nsends_per_second = 0\n") as installation:
            assert installation.run("migrate").returncode == 0
            installation.key = installation.run("keys", "create").stdout.strip()
            door = installation.start("api")
            wait_for(lambda: _listens(installation.api_port), "the door's opening")
            for _ in range(mails):
                status, answer = installation.request(
                    "/v1/transactional/email/send",
                    {"recipient": "someone@example.net", "subject": "Large", "body": body},
                )
                assert status == 201, json.dumps(answer)[:200]
            before = rss(door.popen.pid, "VmRSS")
            began = time.monotonic()
            path = f"/v1/transactional/email?limit={mails}"
            got = asyncio.run(crowd(installation.api_port, installation.key, path, clients))
            return got, before, rss(door.popen.pid), time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="KiB of each body")
    parser.add_argument("--clients", type=int, default=2)
    options = parser.parse_args()
    got, before, most, seconds = run(options.mails, options.size << 10, options.clients)
    print(
        f"pages of {got[0][0] >> 20} MiB with {got[0][1]} emails for {len(got)} clients in {seconds:.1f} s:"
        f" memory {before >> 20} MiB before, {most >> 20} MiB at most"
    )


if __name__ == "__main__":
    main()
