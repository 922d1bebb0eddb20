"""The dialogue: one client's state and the table of commands. Knows no sockets; lines go in, replies come out."""

from collections.abc import Callable
from datetime import datetime

from relay.core.clock import now
from relay.core.errors import AllSuppressed, Full
from relay.core.identity import Identity
from relay.core.message import Submission
from relay.core.stream import DEFAULT
from relay.smtp import auth, greeting, homecoming, login, replies, submission, transaction
from relay.smtp.data import ChunkReader, DataReader, Limits, Reader
from relay.smtp.mode import Answer, Mode
from relay.smtp.service import Listener, Service
from relay.smtp.submission import Envelope, Trace

__all__ = ["Mode", "Session"]

_MAX_LINE = 510  # octets of a command without CRLF, RFC 5321 4.5.3.1.4
#: commands with extensions that lengthen them; RFC 1870, 3461, 4954, 6531 add up to less
_MAX_LINES = {b"MAIL": 2048, b"RCPT": 2048, b"AUTH": auth.MAX_LINE}
#: times as many errors are forgiven to a client that has logged in
_PATIENCE_WITH_OURS = 20
#: seconds for which a session takes its key for valid without asking again
_SURE = 5.0
_HTTP = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"})
_KNOWN_BUT_NOT_HERE = frozenset({b"EXPN", b"TURN", b"ETRN", b"SEND", b"SOML", b"SAML"})
#: commands that send no mail
_IDLE = frozenset({b"NOOP", b"RSET", b"VRFY", b"HELP", b"HELO", b"EHLO"})


