"""`pillarbox fakes`: a process of its own that a configured provider sends to."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from providers import registry
from relay.core.provider import OutcomeKind
from relay.testing import outgoing


@pytest.fixture
def printed() -> Iterator[dict[str, str]]:
    """What the command prints: the address of each vendor by name."""
    command = [sys.executable, "-m", "relay", "fakes", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: dict[str, str] = {}
            for line in process.stdout:
                name, _, rest = line.partition(" ")
                lines[name] = re.findall(r"http://\S+", rest)[0]
                if name == "what":
                    break
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def test_a_provider_sends_to_the_running_fakes(printed: dict[str, str]) -> None:
    built = registry.build(
        {"primary": {"type": "postmark", "token": "fake-key", "base_url": printed["postmark"]}}
    )["primary"]

    async def send() -> list[OutcomeKind]:
        mails = [outgoing("jane@example.org", tag="invoice"), outgoing("refused@example.org")]
        receipts = await built.send(mails)
        await built.aclose()
        return [receipt[0].kind for receipt in receipts]

    assert asyncio.run(send()) == [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED]
    with urllib.request.urlopen(printed["what"]) as answer:  # noqa: S310 - what we have started ourselves
        (kept,) = json.load(answer)
    assert (kept["vendor"], kept["recipients"], kept["tag"]) == ("postmark", ["jane@example.org"], "invoice")
    assert kept["said"]["TextBody"].startswith("One line.")
