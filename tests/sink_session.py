"""One session of `tests.sink`: what it says to whom, and its ways to misbehave."""

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tests.sink import Sink

#: What recipients are told, by the beginning of their local part; `grey` only the first `grey_times` times.
RULES = {
    "refuse": "550 5.1.1 no such mailbox here",
    "full": "452 4.2.2 mailbox is full",
    "oldfull": "552 mailbox is full",
    "busy": "450 4.2.0 mailbox is busy, try again in 5 minutes",
    "throttle": "451 4.7.0 rate limit exceeded, slow down",
    "relay": "550 5.7.1 relaying denied, authenticate first",
    "grey": "451 4.7.1 greylisted, please come back",
}
#: What the end of data brings when such a recipient is among those taken.
CONTENT_RULES = {
    "spam": "554 5.7.1 message content rejected",
    "later": "451 4.3.0 try again later",
    "quota": "454 Throttling failure: Maximum sending rate exceeded.",
}
#: What such a sender is told at MAIL.
SENDER_RULES = {
    "banned": "550 5.7.1 sender not allowed",
    "unknown": "501 5.1.7 bad sender address",
    "slow": "451 4.3.2 not now",
}


class Fault(StrEnum):
    """How to misbehave; see `Sink.misbehave`."""

    CLOSE_AT_GREETING = "close at greeting"
    REFUSE_AT_GREETING = "554 at greeting"
    BUSY_AT_GREETING = "421 at greeting"
    HANG_AT_GREETING = "hang at greeting"
    GARBAGE_AT_GREETING = "garbage at greeting"
    CLOSE_AT_MAIL = "close at MAIL"
    BUSY_AT_MAIL = "421 at MAIL"
    HANG_AT_MAIL = "hang at MAIL"
    GARBAGE_AT_MAIL = "garbage at MAIL"
    ENDLESS_AT_MAIL = "endless reply at MAIL"
    BUSY_AT_RCPT = "421 at RCPT"
    CLOSE_AT_RCPT = "close at RCPT"
    BUSY_AT_DATA = "421 at DATA"
    REFUSE_AT_DATA = "554 at DATA"
    CLOSE_AT_DATA = "close at DATA"
    CLOSE_IN_BODY = "close in the body"
    CLOSE_AFTER_DATA = "close after the data"
    HANG_AFTER_DATA = "hang after the data"
    BUSY_AFTER_DATA = "421 after the data"
    GARBAGE_AFTER_DATA = "garbage after the data"
    ECHO_AFTER_DATA = "one reply too many"
    MUMBLE_AFTER_DATA = "half a reply too many"
    GO_AHEAD_ANYWAY = "354 without a recipient"
    BYTE_BY_BYTE = "replies byte by byte"


