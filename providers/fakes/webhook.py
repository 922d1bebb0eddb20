"""A fake of an operator's own server for the `http` provider: see `providers/webhook/README.md`."""

import base64
import hmac
from typing import ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, fate, reply, sent
from providers.webhook.payload import signature


class Webhook(Vendor):
    """`key` is the secret. Answers for each recipient alone when there are several."""

    name: ClassVar[str] = "http"

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self._answered: dict[str, Response] = {}

    def reset(self) -> None:
        super().reset()
        self._answered.clear()

    def handle(self, request: Request) -> Response:
        identifier = request.headers.get("webhook-id", "")
        moment = request.headers.get("webhook-timestamp", "0")
        wanted = signature(self.key, identifier, request.body, int(moment))["webhook-signature"]
        if not hmac.compare_digest(wanted, request.headers.get("webhook-signature", "")):
            return reply(401, {"text": "the signature does not verify"})
        if request.method == "HEAD":
            return Response(200)
        if identifier in self._answered:
            return self._answered[identifier]
        said = request.data
        recipients = [one["address"] for one in said["recipients"]]
        if len(recipients) == 1 and (magic := self.obey(recipients)):
            return magic
        good = [one for one in recipients if self.obey([one]) is None]
        if good:
            raw = base64.b64decode(said["raw"], validate=True)
            self.keep(
                Kept(
                    self.name,
                    identifier,
                    tuple(good),
                    said["token"],
                    said["tag"],
                    raw,
                    said=said,
                    fate=fate(good),
                )
            )
        results = [
            {"outcome": "accepted", "ref": identifier}
            if one in good
            else {"outcome": "rejected", "text": "no"}
            for one in recipients
        ]
        self._answered[identifier] = reply(200, {"ref": identifier, "results": results})
        return sent(recipients, self._answered[identifier])

    def refused(self, recipient: str) -> Response:
        return reply(422, {"text": "no such mailbox"})

    def busy(self) -> Response:
        return reply(503, {"text": "not now"})

    def throttled(self) -> Response:
        return reply(429, {"text": "too fast"}, {"retry-after": "3"})

    def suspended(self) -> Response:
        return reply(403, {"text": "not served"})
