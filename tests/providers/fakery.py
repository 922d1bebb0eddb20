"""The fakes of the vendors, served on a real socket for as long as tests want them."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import uvicorn

from providers.api import ApiProvider
from providers.fakes import Fakes
from providers.fakes.posting import Hook, Step
from providers.fakes.wire import Kept, Vendor
from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.provider import WebhookRequest
from relay.testing import Arrival, ProviderContract, webhook


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Only the main thread may have them."""


class FakeServer:
    """`with FakeServer() as server:` … `server.url("postmark")`."""

    def __init__(self) -> None:
        self.fakes = Fakes()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        # A busy machine must not have a kept connection closed in the moment in which it is used again.
        config = uvicorn.Config(
            self.fakes,
            log_config=None,
            ws="none",
            lifespan="off",
            http="h11",
            loop="asyncio",
            timeout_keep_alive=600,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fakes")

    async def _serve(self) -> None:
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            await self.fakes.aclose()

    def url(self, vendor: str) -> str:
        return f"http://127.0.0.1:{self.port}/{vendor}"

    def __enter__(self) -> Self:
        # Connections made before the server looks wait in the socket's queue.
        self._socket.listen(512)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(20)
        self._socket.close()


_SAID: dict[str, dict[str, Any]] = {
    "azure": {"senderAddress": "ann@example.com"},
    "brevo": {"subject": "hello"},
    "mailersend": {"from": {"email": "ann@example.com"}, "subject": "hello", "tags": ["pillarbox:17.21"]},
    "mailgun": {"v:pillarbox": ["17.21"]},
    "mailjet": {"CustomID": "17.21"},
    "mailtrap": {"from": {"email": "ann@example.com"}, "custom_variables": {"pillarbox": "17.21"}},
    "postmark": {"From": "ann@example.com", "Metadata": {"pillarbox": "17.21"}},
    "resend": {
        "from": "ann@example.com",
        "subject": "hello",
        "tags": [{"name": "pillarbox", "value": "17-21"}],
    },
    "sendgrid": {"personalizations": [{"custom_args": {"pillarbox": "17.21"}}]},
    "ses": {"EmailTags": [{"Name": "pillarbox", "Value": "17-21"}]},
    "sparkpost": {"recipients": [{"metadata": {"pillarbox": "17.21"}}]},
}
#: a port that nobody listens on; one that was free a moment ago may be somebody's by now
NOBODY = 1
#: what vendors that sign nothing call with
LOGIN = {"webhook_user": "vendor", "webhook_password": "s3cret:with colon"}
_URL = "http://{}127.0.0.1:9/v1/webhooks/primary/secret"
HOOK = Hook(_URL.format("vendor:s3cret%3Awith%20colon@"))
WRONG_HOOK = Hook(_URL.format("vendor:wrong@"), secret="whsec_b3RoZXI=")


def posted(
    server: FakeServer,
    vendor: str,
    hook: Hook = HOOK,
    step: Step = Step.DELIVERED,
    address: str = "jane@example.org",
) -> WebhookRequest:
    """What the vendor's fake tells about a mail to Jane."""
    fake = server.fakes[vendor]
    fake.here = server.url(vendor)
    kept = Kept(vendor, "1234", (address,), "17.21", said=_SAID[vendor])
    (post,) = fake.posts([fake.told(kept, step, now())], hook)
    return webhook(post.body, {**post.headers, **hook.target()[1]})


class FakedContract(ProviderContract):
    """The contract for a provider whose far end is a fake. Subclasses name the kind and its options."""

    kind: ClassVar[type[ApiProvider]]
    vendor: ClassVar[str]
    #: options besides the address; the credential is under `key_option`
    options: ClassVar[dict[str, Any]] = {}
    key_option: ClassVar[str] = "api_key"
    throttled: str | None = "throttled@example.org"
    #: seconds that a provider waits for an answer that never comes
    patience: ClassVar[float] = 0.3
    server: FakeServer

    @property
    def fake(self) -> Vendor:
        return self.server.fakes[self.vendor]

    def given(self, **more: Any) -> dict[str, Any]:
        return {
            "base_url": self.server.url(self.vendor),
            self.key_option: "fake-key",
            **self.options,
            **self._believing(),
            **more,
        }

    def _believing(self) -> dict[str, str]:
        if self.vendor not in _SAID:
            return {}
        self.fake.here = self.server.url(self.vendor)
        return self.fake.believed or LOGIN

    def webhooks(self) -> Sequence[tuple[WebhookRequest, EventKind]]:
        steps = (
            (Step.DELIVERED, EventKind.DELIVERED),
            (Step.HARD, EventKind.BOUNCED),
            (Step.OPENED, EventKind.OPENED),
        )
        return [(posted(self.server, self.vendor, step=step), kind) for step, kind in steps]

    def forged(self) -> Sequence[WebhookRequest]:
        right = posted(self.server, self.vendor)
        if self.vendor == "ses":
            wrong = replace(right, body=right.body.replace(b"jane@", b"john@"))
        else:
            wrong = posted(self.server, self.vendor, WRONG_HOOK)
        return [wrong, replace(wrong, headers={}), replace(wrong, body=b"{}", headers={})]

    def make(self) -> ApiProvider:
        return self.kind("primary", self.given())

    def options_with(self, **more: Any):
        return lambda: self.kind("primary", self.given(**more))

    def unreachable(self) -> ApiProvider:
        return self.kind("primary", self.given(base_url=f"http://127.0.0.1:{NOBODY}"))

    def losing_the_line(self) -> ApiProvider:
        self.good = "timeout-after-accept@example.org"
        return self.kind("primary", self.given(timeout=self.patience))

    def wrong_credentials(self) -> ApiProvider:
        self.fake.key = "another"
        return self.make()

    def secret(self) -> str:
        return "fake-key"

    def arrivals(self) -> Sequence[Arrival]:
        return [Arrival("", kept.recipients, kept.raw or b"", kept.parts) for kept in self.fake.kept]