class Session:
    """The state of one client between its greeting and its end, or STARTTLS, which forgets it all."""

    __slots__ = (
        "_errors",
        "_idle_commands",
        "answer",
        "asked_at",
        "chunk_last",
        "chunk_left",
        "chunk_reply",
        "chunk_size",
        "chunks",
        "envelope",
        "extended",
        "failures",
        "helo",
        "identity",
        "listener",
        "mode",
        "peer",
        "secret",
        "service",
        "tls",
        "trace",
        "transactions",
    )

    def __init__(self, service: Service, listener: Listener, peer: str, *, tls: bool) -> None:
        self.service = service
        self.listener = listener
        self.tls = tls
        self.trace = Trace("unknown", peer, tls, service.hostname)
        self.peer = peer
        self.mode = Mode.COMMAND
        self.helo = ""
        self.extended = False
        #: what the next line is for, in the middle of AUTH
        self.answer: Callable[[bytes], Answer] | None = None
        self.identity: Identity | None = None
        #: the key that `identity` was found by, and when; none where the client's address was enough
        self.secret: str | None = None
        self.asked_at = 0.0
        self.envelope: Envelope | None = None
        self.chunks: ChunkReader | None = None
        self.chunk_left = self.chunk_size = 0
        self.chunk_last = False
        self.chunk_reply = b""
        self.failures = 0
        self.transactions = 0
        self._errors = 0
        self._idle_commands = 0

    @property
    def idle(self) -> bool:
        """Between two transactions, so that hanging up breaks nothing."""
        return self.envelope is None and self.answer is None and self.mode is Mode.COMMAND

    def line(self, line: bytes) -> Answer:
        """Do what a line says; it has no line end. Raises `Rejected` or a `RelayError` that is the answer."""
        if self.answer is not None:
            answer, self.answer = self.answer, None
            return answer(line)
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if len(line) > _MAX_LINE and len(line) > _MAX_LINES.get(verb, _MAX_LINE):
            return replies.LINE_TOO_LONG
        command = _COMMANDS.get(verb)
        if command is None:
            return self._unknown(verb)
        if verb in _IDLE:
            self._idle_commands += 1
            if self._idle_commands > self.service.settings.max_idle_commands:
                self.mode = Mode.CLOSED
                return replies.TOO_MANY_COMMANDS
        try:
            text = rest.decode().strip(" ")
        except UnicodeDecodeError:
            return replies.BAD_SYNTAX
        if text and not text.isprintable():
            return replies.BAD_SYNTAX
        return command(self, text)

    def count_error(self) -> bytes:
        """Note a 5xx reply; returns the last reply there will be when it was one too many, else nothing."""
        self._errors += 1
        most = self.service.settings.max_errors
        if self.identity is not None:
            most *= _PATIENCE_WITH_OURS
        if self._errors < most or self.mode is Mode.CLOSED:
            return b""
        self.mode = Mode.CLOSED
        return replies.TOO_MANY_ERRORS

    def too_long(self) -> bytes:
        """The answer to a line that was longer than any may be, and was dropped."""
        self.answer = None
        return replies.LINE_TOO_LONG

    def data_reader(self) -> DataReader:
        return DataReader(self.limits)

    @property
    def limits(self) -> Limits:
        """What the mail that is about to arrive must keep within."""
        home = self.service.homecoming
        return self.service.limits if self.identity is not None or home is None else home.limits

    async def deliver(self, reader: Reader) -> bytes:
        """Hand a received mail in; the reply promises that it is stored."""
        envelope, identity = self.envelope, self.identity
        assert envelope is not None
        self.chunks = None
        self.reset()
        content = reader.content()
        try:
            if self.service.space.full:
                raise Full
            if identity is None:
                assert self.service.homecoming is not None
                return await homecoming.deliver(self, self.service.homecoming, envelope, content)
            built = submission.build(
                identity,
                envelope,
                content,
                self.trace,
                max_hops=self.service.settings.max_hops,
                providers=self.service.providers,
            )
            await self._check_stream(built)
            accepted = await self.service.intake.accept(built)
        finally:
            content.tail.close()
        self._idle_commands = 0
        return replies.queued(accepted.id)

    async def _check_stream(self, built: Submission) -> None:
        """The stream is known only now. Raises `AllSuppressed` when nobody gets mail of it any more.

        Some of several are left in: they were accepted, and the record will say why nothing went to them.
        """
        addresses = [one.address for one in built.recipients]
        stream = built.options.get("stream") or DEFAULT
        if len(await self.service.suppressions.among(built.account_id, addresses, stream)) == len(addresses):
            raise AllSuppressed

    def reset(self) -> None:
        """Forget the transaction."""
        self.envelope = None
        if self.chunks is not None:
            self.chunks.close()
            self.chunks = None
        self.mode = Mode.COMMAND

    def close(self) -> None:
        """The connection is over."""
        self.reset()
        self.mode = Mode.CLOSED
        self.secret = None
        if self.identity is not None:
            self.service.leave_account(self.identity.account_id)
            self.identity = None

    def may_log_in(self) -> bool:
        return self.tls or self.listener.trusts(self.peer)

    def sure_of(self, identity: Identity) -> bool:
        """Whether the identity may be relied on without another look at the record."""
        expires: datetime | None = identity.expires_at
        if expires is not None and expires <= now():
            return False
        return self.service.loop.time() - self.asked_at < _SURE

    def _unknown(self, verb: bytes) -> bytes:
        if verb in _HTTP:
            # A browser made to speak to us (ALPACA): its body must not be read as commands.
            self.mode = Mode.CLOSED
            return replies.NOT_MAIL
        return replies.NOT_IMPLEMENTED if verb in _KNOWN_BUT_NOT_HERE else replies.UNKNOWN_COMMAND


# One table: looking methods up by name on every connection is what makes aiosmtpd's dear.
_COMMANDS: dict[bytes, Callable[[Session, str], Answer]] = {
    b"HELO": greeting.helo,
    b"EHLO": greeting.ehlo,
    b"STARTTLS": greeting.starttls,
    b"NOOP": greeting.noop,
    b"VRFY": greeting.vrfy,
    b"HELP": greeting.help_,
    b"QUIT": greeting.quit_,
    b"AUTH": login.auth_command,
    b"MAIL": transaction.mail,
    b"RCPT": transaction.rcpt,
    b"DATA": transaction.data,
    b"BDAT": transaction.bdat,
    b"RSET": transaction.rset,
}
