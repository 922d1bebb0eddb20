"""What adapters for HTTP APIs share. A vendor's folder adds how a mail is put and what the answers mean."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from providers import outcomes
from providers.http import Answer, Call, Http, HttpOptions, NoAnswer, json_call
from providers.options import Options
from relay.core.parts import Parts, Unsayable, take_apart
from relay.core.provider import Capabilities, Outcome, Outgoing, OutgoingRecipient, ProviderProblem, Receipt


class ApiProvider(ABC):
    """A provider behind an HTTP API that is given the mail's bytes.

    Subclasses read their options, call `_open`, and say `_request` and `_judge`.
    """

    capabilities: ClassVar[Capabilities]
    #: the header fields go as they are, so international ones stay international
    headers_travel: ClassVar[bool] = True
    #: where `check` posts an empty mail: a key that works is told that something is missing
    probe: ClassVar[str] = ""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self._in_flight = 0
        self._landed = asyncio.Event()
        self._landed.set()
        self._closed = False
        read = Options(options)
        self._configure(read)
        read.finish()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self._http.base_url})"

    @abstractmethod
    def _configure(self, read: Options) -> None:
        """Take the options and call `_open`; raises `Misconfigured`."""

    @abstractmethod
    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        """The request for mails that all passed `refuses`. May raise `Unsayable` for a single mail."""

    @abstractmethod
    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        """What the answer means, one receipt per mail."""

    def _open(
        self, options: HttpOptions, *, headers: Mapping[str, str] | None = None, secrets: Sequence[str] = ()
    ) -> None:
        self._http = Http(options, headers=headers, secrets=secrets)

    def refuses(self, mail: Outgoing) -> str | None:
        """Why this mail cannot be said to this provider, in a line; None when it can. Asks nobody."""
        if len(mail.recipients) > self.capabilities.max_recipients == 1:
            # Each will be asked about alone; one that cannot be written to must not keep the mail from the others.
            one = next(filter(self._reaches, mail.recipients), mail.recipients[0])
            mail = replace(mail, recipients=(one,))
        try:
            self._look(mail)
        except Unsayable as reason:
            return str(reason)
        return None

    def _reaches(self, recipient: OutgoingRecipient) -> bool:
        local, _, domain = recipient.address.rpartition("@")
        return (local.isascii() or self.capabilities.smtputf8) and domain_in_dns(domain) is not None

    def _look(self, mail: Outgoing) -> None:
        """Everything there is to check before a call; raises `Unsayable`."""
        self._fits(mail)

    def _fits(self, mail: Outgoing) -> None:
        """What can be told from the envelope and the bytes; raises `Unsayable`."""
        can = self.capabilities
        if can.max_bytes is not None and len(mail.raw) > can.max_bytes:
            raise Unsayable(f"the mail is larger than the {can.max_bytes} octets this provider takes")
        if can.smtputf8:
            return
        if (mail.smtputf8 and self.headers_travel) or not all(
            one.address.rpartition("@")[0].isascii() for one in mail.recipients
        ):
            raise Unsayable("international addresses are not taken")

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if self._closed:
            return [(outcomes.SHUT,) * len(mail.recipients) for mail in batch]
        self._in_flight += 1
        self._landed.clear()
        try:
            return await self._send(batch)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._landed.set()

    async def _send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        receipts: dict[int, Receipt] = {}
        sayable: list[Outgoing] = []
        places: list[int] = []
        for place, mail in enumerate(batch):
            reason = self.refuses(mail) if len(batch) > 1 else None
            if len(mail.recipients) > self.capabilities.max_recipients:
                reason = f"more than {self.capabilities.max_recipients} recipients in one call"
            if reason is None:
                sayable.append(mail)
                places.append(place)
            else:
                receipts[place] = unsayable(mail, reason)
        if sayable:
            try:
                answers = await self._deliver(sayable)
            except Unsayable as reason:
                answers = [unsayable(mail, str(reason)) for mail in sayable]
            receipts.update(zip(places, answers, strict=True))
        return [receipts[place] for place in range(len(batch))]

    async def _deliver(self, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        if len(mails) == 1:
            self._fits(mails[0])
        try:
            answer = await self._http.call(await self._request(mails))
        except NoAnswer as failure:
            return all_alike(failure.outcome, mails)
        return self._judge(answer, mails)

    async def check(self) -> str:
        try:
            answer = await self._http.call(await self._probe_call())
        except NoAnswer as failure:
            raise ProviderProblem(failure.outcome.reply.text) from None
        return self._found(answer)

    async def _probe_call(self) -> Call:
        return json_call(self.probe, {})

    def _found(self, answer: Answer) -> str:
        """What `check` says; raises `ProviderProblem`."""
        if answer.status < 300 or answer.status in {400, 422}:
            return f"{self._http.base_url} answers and knows the key"
        raise ProviderProblem(f"{self._http.base_url} answers {answer.status}: {answer.text}")

    async def aclose(self) -> None:
        self._closed = True
        await self._landed.wait()
        await self._http.aclose()


class PartsProvider(ApiProvider):
    """A provider behind an API that wants the mail's parts: subclasses say `_message`, `_request` asks `_said`."""

    headers_travel: ClassVar[bool] = False

    @abstractmethod
    def _message(self, mail: Outgoing, parts: Parts) -> Any:
        """The mail in the vendor's words. Raises `Unsayable`."""

    def _said(self, mail: Outgoing) -> Any:
        parts = take_apart(mail.raw)
        self._allowed(parts)
        return self._message(mail, parts)

    def _look(self, mail: Outgoing) -> None:
        super()._look(mail)
        # Only putting it all into words shows whether it can be; what that costs is little beside a call.
        self._said(mail)

    def _allowed(self, parts: Parts) -> None:
        """Raises `Unsayable` for what the capabilities rule out."""
        can = self.capabilities
        if not (parts.text or parts.html or can.empty_body):
            raise Unsayable("the mail has no text")
        if not parts.html and not can.text_only:
            raise Unsayable("the mail has no HTML, which this provider insists on")
        if len(parts.reply_to) > 1 and not can.many_reply_to:
            raise Unsayable("the mail has several Reply-To addresses")
        if parts.alternatives and not can.alternatives:
            raise Unsayable(f"the body has an alternative of type {parts.alternatives[0][0]}")
        if not can.inline and any(one.inline for one in parts.attachments):
            raise Unsayable("the mail has inline images")
        total = sum(len(one.content) for one in parts.attachments)
        if can.max_attachment_bytes is not None and total > can.max_attachment_bytes:
            raise Unsayable(f"the attachments are larger than {can.max_attachment_bytes} octets together")
        boxes = (parts.from_, *parts.reply_to)
        if not can.smtputf8 and not all(box.address.rpartition("@")[0].isascii() for box in boxes):
            raise Unsayable("international addresses are not taken")


def unsayable(mail: Outgoing, reason: str) -> Receipt:
    return (outcomes.rejected(reason, "5.6.3"),) * len(mail.recipients)


def all_alike(outcome: Outcome, mails: Sequence[Outgoing]) -> list[Receipt]:
    return [(outcome,) * len(mail.recipients) for mail in mails]


def ascii_domain(address: str) -> str:
    """The address with its domain as DNS has it (RFC 5890); vendors' JSON does not take the other spelling."""
    local, _, domain = address.rpartition("@")
    written = domain_in_dns(domain)
    if written is None:
        raise Unsayable("the recipient's domain has no form that DNS knows")
    return f"{local}@{written}"


def domain_in_dns(domain: str) -> str | None:
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None
