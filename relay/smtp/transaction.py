"""The commands that make a mail: MAIL, RCPT, DATA, BDAT, and RSET, which unmakes it."""

from typing import TYPE_CHECKING

from relay.core.errors import NotAllowed, RateLimited, Unauthenticated
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient
from relay.policy import check_sender
from relay.smtp import commands, homecoming, login, replies
from relay.smtp.commands import Mail
from relay.smtp.data import ChunkReader
from relay.smtp.mode import Answer, Mode
from relay.smtp.submission import Envelope

if TYPE_CHECKING:
    from relay.smtp.session import Session

#: octets of a chunk that are read and dropped; a larger one ends the connection instead
_MAX_DROPPED = 2


def mail(session: "Session", text: str) -> Answer:
    if not session.helo:
        return replies.SAY_EHLO_FIRST
    identity = session.identity
    home = session.service.homecoming if identity is None else None
    if identity is None and home is None:
        return _nobody(session)
    if session.envelope is not None:
        return replies.IN_TRANSACTION
    settings = session.service.settings
    if session.transactions >= settings.max_transactions:
        session.mode = Mode.CLOSED
        return replies.TOO_MANY_TRANSACTIONS
    said = commands.mail(text, extended=session.extended)
    if identity is None:
        if home is None or not homecoming.may_begin(said):
            return _nobody(session)
        session.service.space.check()
        return homecoming.begin(session, home, said)
    if said.size > settings.max_size:
        return replies.TOO_LARGE
    session.service.space.check()
    if not session.sure_of(identity) or session.service.limited(identity):
        return _look_and_begin(session, identity, said)
    return _begin(session, identity, said)


async def _look_and_begin(session: "Session", identity: Identity, said: Mail) -> bytes:
    if not session.sure_of(identity):
        try:
            identity = await login.look_again(session, identity)
        except (Unauthenticated, NotAllowed):
            session.service.leave_account(identity.account_id)
            session.identity = session.secret = None
            return replies.KEY_ENDED
    limiter = session.service.limiter
    if limiter is not None and session.service.limited(identity):
        verdict = await limiter.hit(identity)
        if not verdict.allowed:
            raise RateLimited(retry_after=verdict.retry_after)
    return _begin(session, identity, said)


def _begin(session: "Session", identity: Identity, said: Mail) -> bytes:
    if said.sender:
        check_sender(identity, said.sender)
    session.transactions += 1
    session.envelope = Envelope(said.sender, said.smtputf8, {}, said.ret, said.envid)
    session.trace.authenticated = session.secret is not None
    return replies.SENDER_OK


def _nobody(session: "Session") -> bytes:
    if session.listener.starttls and not session.may_log_in():
        return replies.START_TLS_FIRST
    return replies.AUTHENTICATE_FIRST


def _no_mail(session: "Session") -> bytes:
    return replies.SAY_MAIL_FIRST if session.identity is not None else replies.AUTHENTICATE_FIRST


def rcpt(session: "Session", text: str) -> Answer:
    envelope, identity = session.envelope, session.identity
    if envelope is None:
        return _no_mail(session)
    if identity is None:
        assert session.service.homecoming is not None
        return homecoming.rcpt(session.service.homecoming, envelope, text, extended=session.extended)
    recipient = commands.rcpt(text, extended=session.extended, smtputf8=envelope.smtputf8)
    if recipient.address not in envelope.recipients:
        if len(envelope.recipients) >= session.service.settings.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        suppressions = session.service.suppressions
        if not suppressions.knows(identity.account_id):
            return _look_up(session, envelope, identity, recipient)
        suppressions.check_known(identity.account_id, recipient.address)
        envelope.recipients[recipient.address] = recipient
    return replies.RECIPIENT_OK


async def _look_up(
    session: "Session", envelope: Envelope, identity: Identity, recipient: EnvelopeRecipient
) -> bytes:
    await session.service.suppressions.check(identity.account_id, recipient.address)
    envelope.recipients[recipient.address] = recipient
    return replies.RECIPIENT_OK


def data(session: "Session", text: str) -> bytes:
    session.mode = Mode.NO_DATA
    if text:
        return replies.BAD_ARGUMENT
    missing = _missing(session)
    if missing:
        return missing
    if session.chunks is not None:
        return replies.NOT_AMONG_CHUNKS
    session.mode = Mode.DATA
    return replies.START_DATA


def bdat(session: "Session", text: str) -> bytes:
    """The chunk follows at once, welcome or not; the reply comes after it (RFC 3030 2)."""
    try:
        size, last = commands.bdat(text)
    except replies.Rejected:
        # How many octets of mail follow is unknown, and they must not be read as commands.
        session.mode = Mode.CLOSED
        raise
    limit = session.limits.size
    reply = _missing(session)
    if not reply:
        if session.chunks is None:
            session.chunks = ChunkReader(session.limits)
        if session.chunks.received + size > limit:
            reply = replies.TOO_LARGE
    if reply and size > _MAX_DROPPED * limit:
        session.mode = Mode.CLOSED
        return reply
    session.mode = Mode.CHUNK
    session.chunk_left = session.chunk_size = size
    session.chunk_last, session.chunk_reply = last, reply
    return b""


def chunk_done(session: "Session") -> Answer:
    """The answer to a chunk that has arrived."""
    session.mode = Mode.COMMAND
    if session.chunk_reply:
        # What came before is of no use: the mail would have a hole.
        session.reset()
        return session.chunk_reply
    reader = session.chunks
    assert reader is not None
    if not session.chunk_last:
        return replies.chunk(session.chunk_size)
    reader.finish()
    return session.deliver(reader)


def _missing(session: "Session") -> bytes:
    """What has to be said before the mail itself; empty when nothing is missing."""
    if session.envelope is None:
        return _no_mail(session)
    return b"" if session.envelope.recipients else replies.NO_RECIPIENTS


def rset(session: "Session", text: str) -> bytes:
    if text:
        return replies.BAD_ARGUMENT
    session.reset()
    return replies.OK
