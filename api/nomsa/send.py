"""POST /v1/transactional/email/send: from the request's bytes to a stored mail."""

from typing import Any

import orjson
from starlette.requests import Request

from api.answers import Answer
from api.errors import refusal
from api.idempotency import Turn
from api.nomsa import wire
from api.nomsa.fields import Fields, check
from api.services import Services
from relay import policy
from relay.core.address import Mailbox, parse_mailbox
from relay.core.clock import now
from relay.core.compose import Letter, compose
from relay.core.errors import Malformed, Refused, SenderNotAllowed
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient, MemoryTail, RecipientKind, Submission
from relay.core.status import Door

#: octets of a JSON body, the reference server's limit for what it reads at all
_MAX_JSON = 10 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class Sender:
    """Sends on behalf of an authenticated caller."""

    def __init__(self, services: Services) -> None:
        self._once = services.once
        self._gate = services.gate
        self._max_body = services.settings.max_body
        self._default = parse_mailbox(services.settings.default_from)

    async def __call__(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "send")
        fields = check(await read_fields(request), max_body=self._max_body)
        submission = self._submission(identity, fields)
        async with self._once.turn(request, identity, (fields, submission.attachments)) as turn:
            if turn.earlier is not None:
                return turn.earlier
            try:
                self._check_sender(identity, fields.from_)
            except SenderNotAllowed as error:
                return await self._keep_refused(turn, submission, error)
            return await turn.accept(
                submission, lambda receipt: Answer(wire.accepted(submission, receipt), 201)
            )

    def _check_sender(self, identity: Identity, from_: Mailbox | None) -> None:
        # The service's own sender is everybody's, under any name.
        if from_ is not None and from_.address != self._default.address.lower():
            policy.check_sender(identity, from_.address)

    async def _keep_refused(self, turn: Turn, submission: Submission, error: Refused) -> Answer:
        """The contract keeps what it refuses at this stage, UNSENT and with the reason, for list and get."""
        submission.options["error_code"] = f"Error {error.http_status}: {error.message}"[:255]
        answer = refusal(error)
        return await turn.accept(submission, lambda _: answer)

    def _submission(self, identity: Identity, fields: Fields) -> Submission:
        from_ = fields.from_ or self._own_sender(identity)
        head, tail = compose(
            Letter(
                from_=from_,
                to=fields.recipient,
                subject=fields.subject,
                html=fields.body,
                cc=fields.cc,
                reply_to=fields.reply_to or identity.email,
            ),
            now(),
        )
        written = str(from_)
        return Submission(
            account_id=identity.account_id,
            key_id=identity.key_id,
            door=Door.REST,
            sender=from_.address,
            recipients=_envelope(fields),
            head=head,
            tail=MemoryTail(tail),
            from_=written,
            subject=fields.subject,
            reply_to=fields.reply_to,
            tag=fields.tag,
            classification=fields.classification,
            params=wire.params(
                body=fields.body, from_=written, subject=fields.subject, reply_to=fields.reply_to
            ),
            cc=fields.cc,
            bcc=fields.bcc,
            smtputf8=not (
                head.isascii()
                and from_.address.isascii()
                and all(address.isascii() for address in fields.bcc)
            ),
            options={"disable_tracking": True} if fields.disable_tracking else {},
        )

    def _own_sender(self, identity: Identity) -> Mailbox:
        """The account's first address, where it has one; whole domains and `*` name nobody in particular."""
        for pattern in identity.senders:
            if "@" in pattern:
                return Mailbox("", pattern)
        return self._default


def _envelope(fields: Fields) -> list[EnvelopeRecipient]:
    """Every address once, whatever it was named as: nobody gets the same mail twice."""
    kinds = {fields.recipient: RecipientKind.TO}
    for address in fields.cc:
        kinds.setdefault(address, RecipientKind.CC)
    for address in fields.bcc:
        kinds.setdefault(address, RecipientKind.BCC)
    return [EnvelopeRecipient(address, kind) for address, kind in kinds.items()]


async def read_fields(request: Request) -> dict[str, Any]:
    """The request's fields by name. What is no body of a known type counts as empty, as in the contract.

    Raises `Malformed` for what cannot be read.
    """
    kind, charset, encoding = _content(request)
    if kind != "application/json":
        return {}
    body = await request.body()
    if encoding not in {"", "identity"} or charset not in {"", "utf-8", "utf8", "us-ascii"}:
        raise Malformed
    if not body:
        return {}
    if len(body) > _MAX_JSON:
        raise Malformed
    try:
        fields = orjson.loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        raise Malformed from None
    if isinstance(fields, dict):
        return fields
    if isinstance(fields, list):
        raise Refused('"value" must be of type object')
    raise Malformed


def _content(request: Request) -> tuple[str, str, str]:
    kind = charset = encoding = ""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            kind, _, rest = value.decode("latin-1").lower().partition(";")
            if "charset=" in rest:
                charset = rest.partition("charset=")[2].partition(";")[0].strip(' "')
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").lower().strip()
    return kind.strip(), charset, encoding
