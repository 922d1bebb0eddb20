"""Opening a line: connection, TLS, EHLO and AUTH, all of it aiosmtplib's work, and what its failures mean."""

import asyncio
import base64
import functools
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib.auth import auth_xoauth2_encode

from providers.http import Http, HttpOptions, NoAnswer
from providers.smtp.line import Line, Offers
from providers.smtp.options import SmtpOptions, Tls
from providers.smtp.replies import Phase, judge
from relay.core.errors import Misconfigured
from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply, parse_reply


class NoLine(Exception):
    """No line could be opened; the outcome says whose turn it is to act."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.reply))
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection, still aiosmtplib's."""

    transport: asyncio.BaseTransport
    offers: Offers
    tls: str | None  #: such as `TLSv1.3`
    #: called when the connection is gone
    on_gone: Callable[[], None] | None = None

    def line(self, *, on_free: Callable[[Line], None], on_lost: Callable[[Line], None]) -> Line:
        """Take it over from aiosmtplib."""
        loop = asyncio.get_running_loop()
        line = Line(loop, self.transport, self.offers, on_free=on_free, on_lost=on_lost)
        if (gone := self.on_gone) is not None:
            line.gone.add_done_callback(lambda _: gone())
        return line


class _NoTls(Exception):
    """The server offers TLS, and it came to nothing."""


@functools.lru_cache(maxsize=32)
def tls_context(ca_file: str | None, *, verify: bool) -> ssl.SSLContext:
    """One for all lines with these options: loading the system's certificates takes 17 ms.

    `ca_file` is trusted instead of the system's certificates. Raises `Misconfigured` if it cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Misconfigured(f"ca_file cannot be used: {error.strerror or type(error).__name__}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Dialler:
    """Opens lines to one smarthost. Raises `Misconfigured` for an unusable `ca_file`."""

    def __init__(self, options: SmtpOptions) -> None:
        self._options = options
        self._context = (
            None if options.tls is Tls.NONE else tls_context(options.ca_file, verify=options.verify)
        )
        self._hostname = options.hostname
        self._token = ""

    async def session(self) -> Session:
        """A signed-in session, or `NoLine`."""
        try:
            return await self._session(self._options.tls)
        except _NoTls:
            # Better in the clear than not at all is what opportunistic means (RFC 7435); others do not get here.
            return await self._session(Tls.NONE)

    async def _session(self, tls: Tls) -> Session:
        options = self._options
        if self._hostname is None:
            # May ask a name server, so it is done once and in a thread.
            self._hostname = await asyncio.to_thread(socket.getfqdn)
        client = aiosmtplib.SMTP(
            hostname=options.address or options.host,
            port=options.port,
            local_hostname=self._hostname,
            source_address=(options.source_address, 0) if options.source_address else None,
            timeout=options.connect_timeout,
            use_tls=tls is Tls.IMPLICIT,
            start_tls=False,
            tls_context=self._context,
        )
        phase = Phase.GREETING
        try:
            await client.connect()
            phase = Phase.EHLO
            await _introduce(client)
            if tls is Tls.REQUIRE or (tls is Tls.OPPORTUNISTIC and client.supports_extension("starttls")):
                phase = Phase.STARTTLS
                await client.starttls(server_hostname=options.host)
                phase = Phase.EHLO
                await _introduce(client)
            phase = Phase.AUTH
            await self._sign_in(client)
            version = client.get_transport_info("ssl_object")
            transport = client.transport
            assert transport is not None
            return Session(transport, _offers(client), version.version() if version is not None else None)
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            _cut(client)
            if tls is Tls.OPPORTUNISTIC and phase is Phase.STARTTLS:
                raise _NoTls from None
            raise NoLine(self._meaning(phase, error)) from None
        except BaseException:
            _cut(client)
            raise

    async def _sign_in(self, client: aiosmtplib.SMTP) -> None:
        options = self._options
        if options.username is None:
            return
        if options.tokens is None:
            await client.login(options.username, options.password or "")
            return
        if "xoauth2" not in client.server_auth_methods:
            raise aiosmtplib.SMTPException("the server does not offer XOAUTH2")
        http = Http(HttpOptions("", options.connect_timeout, options.connect_timeout, 1, None, None))
        try:
            self._token = await options.tokens.token(http)
        except NoAnswer as failure:
            client.close()
            raise NoLine(failure.outcome) from None
        finally:
            await http.aclose()
        try:
            await client.auth_xoauth2(options.username, self._token)
        except aiosmtplib.SMTPAuthenticationError:
            # It may have been revoked; the next connection asks for another.
            options.tokens.forget()
            raise

    def _meaning(self, phase: Phase, error: Exception) -> Outcome:
        cause = error.__cause__ or error
        if isinstance(error, aiosmtplib.SMTPResponseException):
            if error.code < 400:
                return _later("4.5.0", "the server's reply makes no sense")
            return judge(phase, parse_reply(error.code, self._without_secrets(error.message)))
        if isinstance(cause, ssl.SSLError):
            return _tls_failed(cause)
        if isinstance(error, TimeoutError):
            return _later("4.4.1", f"the server did not answer in time ({phase})")
        if isinstance(cause, socket.gaierror):
            return _later("4.4.3", "the server's name does not resolve")
        if isinstance(error, UnicodeError):
            return _config("5.4.4", "the server's name is malformed")
        if isinstance(error, OSError):
            return _later("4.4.1", f"no connection ({phase}): {_words(cause)}")
        # What is left are aiosmtplib's own verdicts: no STARTTLS, no AUTH, no mechanism in common.
        return _config("5.7.4", self._without_secrets(str(error)))

    def _without_secrets(self, text: str) -> str:
        """Servers have been seen to quote the line that they refuse."""
        username, password = self._options.username, self._options.password
        if username is not None and self._token:
            encoded = auth_xoauth2_encode(username, self._token).decode()
            text = text.replace(encoded, "********").replace(self._token, "********")
        if username is None or password is None:
            return text
        plain = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
        hidden = [plain, base64.b64encode(password.encode()).decode(), password]
        for secret in filter(None, hidden):
            text = text.replace(secret, "********")
        return text


def _cut(client: aiosmtplib.SMTP) -> None:
    """Close at once: TLS would take leave first, and nobody waits for that."""
    transport = client.transport
    client.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


async def _introduce(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()


def _offers(client: aiosmtplib.SMTP) -> Offers:
    size = client.esmtp_extensions.get("size")
    return Offers(
        pipelining=client.supports_extension("pipelining"),
        eight_bit=client.supports_extension("8bitmime"),
        smtputf8=client.supports_extension("smtputf8"),
        dsn=client.supports_extension("dsn"),
        size=size is not None,
        max_size=int(size) if size and size.isdecimal() else 0,
    )


def _later(enhanced: str, words: str) -> Outcome:
    return Outcome(OutcomeKind.RETRY, Reply(451, enhanced, words))


def _config(enhanced: str, words: str) -> Outcome:
    return Outcome(OutcomeKind.CONFIG, Reply(554, enhanced, words))


def _tls_failed(error: ssl.SSLError) -> Outcome:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _config("5.7.5", f"the server's certificate is not accepted: {error.verify_message}")
    return _config(
        "5.7.5", f"no TLS with the server: {(error.reason or 'handshake failed').replace('_', ' ')}"
    )


def _words(cause: BaseException) -> str:
    text = cause.strerror if isinstance(cause, OSError) else None
    return (text or "connection lost").lower()