@dataclass(frozen=True, slots=True)
class Received:
    """One mail as it came: the envelope, its parameters, and the bytes with the dots unstuffed."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    parameters: str  #: of MAIL, such as `SIZE=10 BODY=8BITMIME`
    recipient_parameters: tuple[str, ...]
    connection: int
    tls: bool
    user: str | None


class Session(asyncio.Protocol):
    def __init__(self, sink: "Sink") -> None:
        self.sink = sink
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.buffer = b""
        self.replies: list[bytes] = []
        self.number = 0
        self.secure = sink.tls == "implicit"
        self.user: str | None = None
        self.deaf = False
        self.leaving = False
        self.upgrading: asyncio.Task[asyncio.Transport | None] | None = None
        self.in_body = False
        self.body = bytearray()
        self.answering: Callable[[str], None] | None = None
        self.reset()

    def reset(self) -> None:
        self.sender: str | None = None
        self.parameters = ""
        self.recipients: list[str] = []
        self.recipient_parameters: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.number = self.sink.opened(self)
        sink = self.sink
        limit = sink.max_connections
        match sink.fault(
            Fault.CLOSE_AT_GREETING,
            Fault.REFUSE_AT_GREETING,
            Fault.BUSY_AT_GREETING,
            Fault.HANG_AT_GREETING,
            Fault.GARBAGE_AT_GREETING,
        ):
            case Fault.CLOSE_AT_GREETING:
                self.close()
            case Fault.REFUSE_AT_GREETING:
                self.close(b"554 5.7.1 your address is blocked\r\n")
            case Fault.BUSY_AT_GREETING:
                self.close(b"421 4.3.2 busy\r\n")
            case Fault.GARBAGE_AT_GREETING:
                self.close(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            case Fault.HANG_AT_GREETING:
                self.deaf = True
            case _ if limit is not None and sink.open_connections > limit:
                self.close(b"421 4.7.0 too many connections\r\n")
            case _:
                self.say("220 sink.test ESMTP")
                self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.deaf = True
        self.sink.closed(self)

    def close(self, farewell: bytes = b"") -> None:
        self.deaf = True
        self.replies.clear()
        if farewell:
            self.transport.write(farewell)
        self.transport.close()

    def abort(self) -> None:
        self.deaf = True
        self.transport.abort()

    def say(self, *lines: str) -> None:
        for line in lines[:-1]:
            self.replies.append(f"{line[:3]}-{line[4:]}\r\n".encode())
        self.replies.append(f"{lines[-1]}\r\n".encode())

    def flush(self) -> None:
        if not self.replies or self.transport.is_closing():
            return
        data = b"".join(self.replies)
        self.replies.clear()
        if self.sink.fault(Fault.BYTE_BY_BYTE):
            self.drip(data)
        else:
            self.transport.write(data)

    def drip(self, data: bytes) -> None:
        self.transport.write(data[:1])
        if len(data) > 1:
            asyncio.get_running_loop().call_later(0, self.drip, data[1:])

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        if not self.in_body:
            self.buffer += data
        if self.upgrading is not None:
            # The client may speak before we are told of the new transport; the old one answers in the clear.
            return
        commands: list[str] = []
        while not self.deaf:
            if self.in_body:
                if not self.take_body(data):
                    break
                data = b""
                continue
            line, ended, rest = self.buffer.partition(b"\r\n")
            if not ended:
                break
            self.buffer = rest
            text = line.decode("utf-8", "surrogateescape")
            commands.append(text)
            if self.answering is not None:
                answering, self.answering = self.answering, None
                answering(text)
            else:
                self.command(text)
            if self.in_body:
                data, self.buffer = self.buffer, b""
        if commands and not self.sink.count_only:
            self.sink.heard(commands)
        self.flush()
        if self.leaving:
            self.close()

    def command(self, text: str) -> None:
        verb, _, rest = text.partition(" ")
        method = getattr(self, f"on_{verb.lower()}", None)
        if method is None:
            self.say("502 5.5.1 what?")
        else:
            method(rest)

    def on_ehlo(self, _: str) -> None:
        offers = list(self.sink.extensions)
        if self.sink.tls == "starttls" and not self.secure:
            offers.append("STARTTLS")
        if self.sink.users:
            offers.append(f"AUTH {self.sink.mechanisms}")
        self.reset()
        self.say("250 sink.test", *(f"250 {offer}" for offer in offers))

    def on_helo(self, _: str) -> None:
        self.say("250 sink.test")

    def on_noop(self, _: str) -> None:
        self.say("250 2.0.0 ok")

    def on_rset(self, _: str) -> None:
        self.reset()
        self.say("250 2.0.0 ok")

    def on_quit(self, _: str) -> None:
        self.say("221 2.0.0 bye")
        # Only once the command is noted: who waits for the line's end looks at what came by it.
        self.deaf = self.leaving = True

    def on_starttls(self, _: str) -> None:
        if self.sink.tls != "starttls" or self.secure:
            self.say("502 5.5.1 no TLS here")
            return
        self.say("220 2.0.0 go ahead")
        # The handshake may begin before the upgrade below does; what comes until then waits in the socket.
        self.transport.pause_reading()
        self.flush()
        self.secure = True
        self.buffer = b""
        loop = asyncio.get_running_loop()
        upgrade = loop.start_tls(self.transport, self, self.sink.context, server_side=True)
        self.upgrading = loop.create_task(upgrade)
        self.upgrading.add_done_callback(self.upgraded)

    def upgraded(self, task: "asyncio.Task[asyncio.Transport | None]") -> None:
        if not task.cancelled() and task.exception() is None:
            self.transport = cast("asyncio.Transport", task.result())
            self.upgrading = None
            self.data_received(b"")

    def on_auth(self, rest: str) -> None:
        mechanism, _, first = rest.partition(" ")
        if mechanism.upper() == "PLAIN":
            if first:
                self.auth_plain(first)
            else:
                self.say("334 ")
                self.answering = self.auth_plain
        elif mechanism.upper() == "LOGIN":
            self.say("334 UGFzc3dvcmQ6")
            self.answering = lambda answer: self.signed_in(_unbase64(first), _unbase64(answer), answer)
        elif mechanism.upper() == "XOAUTH2":
            user, token, *_ = [*_unbase64(first).split("\x01"), ""]
            self.signed_in(user.removeprefix("user="), token.removeprefix("auth=Bearer "), first)
        else:
            self.say("504 5.5.4 unknown mechanism")

    def auth_plain(self, answer: str) -> None:
        _, user, password = [*_unbase64(answer).split("\0"), "", ""][:3]
        self.signed_in(user, password, answer)

    def signed_in(self, user: str, password: str, answer: str) -> None:
        if self.sink.users.get(user) == password:
            self.user = user
            self.say("235 2.7.0 welcome")
        else:
            # Quoted as some servers do: clients must not pass it on.
            self.say(f"535 5.7.8 not accepted: {answer}")

    def on_mail(self, rest: str) -> None:
        match self.sink.fault(
            Fault.CLOSE_AT_MAIL,
            Fault.BUSY_AT_MAIL,
            Fault.HANG_AT_MAIL,
            Fault.GARBAGE_AT_MAIL,
            Fault.ENDLESS_AT_MAIL,
        ):
            case Fault.CLOSE_AT_MAIL:
                self.close()
                return
            case Fault.BUSY_AT_MAIL:
                self.close(b"421 4.3.2 shutting down\r\n")
                return
            case Fault.HANG_AT_MAIL:
                self.deaf = True
                return
            case Fault.GARBAGE_AT_MAIL:
                self.say("maybe")
                return
            case Fault.ENDLESS_AT_MAIL:
                self.transport.write(b"250-on and on\r\n" * 10_000)
                self.deaf = True
                return
        address, parameters = _path(rest, "FROM:")
        if self.sink.users and self.user is None:
            self.say("530 5.7.0 authentication required")
        elif address is None:
            self.say("501 5.5.4 syntax")
        elif self.sender is not None:
            self.say("503 5.5.1 one mail at a time")
        elif (reply := _first(SENDER_RULES, [address])) is not None:
            self.say(reply)
        elif self.too_large(parameters):
            self.say("552 5.3.4 too large")
        elif unknown := self.unknown(parameters):
            self.say(f"555 5.5.4 {unknown} was not offered")
        else:
            self.sender, self.parameters = address, parameters
            self.say("250 2.1.0 ok")

    def unknown(self, parameters: str) -> str | None:
        """A parameter of an extension that was not offered."""
        owners = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}
        offered = {offer.partition(" ")[0] for offer in self.sink.extensions}
        for parameter in parameters.split():
            name = parameter.partition("=")[0].upper()
            if owners.get(name) not in offered:
                return name
        return None

    def too_large(self, parameters: str) -> bool:
        limit = next((o.partition(" ")[2] for o in self.sink.extensions if o.startswith("SIZE ")), "0")
        said = next((p[5:] for p in parameters.upper().split() if p.startswith("SIZE=")), "0")
        return 0 < int(limit) < int(said)

    def on_rcpt(self, rest: str) -> None:
        match self.sink.fault(Fault.BUSY_AT_RCPT, Fault.CLOSE_AT_RCPT):
            case Fault.BUSY_AT_RCPT:
                self.flush()
                self.close(b"421 4.3.2 shutting down\r\n")
                return
            case Fault.CLOSE_AT_RCPT:
                self.flush()
                self.close()
                return
        address, parameters = _path(rest, "TO:")
        if self.sender is None:
            self.say("503 5.5.1 MAIL first")
        elif not address:
            self.say("501 5.5.4 syntax")
        elif (reply := self.sink.reply_to(address)) is not None:
            self.say(reply)
        else:
            self.recipients.append(address)
            self.recipient_parameters.append(parameters)
            self.say("250 2.1.5 ok")

    def on_data(self, _: str) -> None:
        match self.sink.fault(
            Fault.BUSY_AT_DATA, Fault.REFUSE_AT_DATA, Fault.CLOSE_AT_DATA, Fault.GO_AHEAD_ANYWAY
        ):
            case Fault.BUSY_AT_DATA:
                self.flush()
                self.close(b"421 4.3.2 shutting down\r\n")
                return
            case Fault.CLOSE_AT_DATA:
                self.flush()
                self.close()
                return
            case Fault.REFUSE_AT_DATA:
                self.say("554 5.5.0 no data today")
                return
            case Fault.GO_AHEAD_ANYWAY:
                pass
            case _ if not self.recipients:
                self.say(
                    "554 5.5.1 no valid recipients" if self.sender is not None else "503 5.5.1 MAIL first"
                )
                return
        self.in_body = True
        self.body = bytearray()
        self.say("354 go ahead")

    def take_body(self, data: bytes) -> bool:
        """Whether the end was in it; what follows the end goes to `buffer`."""
        if data and self.sink.fault(Fault.CLOSE_IN_BODY):
            self.abort()
            return False
        # The end may lie across packets.
        known = max(0, len(self.body) - 4)
        self.body += data
        if self.body.startswith(b".\r\n"):
            whole, rest = b"", bytes(self.body[3:])
        else:
            end = self.body.find(b"\r\n.\r\n", known)
            if end < 0:
                return False
            whole, rest = bytes(self.body[: end + 2]), bytes(self.body[end + 5 :])
        self.in_body = False
        self.buffer = rest
        self.end_of_data(whole)
        return True

    def end_of_data(self, whole: bytes) -> None:
        taken, sender = tuple(self.recipients), self.sender
        reply = _first(CONTENT_RULES, taken) or ("" if taken else "554 5.5.1 no valid recipients")
        if not reply:
            raw = whole.replace(b"\r\n..", b"\r\n.")
            raw = raw[1:] if raw.startswith(b"..") else raw
            parameters, others = self.parameters, tuple(self.recipient_parameters)
            self.sink.took(
                len(raw),
                lambda: Received(
                    sender or "", taken, raw, parameters, others, self.number, self.secure, self.user
                ),
            )
            reply = f"250 2.0.0 Ok: queued as S{self.sink.count:06d}"
        self.reset()
        match self.sink.fault(
            Fault.CLOSE_AFTER_DATA,
            Fault.HANG_AFTER_DATA,
            Fault.BUSY_AFTER_DATA,
            Fault.GARBAGE_AFTER_DATA,
            Fault.ECHO_AFTER_DATA,
            Fault.MUMBLE_AFTER_DATA,
        ):
            case Fault.CLOSE_AFTER_DATA:
                self.close()
            case Fault.HANG_AFTER_DATA:
                self.deaf = True
            case Fault.BUSY_AFTER_DATA:
                self.close(b"421 4.3.2 shutting down\r\n")
            case Fault.GARBAGE_AFTER_DATA:
                self.say("perhaps")
            case Fault.ECHO_AFTER_DATA:
                self.say(reply)
                self.say("250 2.0.0 and another one")
            case Fault.MUMBLE_AFTER_DATA:
                self.say(reply)
                self.replies.append(b"250 and")
            case _ if self.sink.delay:
                self.flush()
                asyncio.get_running_loop().call_later(
                    self.sink.delay, self.transport.write, f"{reply}\r\n".encode()
                )
            case _:
                self.say(reply)


def _path(rest: str, keyword: str) -> tuple[str | None, str]:
    """The address and the parameters of MAIL or RCPT."""
    if rest[: len(keyword)].upper() != keyword or rest[len(keyword) : len(keyword) + 1] != "<":
        return None, ""
    address, closed, parameters = rest[len(keyword) + 1 :].rpartition(">")
    return (address, parameters.strip()) if closed else (None, "")


def _first(rules: Mapping[str, str], addresses: Iterable[str]) -> str | None:
    for address in addresses:
        for beginning, reply in rules.items():
            if address.startswith(beginning):
                return reply
    return None


def _unbase64(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return ""
