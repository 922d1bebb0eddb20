"""Every reply of the SMTP door, in one table (RFC 5321 4.2; enhanced codes RFC 3463, RFC 5248).

The texts tell a client what to do and nothing about us. Errors of `relay.core.errors` become replies here and
nowhere else.
"""

from relay.core.errors import RateLimited, RelayError, Unauthenticated, Unavailable

#: octets of text in one reply line, so that the line stays within RFC 5321 4.5.3.1.5
_MAX_TEXT = 480


class Rejected(Exception):
    """The command is answered with `reply`, which no error of the core stands for."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


def say(code: int, enhanced: str, text: str) -> bytes:
    """A reply of one line; what is not printable ASCII in `text` is replaced."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in text)[:_MAX_TEXT]
    return f"{code} {enhanced} {clean}\r\n".encode("ascii")


def lines(code: int, *texts: str) -> bytes:
    """A reply of several lines without enhanced codes, as greetings and EHLO have it (RFC 2034 3)."""
    last = len(texts) - 1
    return b"".join(f"{code}{' ' if i == last else '-'}{t}\r\n".encode("ascii") for i, t in enumerate(texts))


def of(error: RelayError) -> bytes:
    """What the client is told of an error of ours."""
    code, enhanced = error.smtp
    text = error.message
    if isinstance(error, RateLimited):
        text = f"{text.rstrip('.')}, in {max(1, round(error.retry_after))} s"
    return say(code, enhanced, text)


def of_auth(error: RelayError) -> bytes:
    """The same during AUTH, where RFC 4954 6 names other codes."""
    if isinstance(error, Unavailable):
        return AUTH_UNAVAILABLE
    if isinstance(error, Unauthenticated):
        return AUTH_FAILED
    return say(535, "5.7.8", error.message)


def queued(identifier: int) -> bytes:
    return b"250 2.0.0 queued as %d\r\n" % identifier


def chunk(octets: int) -> bytes:
    return b"250 2.0.0 %d octets received\r\n" % octets


OK = say(250, "2.0.0", "OK")
BOUNCE_TAKEN = say(250, "2.0.0", "taken to heart")
SENDER_OK = say(250, "2.1.0", "sender ok")
RECIPIENT_OK = say(250, "2.1.5", "recipient ok")
BYE = say(221, "2.0.0", "bye")
START_TLS = say(220, "2.0.0", "ready to start TLS")
START_DATA = b"354 end data with <CR><LF>.<CR><LF>\r\n"
AUTHENTICATED = say(235, "2.7.0", "authenticated")
CANNOT_VERIFY = say(252, "2.0.0", "send some mail, it will be tried")
HELP = say(214, "2.0.0", "AUTH with an API key as password, then MAIL, RCPT, DATA; see RFC 5321")

TROUBLE = say(451, "4.3.0", "something went wrong here; please try again later")
TOO_MANY_RECIPIENTS = say(452, "4.5.3", "too many recipients; send the rest in another transaction")
AUTH_UNAVAILABLE = say(454, "4.7.0", "authentication is not possible at the moment; please try again later")
TLS_UNAVAILABLE = say(454, "4.7.0", "TLS is not available here")

SHUTTING_DOWN = say(421, "4.3.2", "the service is restarting; please try again in a moment")
TOO_MANY_CONNECTIONS = say(421, "4.3.2", "too many connections; please try again later")
OVERLOADED = say(421, "4.3.2", "too busy at the moment; please try again later")
TOO_MANY_FROM_ADDRESS = say(421, "4.7.0", "too many connections from your address; please try again later")
TOO_MANY_OF_ACCOUNT = say(421, "4.7.0", "too many connections of this account; please try again later")
TOO_MANY_BOUNCES = say(450, "4.7.1", "too many bounces from your address; please try again later")
TOO_MANY_TRANSACTIONS = say(421, "4.7.0", "enough mail for one connection; please open another")
TOO_MANY_COMMANDS = say(421, "4.7.0", "too many commands without a mail; closing the connection")
TOO_SLOW = say(421, "4.4.2", "the mail arrives too slowly; closing the connection")
LOCKED_OUT = say(421, "4.7.0", "too many failed logins; please try again later")
NOT_FROM_HERE = say(554, "5.7.1", "your address may not connect here")
KEY_ENDED = say(530, "5.7.0", "the key is no longer valid; authenticate again")
TIMED_OUT = say(421, "4.4.2", "timeout; closing the connection")
TOO_MANY_ERRORS = say(421, "4.7.0", "too many errors; closing the connection")
TOO_MANY_FAILURES = say(421, "4.7.0", "too many failed logins; closing the connection")
UNSYNCHRONISED = say(421, "4.7.0", "data sent although DATA was refused; closing the connection")

