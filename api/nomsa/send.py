"""POST /v1/transactional/email/send: from the request's bytes to a stored mail."""

import asyncio
import re
from dataclasses import replace

from starlette.requests import Request

from api.answers import Answer
from api.errors import refusal
from api.filling import Filler
from api.idempotency import Turn
from api.nomsa import attachments, extras, wire
from api.nomsa.blacklist import Blacklist
from api.nomsa.fields import Fields, check, check_count
from api.nomsa.rate import spend
from api.nomsa.sanitise import sanitise
from api.nomsa.spool import Upload
from api.services import Services
from relay import policy
from relay.core.address import Mailbox, parse_mailbox
from relay.core.clock import now
from relay.core.compose import Letter, compose
from relay.core.errors import NotAllowed, Refused, Suppressed, Unsendable, UnsupportedFile
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient, RecipientKind, Submission
from relay.core.status import Door

#: characters of a body that is sanitised beside the event loop rather than in it
_LONG = 64 * 1024
_BREAKS = re.compile(r"[ \t]*[\r\n]+[ \t]*")

#: the reference server's words for the record, where they differ from those of the answer
_REASONS: dict[type[Refused], str] = {
    Suppressed: "Blacklisted recipient",
    Unsendable: "Email subject and/or body empty after removing invalid HTML tags",
    UnsupportedFile: "Unsupported file type",
}


class Sender:
    """Sends on behalf of an authenticated caller."""

    def __init__(self, services: Services) -> None:
        self._once = services.once
        self._gate = services.gate
        self._limiter = services.limiter
        self._bodies = services.bodies
        self._blacklist = Blacklist(services.database)
        self._filler = Filler(services.database, "body")
        self._max_body = services.settings.max_body
        self._attachments = services.settings.attachments
        self._default = parse_mailbox(services.settings.default_from)

    async def __call__(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "send")
        await spend(self._limiter, identity, request)
        async with self._bodies.read(request) as (asked, spool):
            given = await self._filler.fill(identity, asked)
            fields = check(given, max_body=self._max_body)
            uploads = attachments.decode(fields.attachments, spool, self._attachments)
            attachments.check_size(uploads, self._attachments)
            if uploads and self._attachments.need_own_sender and not self._is_own(identity, fields.from_):
                raise NotAllowed("Attachments are not allowed for the default from email address")
            check_count(fields)
            wanted = replace(fields, attachments=attachments.metadata(uploads) or [])
            async with self._once.turn(request, identity, wanted) as turn:
                if turn.earlier is not None:
                    return turn.earlier
                return await self._send(turn, identity, fields, uploads)

    async def _send(self, turn: Turn, identity: Identity, fields: Fields, uploads: list[Upload]) -> Answer:
        refused: Refused | None = None
        blocked = await self._blacklist.among(
            identity.account_id, [fields.recipient, *fields.cc, *fields.bcc], fields.stream
        )
        fields.cc[:] = [address for address in fields.cc if address not in blocked]
        fields.bcc[:] = [address for address in fields.bcc if address not in blocked]
        html = fields.body
        try:
            self._check_sender(identity, fields.from_)
            if fields.recipient in blocked:
                raise Suppressed
            html = (
                await asyncio.to_thread(sanitise, html) if len(fields.body) > _LONG else sanitise(fields.body)
            )
            if not fields.subject.strip() or not html.strip():
                raise Unsendable(
                    "Message template is invalid as the subject or body only contains invalid HTML tags!"
                )
            attachments.check_type(uploads, self._attachments)
        except Refused as error:
            refused = error
        submission = self._submission(identity, fields, html, uploads if refused is None else [])
        submission.attachments = attachments.metadata(uploads)
        if refused is not None:
            return await self._keep_refused(turn, submission, refused)
        return await turn.accept(submission, lambda receipt: Answer(wire.accepted(submission, receipt), 201))

    def _is_own(self, identity: Identity, from_: Mailbox | None) -> bool:
        sender = from_ or self._own_sender(identity)
        return sender.address != self._default.address.lower()

    def _check_sender(self, identity: Identity, from_: Mailbox | None) -> None:
        # The service's own sender is everybody's, under any name.
        if from_ is not None and from_.address != self._default.address.lower():
            policy.check_sender(identity, from_.address)

    async def _keep_refused(self, turn: Turn, submission: Submission, error: Refused) -> Answer:
        """The contract keeps what it refuses at this stage, UNSENT and with the reason, for list and get."""
        reason = _REASONS.get(type(error), error.message)
        submission.options["error_code"] = f"Error {error.http_status}: {reason}"[:255]
        answer = refusal(error)
        return await turn.accept(submission, lambda _: answer)

    def _submission(self, identity: Identity, fields: Fields, html: str, uploads: list[Upload]) -> Submission:
        from_ = fields.from_ or self._own_sender(identity)
        subject = _in_one_line(fields.subject)
        head, tail = compose(
            Letter(
                from_=from_,
                to=fields.recipient,
                subject=subject,
                html=html,
                cc=fields.cc,
                reply_to=fields.reply_to or identity.email,
                text=fields.text,
                headers=fields.headers,
                files=attachments.files(uploads),
            ),
            now(),
        )
        written = str(from_)
        return Submission(
            account_id=identity.account_id,
            key_id=identity.key_id,
            track=identity.track,
            door=Door.REST,
            sender=from_.address,
            recipients=_envelope(fields),
            head=head,
            tail=tail,
            from_=written,
            subject=subject,
            reply_to=fields.reply_to,
            tag=fields.tag,
            classification=fields.classification,
            metadata=fields.metadata,
            send_at=fields.send_at,
            expires_at=fields.expires_at,
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
            options=extras.options(
                stream=fields.stream, track=fields.track, disable_tracking=fields.disable_tracking
            ),
        )

    def _own_sender(self, identity: Identity) -> Mailbox:
        """The account's first address, where it has one; whole domains and `*` name nobody in particular."""
        for pattern in identity.senders:
            if "@" in pattern:
                return Mailbox("", pattern)
        return self._default


def _in_one_line(subject: str) -> str:
    """What of a subject can stand in a header field. The reference server takes line breaks too, as `<br />`."""
    return _BREAKS.sub(" ", subject).strip() if _BREAKS.search(subject) else subject


def _envelope(fields: Fields) -> list[EnvelopeRecipient]:
    """Every address once, whatever it was named as: nobody gets the same mail twice."""
    kinds = {fields.recipient: RecipientKind.TO}
    for address in fields.cc:
        kinds.setdefault(address, RecipientKind.CC)
    for address in fields.bcc:
        kinds.setdefault(address, RecipientKind.BCC)
    return [EnvelopeRecipient(address, kind) for address, kind in kinds.items()]
