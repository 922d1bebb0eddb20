"""The dialogue: what each command does in each state. Knows no sockets; lines go in, replies come out."""

import enum
import re
from collections.abc import Callable, Coroutine
from typing import Any

from relay.core.errors import RelayError
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient
from relay.policy import check_scope, check_sender
from relay.smtp import auth, commands, replies, submission
from relay.smtp.data import DataReader
from relay.smtp.service import Listener, Service
from relay.smtp.submission import Envelope, Trace

#: A reply, or work that will end in one.
Answer = bytes | Coroutine[Any, Any, bytes]

_MAX_LINE = 510  # octets of a command without CRLF, RFC 5321 4.5.3.1.4
#: commands with extensions that lengthen them; RFC 1870, 3461, 4954, 6531 add up to less
_MAX_LINES = {b"MAIL": 2048, b"RCPT": 2048, b"AUTH": auth.MAX_LINE}
_MAX_FAILURES = 5
#: 5xx replies after which a client is cut off, before and after it has logged in
_MAX_ERRORS = (10, 200)
_HTTP = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"})
_KNOWN_BUT_NOT_HERE = frozenset({b"EXPN", b"TURN", b"ETRN", b"SEND", b"SOML", b"SAML", b"BDAT"})
_HELO = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}\Z")


class Mode(enum.Enum):
    """What the next octets of the client are."""

    COMMAND = enum.auto()
    DATA = enum.auto()
    NO_DATA = enum.auto()  #: a command, but only once the client has seen that DATA was refused
    TLS = enum.auto()
    QUIT = enum.auto()  #: nothing; the client has said so
    CLOSED = enum.auto()  #: nothing; we have said so


