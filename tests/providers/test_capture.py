"""Mail that stays here to be looked at."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from providers.capture import Capture, Folder, NotCaptured
from relay.core.provider import OutcomeKind, ProviderProblem
from relay.testing import RAW, Arrival, ProviderContract, outgoing


class TestCaptureContract(ProviderContract):
    refused = None
    busy = None

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "captured"

    def make(self) -> Capture:
        return Capture("here", {"directory": str(self.directory)})

    def options_with(self, **more: Any) -> Callable[[], Capture]:
        return lambda: Capture("here", {"directory": str(self.directory), **more})

    def arrivals(self) -> Sequence[Arrival]:
        folder = Folder(self.directory, 1_000)
        read = [folder.read(one.id) for one in reversed(folder.entries(limit=1_000))]
        return [Arrival(one.sender, one.recipients, raw) for one, raw in read]


def capture(directory: Path, **options: Any) -> Capture:
    return Capture("here", {"directory": str(directory), **options})


@pytest.mark.parametrize(
    "raw", [RAW, b"", b"\r\n", b" looks folded\r\n\r\nbody", b"X: 1\r\n\r\n\x00\xff\r\n"]
)
def test_bytes_are_kept_as_they_are(tmp_path: Path, raw: bytes) -> None:
    here = capture(tmp_path, sync=True)

    async def there_and_back() -> bytes:
        ((outcome,),) = await here.send([outgoing("jane@example.org", raw=raw)])
        assert outcome.ref is not None
        _, kept = await here.read(outcome.ref)
        return kept

    assert asyncio.run(there_and_back()) == raw


def test_the_newest_stay_and_come_first(tmp_path: Path) -> None:
    here = capture(tmp_path, keep="3")

    async def fill() -> list[str]:
        for number in range(5):
            await here.send([outgoing(f"r{number}@example.org")])
        newest = await here.list(limit=2)
        older = await here.list(before=newest[-1].id)
        return [one.recipients[0] for one in [*newest, *older]]

    assert asyncio.run(fill()) == ["r4@example.org", "r3@example.org", "r2@example.org"]
    assert len(list((tmp_path / "new").iterdir())) == 3
    assert not list((tmp_path / "tmp").iterdir())


def test_the_envelope_of_many_recipients_is_readable(tmp_path: Path) -> None:
    addresses = tuple(f"{'ü' * 30}{n}@{'d' * 60}.example.org" for n in range(100))
    here = capture(tmp_path)

    async def send() -> tuple[tuple[str, ...], bytes, str | None]:
        await here.send([outgoing(*addresses, smtputf8=True, tag="invoice")])
        (one,) = await here.list()
        return one.recipients, one.head, one.tag

    recipients, head, tag = asyncio.run(send())
    assert recipients == addresses
    assert head.startswith(b"From: Ann")
    assert b"Subject: hello" in head
    assert tag == "invoice"


@pytest.mark.parametrize("identifier", ["../../etc/passwd", "", "0000000000000000-1-1", "x" * 5_000])
def test_only_captured_mail_can_be_read(tmp_path: Path, identifier: str) -> None:
    with pytest.raises(NotCaptured):
        asyncio.run(capture(tmp_path).read(identifier))


def test_a_file_cut_short_is_passed_over(tmp_path: Path) -> None:
    here = capture(tmp_path)

    async def break_one() -> int:
        ((outcome,),) = await here.send([outgoing("a@example.org")])
        await here.send([outgoing("b@example.org")])
        os.truncate(tmp_path / "new" / f"{outcome.ref}.eml", 0)
        return len(await here.list())

    assert asyncio.run(break_one()) == 1


def test_mail_is_private(tmp_path: Path) -> None:
    asyncio.run(capture(tmp_path / "c").send([outgoing("a@example.org")]))
    (file,) = (tmp_path / "c" / "new").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_is_for_the_operator(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    here = capture(tmp_path / "file" / "captured")

    async def attempt() -> OutcomeKind:
        with pytest.raises(ProviderProblem, match="cannot be written"):
            await here.check()
        ((outcome,),) = await here.send([outgoing("a@example.org")])
        return outcome.kind

    assert asyncio.run(attempt()) is OutcomeKind.CONFIG
