"""Webhooks of the vendors for tests: the adapters, and requests as they arrive at the door."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from providers import registry
from providers.fakes.posting import Post
from relay.core.clock import now
from relay.core.provider import Provider, Report, WebhookAnswer, WebhookRequest, WebhookSource
from tests.providers.fakery import FakeServer

#: of each vendor with events: what its adapter needs beside the address
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "azure": {"access_key": "ZmFrZS1rZXk="},
    "brevo": {"api_key": "fake-key"},
    "mailersend": {"api_key": "fake-key"},
    "mailgun": {"api_key": "fake-key", "domain": "example.com"},
    "mailjet": {"api_key": "public", "secret_key": "fake-key"},
    "mailtrap": {"token": "fake-key"},
    "postmark": {"token": "fake-key"},
    "resend": {"api_key": "fake-key"},
    "sendgrid": {"api_key": "fake-key"},
    "ses": {"region": "eu-west-1", "access_key": "AKIAFAKE", "secret_key": "fake-key"},
    "sparkpost": {"api_key": "fake-key"},
}
VENDORS = tuple(OPTIONS)
#: those that sign nothing: a user name and a password have to do
UNSIGNED = ("azure", "brevo", "mailjet", "postmark", "sparkpost")


def adapter(vendor: str, **more: Any) -> Provider:
    given = {"base_url": "https://vendor.example", **OPTIONS[vendor], **more}
    return registry.kind(vendor)("primary", given)


def believer(server: FakeServer, vendor: str, **more: Any) -> Provider:
    """One that sends to the fake and believes what it posts."""
    fake = server.fakes[vendor]
    fake.here = server.url(vendor)
    return adapter(vendor, base_url=server.url(vendor), **{**fake.believed, **more})


def request_of(post: Post, at: datetime | None = None, **headers: str) -> WebhookRequest:
    return arrived(post.body, {**post.headers, **headers}, at)


def arrived(
    body: bytes, headers: Mapping[str, str] | None = None, at: datetime | None = None
) -> WebhookRequest:
    return WebhookRequest("POST", "/v1/webhooks/primary/secret", "", dict(headers or {}), body, at or now())


def source(provider: Provider) -> WebhookSource:
    assert isinstance(provider, WebhookSource)
    return provider


def receive(provider: Provider, *requests: WebhookRequest) -> list[WebhookAnswer | None]:
    async def run() -> list[WebhookAnswer | None]:
        try:
            return [await source(provider).receive(one) for one in requests]
        finally:
            await provider.aclose()

    return asyncio.run(run())


def read(vendor: str, body: bytes, **headers: str) -> Sequence[Report]:
    """What the vendor's adapter makes of a request that was verified before."""
    provider = adapter(vendor)
    asyncio.run(provider.aclose())
    return source(provider).read(arrived(body, headers))