class Session:
    """The state of one client between its greeting and its end, or STARTTLS, which forgets it all."""

    __slots__ = (
        "_answer",
        "_errors",
        "_failures",
        "_listener",
        "_service",
        "_tls",
        "_trace",
        "envelope",
        "extended",
        "helo",
        "identity",
        "mode",
        "peer",
    )

    def __init__(self, service: Service, listener: Listener, peer: str, *, tls: bool) -> None:
        self._service = service
        self._listener = listener
        self._tls = tls
        self._answer: Callable[[bytes], Answer] | None = None
        self._errors = 0
        self._failures = 0
        self._trace = Trace("unknown", peer, tls, service.hostname)
        self.peer = peer
        self.mode = Mode.COMMAND
        self.helo = ""
        self.extended = False
        self.identity: Identity | None = None
        self.envelope: Envelope | None = None

    @property
    def idle(self) -> bool:
        """Between two transactions, so that hanging up breaks nothing."""
        return self.envelope is None and self._answer is None and self.mode is Mode.COMMAND

    def line(self, line: bytes) -> Answer:
        """Do what a line says; it has no line end. Raises `Rejected` or a `RelayError` that is the answer."""
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return answer(line)
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if len(line) > _MAX_LINE and len(line) > _MAX_LINES.get(verb, _MAX_LINE):
            return replies.LINE_TOO_LONG
        command = _COMMANDS.get(verb)
        if command is None:
            return self._unknown(verb)
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
        if self._errors < _MAX_ERRORS[self.identity is not None] or self.mode is Mode.CLOSED:
            return b""
        self.mode = Mode.CLOSED
        return replies.TOO_MANY_ERRORS

    def too_long(self) -> bytes:
        """The answer to a line that was longer than any may be, and was dropped."""
        self._answer = None
        return replies.LINE_TOO_LONG

    async def deliver(self, reader: DataReader) -> bytes:
        """Hand a received mail in; the reply promises that it is stored."""
        envelope, identity = self.envelope, self.identity
        assert envelope is not None
        assert identity is not None
        self.reset()
        content = reader.content()
        try:
            built = submission.build(
                identity,
                envelope,
                content,
                self._trace,
                max_hops=self._service.settings.max_hops,
            )
            return replies.queued((await self._service.intake.accept(built)).id)
        finally:
            content.tail.close()

    def reset(self) -> None:
        self.envelope = None
        self.mode = Mode.COMMAND

    def _unknown(self, verb: bytes) -> bytes:
        if verb in _HTTP:
            # A browser made to speak to us (ALPACA): its body must not be read as commands.
            self.mode = Mode.CLOSED
            return replies.NOT_MAIL
        return replies.NOT_IMPLEMENTED if verb in _KNOWN_BUT_NOT_HERE else replies.UNKNOWN_COMMAND

    def _helo(self, text: str) -> bytes:
        if not text:
            return replies.MISSING_ARGUMENT
        self.reset()
        self._greeted(text)
        self.extended = False
        return replies.lines(250, self._service.hostname)

    def _ehlo(self, text: str) -> bytes:
        if not text:
            return replies.MISSING_ARGUMENT
        self.reset()
        self._greeted(text)
        self.extended = True
        keywords = [
            self._service.hostname,
            f"SIZE {self._service.settings.max_size}",
            "PIPELINING",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "HELP",
        ]
        if self._listener.starttls and not self._tls:
            keywords.append("STARTTLS")
        if self._may_log_in():
            keywords.append("AUTH " + " ".join(auth.MECHANISMS))
        return replies.lines(250, *keywords)

    def _greeted(self, text: str) -> None:
        self.helo = text
        self._trace.helo = text if _HELO.match(text) else "unknown"

    def _may_log_in(self) -> bool:
        return self._tls or self._listener.trusts(self.peer)

    def _starttls(self, text: str) -> bytes:
        if text:
            return replies.BAD_ARGUMENT
        if self._tls:
            return replies.ALREADY_TLS
        if not self._listener.starttls:
            return replies.TLS_UNAVAILABLE
        if self.envelope is not None:
            return replies.IN_TRANSACTION
        self.mode = Mode.TLS
        return replies.START_TLS

    def _auth(self, text: str) -> Answer:
        if not self.extended:
            return replies.SAY_EHLO_FIRST
        if self.identity is not None:
            return replies.ALREADY_AUTHENTICATED
        if self.envelope is not None:
            return replies.IN_TRANSACTION
        if not self._may_log_in():
            return replies.AUTH_NEEDS_TLS
        mechanism, _, initial = text.partition(" ")
        if not mechanism:
            return replies.MISSING_ARGUMENT
        mechanism = mechanism.upper()
        if mechanism not in auth.MECHANISMS:
            return replies.UNKNOWN_MECHANISM
        first = self._plain if mechanism == "PLAIN" else self._login_user
        if initial:
            # "=" stands for an empty response, RFC 4954 4.
            return first(b"" if initial == "=" else initial.strip(" ").encode())
        self._answer = first
        return auth.ASK if mechanism == "PLAIN" else auth.ASK_USER

    def _plain(self, line: bytes) -> Answer:
        _user, password = auth.plain(line)
        return self._identify(password)

    def _login_user(self, line: bytes) -> Answer:
        auth.decode(line)
        self._answer = self._login_password
        return auth.ASK_PASSWORD

    def _login_password(self, line: bytes) -> Answer:
        return self._identify(auth.decode(line))

    async def _identify(self, secret: str) -> bytes:
        try:
            identity = await self._service.authenticator.identify(secret)
            check_scope(identity, "send")
        except RelayError as error:
            return self._login_failed(error)
        self.identity = identity
        return replies.AUTHENTICATED

    def _login_failed(self, error: RelayError) -> bytes:
        reply = replies.of_auth(error)
        if reply.startswith(b"5"):
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                self.mode = Mode.CLOSED
                return replies.TOO_MANY_FAILURES
        return reply

    def _mail(self, text: str) -> bytes:
        if not self.helo:
            return replies.SAY_EHLO_FIRST
        if self.identity is None:
            if self._listener.starttls and not self._may_log_in():
                return replies.START_TLS_FIRST
            return replies.AUTHENTICATE_FIRST
        if self.envelope is not None:
            return replies.IN_TRANSACTION
        mail = commands.mail(text, extended=self.extended)
        if mail.size > self._service.settings.max_size:
            return replies.TOO_LARGE
        if mail.sender:
            check_sender(self.identity, mail.sender)
        self.envelope = Envelope(mail.sender, mail.smtputf8, {})
        return replies.SENDER_OK

    def _rcpt(self, text: str) -> bytes:
        envelope = self.envelope
        if envelope is None:
            return replies.SAY_MAIL_FIRST if self.identity is not None else replies.AUTHENTICATE_FIRST
        address = commands.rcpt(text, extended=self.extended, smtputf8=envelope.smtputf8)
        if address not in envelope.recipients:
            if len(envelope.recipients) >= self._service.settings.max_recipients:
                return replies.TOO_MANY_RECIPIENTS
            envelope.recipients[address] = EnvelopeRecipient(address)
        return replies.RECIPIENT_OK

    def _data(self, text: str) -> bytes:
        self.mode = Mode.NO_DATA
        if text:
            return replies.BAD_ARGUMENT
        if self.envelope is None:
            return replies.SAY_MAIL_FIRST if self.identity is not None else replies.AUTHENTICATE_FIRST
        if not self.envelope.recipients:
            return replies.NO_RECIPIENTS
        self.mode = Mode.DATA
        return replies.START_DATA

    def _rset(self, text: str) -> bytes:
        if text:
            return replies.BAD_ARGUMENT
        self.reset()
        return replies.OK

    def _noop(self, _text: str) -> bytes:
        return replies.OK

    def _vrfy(self, text: str) -> bytes:
        return replies.CANNOT_VERIFY if text else replies.MISSING_ARGUMENT

    def _help(self, _text: str) -> bytes:
        return replies.HELP

    def _quit(self, text: str) -> bytes:
        if text:
            return replies.BAD_ARGUMENT
        self.mode = Mode.QUIT
        return replies.BYE


# One table for the class: looking methods up by name on every connection is what makes aiosmtpd's dear.
_COMMANDS: dict[bytes, Callable[[Session, str], Answer]] = {
    b"HELO": Session._helo,
    b"EHLO": Session._ehlo,
    b"STARTTLS": Session._starttls,
    b"AUTH": Session._auth,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._data,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"VRFY": Session._vrfy,
    b"HELP": Session._help,
    b"QUIT": Session._quit,
}
