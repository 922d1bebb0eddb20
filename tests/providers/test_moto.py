"""The `ses` provider against moto, an SES that somebody else wrote."""

import asyncio
import json
import urllib.request
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from providers.ses import Ses
from relay.core.provider import Outcome, OutcomeKind
from relay.testing import RAW, outgoing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import boto3
    from moto.server import ThreadedMotoServer

MOTOS_WORDS = "Did not have authority to send from email ann@example.com"

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _send(url: str, *addresses: str) -> list[Outcome]:
    options = {"region": "us-east-1", "access_key": "AKIATEST", "secret_key": "test", "base_url": url}

    async def run() -> list[Outcome]:
        provider = Ses("primary", options)
        receipts = [(await provider.send([outgoing(address)]))[0][0] for address in addresses]
        await provider.aclose()
        return receipts

    return asyncio.run(run())


def _kept(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/moto-api/data.json") as answer:  # noqa: S310 - what we have started ourselves
        return json.load(answer)["ses"]["RawMessage"]


def test_our_raw_mail_arrives_once_the_sender_is_verified(moto: str) -> None:
    (outcome,) = _send(moto, "jane@example.org")
    # Amazon says "not verified", which is for the operator; moto has words of its own.
    assert (outcome.kind, outcome.reply.text) == (OutcomeKind.REJECTED, f"MessageRejected {MOTOS_WORDS}")
    boto3.client(
        "sesv2", endpoint_url=moto, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    ).create_email_identity(EmailIdentity="ann@example.com")
    outcomes = _send(moto, "jane@example.org", "john@example.org")
    assert [one.kind for one in outcomes] == [OutcomeKind.ACCEPTED] * 2
    assert all(one.ref for one in outcomes)
    kept = _kept(moto)
    assert len(kept) == 2
    assert {one["raw_data"] for one in kept} == {RAW.decode()}
    assert {address for one in kept for address in one["destinations"]} >= {
        "jane@example.org",
        "john@example.org",
    }
