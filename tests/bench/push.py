"""Many clients that each push a large body at the REST door; prints what they were told and the door's memory.

    python -m tests.bench.push --clients 100 --size 200 --kind chunked

Kinds: `declared` says its length, `chunked` does not, `form` is a file in a form, `json` is one long string.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from tests.installation import Installation, _listens, wait_for

_PIECE = 64 * 1024
KINDS = ("declared", "chunked", "form", "json")


def rss(pid: int, what: str = "VmHWM") -> int:
    """Octets a process has in memory, or had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what}")


async def push(port: int, key: str, size: int, kind: str) -> tuple[int, int]:
    """The status that one client is told, and the octets it got rid of before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    opening = {
        "form": b'--x\r\nContent-Disposition: form-data; name="attachments"; filename="a.txt"\r\n\r\n',
        "json": b'{"body": "',
    }.get(kind, b"")
    content_type = "multipart/form-data; boundary=x" if kind == "form" else "application/json"
    length = f"Content-Length: {size}" if kind == "declared" else "Transfer-Encoding: chunked"
    writer.write(
        f"POST /v1/transactional/email/send HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: {content_type}\r\n{length}\r\n\r\n".encode()
    )
    sent = 0
    answer = asyncio.ensure_future(reader.readline())
    try:
        while sent < size and not answer.done():
            piece = opening + b"x" * (min(_PIECE, size - sent) - len(opening))
            opening = b""
            writer.write(piece if kind == "declared" else b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            sent += len(piece)
        line = await asyncio.wait_for(answer, 60)
    except ConnectionError:
        line = answer.result() if answer.done() and not answer.exception() else b""
    finally:
        writer.close()
    return (int(line.split()[1]) if line else 0), sent


async def crowd(port: int, key: str, clients: int, size: int, kind: str) -> tuple[Counter[int], int]:
    results = await asyncio.gather(*(push(port, key, size, kind) for _ in range(clients)))
    return Counter(status for status, _ in results), sum(sent for _, sent in results)


def run(clients: int, size: int, kinds: tuple[str, ...]) -> dict[str, tuple[Counter[int], int, int, int]]:
    """By kind: statuses, octets pushed, the door's memory before, and the most it had."""
    found = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="pb-push-") as directory:
            with Installation(Path(directory)) as installation:
                assert installation.run("migrate").returncode == 0
                installation.key = installation.run("keys", "create").stdout.strip()
                door = installation.start("api")
                wait_for(lambda port=installation.api_port: _listens(port), "the door's opening")
                installation.request("/v1/transactional/email")
                before = rss(door.popen.pid, "VmRSS")
                statuses, pushed = asyncio.run(
                    crowd(installation.api_port, installation.key, clients, size, kind)
                )
                found[kind] = statuses, pushed, before, rss(door.popen.pid)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--size", type=int, default=200, help="MiB of each client")
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    kinds = tuple(options.kind or KINDS)
    for kind, (statuses, pushed, before, most) in run(options.clients, options.size << 20, kinds).items():
        print(
            f"{kind}: told {dict(statuses)}, pushed {pushed >> 20} MiB,"
            f" memory {before >> 20} MiB before, {most >> 20} MiB at most"
        )


if __name__ == "__main__":
    main()