LINE_TOO_LONG = say(500, "5.5.2", "line too long")
BAD_SYNTAX = say(500, "5.5.2", "a command is printable text on a line of its own")
UNKNOWN_COMMAND = say(500, "5.5.1", "command not recognised")
BAD_ARGUMENT = say(501, "5.5.4", "this command takes no argument")
MISSING_ARGUMENT = say(501, "5.5.4", "an argument is missing")
BAD_MAIL = say(501, "5.5.4", "syntax: MAIL FROM:<address> [parameters]")
BAD_RCPT = say(501, "5.5.4", "syntax: RCPT TO:<address>")
BAD_BDAT = say(501, "5.5.4", "syntax: BDAT size [LAST]")
BAD_PARAMETER = say(501, "5.5.4", "a parameter is malformed or given twice")
BAD_SENDER = say(553, "5.1.7", "the sender address is malformed")
BAD_RECIPIENT = say(553, "5.1.3", "the recipient address is malformed")
ROUTED_RECIPIENT = say(553, "5.1.3", "routed addresses (%, !) are not accepted; name the mailbox itself")
NULL_RECIPIENT = say(553, "5.1.3", "a recipient cannot be empty")
NEEDS_SMTPUTF8 = say(553, "5.6.7", "international addresses need the SMTPUTF8 parameter")
UNKNOWN_PARAMETER = say(555, "5.5.4", "a parameter is not supported")
NOT_IMPLEMENTED = say(502, "5.5.1", "command not implemented")
NOT_MAIL = say(502, "5.5.1", "this is a mail server")
TOO_LARGE = say(552, "5.3.4", "the message is larger than this server takes")
NO_RELAYING = say(550, "5.7.1", "authentication required; without it bounces are taken and nothing else")
NO_SUCH_RETURN_PATH = say(550, "5.1.1", "there is no such address here")
RETURN_PATH_TOO_OLD = say(550, "5.1.1", "this address has expired")
TOO_MANY_HOPS = say(554, "5.4.6", "too many hops; this looks like a mail loop")
NO_RECIPIENTS = say(554, "5.5.1", "no valid recipients")

SAY_EHLO_FIRST = say(503, "5.5.1", "send EHLO first")
NOT_AMONG_CHUNKS = say(503, "5.5.1", "DATA and BDAT cannot be mixed in one mail")
SAY_MAIL_FIRST = say(503, "5.5.1", "send MAIL first")
IN_TRANSACTION = say(503, "5.5.1", "not during a mail transaction")
ALREADY_AUTHENTICATED = say(503, "5.5.1", "already authenticated")
ALREADY_TLS = say(503, "5.5.1", "TLS is active already")

AUTHENTICATE_FIRST = say(530, "5.7.0", "authentication required")
START_TLS_FIRST = say(530, "5.7.0", "issue STARTTLS first")
AUTH_FAILED = say(535, "5.7.8", "authentication failed; the password is an API key")
AUTH_NEEDS_TLS = say(538, "5.7.11", "authentication needs TLS")
UNKNOWN_MECHANISM = say(504, "5.5.4", "mechanism not supported; use PLAIN or LOGIN")
AUTH_MALFORMED = say(501, "5.5.2", "that is not base64 of the expected form")
AUTH_ABORTED = say(501, "5.7.0", "authentication aborted")
