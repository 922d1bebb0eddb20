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

#: a fault of ours; nothing was accepted, and the log has more
TROUBLE = say(451, "4.3.0", "something went wrong here; please try again later")
#: `smtp.max_recipients`; most clients send the rest by themselves
TOO_MANY_RECIPIENTS = say(452, "4.5.3", "too many recipients; send the rest in another transaction")
#: the record cannot be read, so no key can be looked up
AUTH_UNAVAILABLE = say(454, "4.7.0", "authentication is not possible at the moment; please try again later")
#: the listener has no certificate, or its `tls` is `none`
TLS_UNAVAILABLE = say(454, "4.7.0", "TLS is not available here")

#: the process drains; another, or the next, takes the mail
SHUTTING_DOWN = say(421, "4.3.2", "the service is restarting; please try again in a moment")
#: `smtp.max_connections`, or the listener's own
TOO_MANY_CONNECTIONS = say(421, "4.3.2", "too many connections; please try again later")
#: the process lags behind its work by more than `smtp.max_lag`, or the listener's account cannot be looked up
OVERLOADED = say(421, "4.3.2", "too busy at the moment; please try again later")
#: `smtp.max_connections_per_address`
TOO_MANY_FROM_ADDRESS = say(421, "4.7.0", "too many connections from your address; please try again later")
#: `smtp.max_connections_per_account`
TOO_MANY_OF_ACCOUNT = say(421, "4.7.0", "too many connections of this account; please try again later")
#: `ingest.bounce_rate`
TOO_MANY_BOUNCES = say(450, "4.7.1", "too many bounces from your address; please try again later")
#: `smtp.max_transactions`
TOO_MANY_TRANSACTIONS = say(421, "4.7.0", "enough mail for one connection; please open another")
#: `smtp.max_idle_commands`
TOO_MANY_COMMANDS = say(421, "4.7.0", "too many commands without a mail; closing the connection")
#: `smtp.min_data_rate`
TOO_SLOW = say(421, "4.4.2", "the mail arrives too slowly; closing the connection")
#: `smtp.max_auth_failures` within `smtp.auth_lock`, of the address or of the user name
LOCKED_OUT = say(421, "4.7.0", "too many failed logins; please try again later")
#: the listener's `allow_from` does not name the address
NOT_FROM_HERE = say(554, "5.7.1", "your address may not connect here")
#: the key was revoked, or ended, while the connection was open
KEY_ENDED = say(530, "5.7.0", "the key is no longer valid; authenticate again")
#: `smtp.command_timeout` or `smtp.data_timeout`
TIMED_OUT = say(421, "4.4.2", "timeout; closing the connection")
#: `smtp.max_errors`; look at what the client does
TOO_MANY_ERRORS = say(421, "4.7.0", "too many errors; closing the connection")
#: several failed logins over one connection
TOO_MANY_FAILURES = say(421, "4.7.0", "too many failed logins; closing the connection")
#: the client sends a mail without waiting for 354; what it sends cannot be told from commands
UNSYNCHRONISED = say(421, "4.7.0", "data sent although DATA was refused; closing the connection")

#: a command line beyond what RFC 5321 and its extensions allow
LINE_TOO_LONG = say(500, "5.5.2", "line too long")
#: control characters, or octets that are no UTF-8, in a command
BAD_SYNTAX = say(500, "5.5.2", "a command is printable text on a line of its own")
#: no such command here
UNKNOWN_COMMAND = say(500, "5.5.1", "command not recognised")
#: the command stands alone (RFC 5321 4.1)
BAD_ARGUMENT = say(501, "5.5.4", "this command takes no argument")
#: the command needs a value
MISSING_ARGUMENT = say(501, "5.5.4", "an argument is missing")
#: no address in angle brackets after MAIL FROM
BAD_MAIL = say(501, "5.5.4", "syntax: MAIL FROM:<address> [parameters]")
#: no address in angle brackets after RCPT TO
BAD_RCPT = say(501, "5.5.4", "syntax: RCPT TO:<address>")
#: BDAT without a size (RFC 3030)
BAD_BDAT = say(501, "5.5.4", "syntax: BDAT size [LAST]")
#: a parameter of MAIL or RCPT has a value it cannot have
BAD_PARAMETER = say(501, "5.5.4", "a parameter is malformed or given twice")
#: the return path is no address
BAD_SENDER = say(553, "5.1.7", "the sender address is malformed")
#: the recipient is no address
BAD_RECIPIENT = say(553, "5.1.3", "the recipient address is malformed")
#: source routes have been used to relay through others' servers
ROUTED_RECIPIENT = say(553, "5.1.3", "routed addresses (%, !) are not accepted; name the mailbox itself")
#: `<>` is a return path only
NULL_RECIPIENT = say(553, "5.1.3", "a recipient cannot be empty")
#: RFC 6531: the client has to say that it knows
NEEDS_SMTPUTF8 = say(553, "5.6.7", "international addresses need the SMTPUTF8 parameter")
#: a parameter that EHLO did not offer
UNKNOWN_PARAMETER = say(555, "5.5.4", "a parameter is not supported")
#: a command of SMTP that is not offered
NOT_IMPLEMENTED = say(502, "5.5.1", "command not implemented")
#: a web browser, or somebody who has one speak to us
NOT_MAIL = say(502, "5.5.1", "this is a mail server")
#: `smtp.max_size`; told at MAIL FROM where the client names the size
TOO_LARGE = say(552, "5.3.4", "the message is larger than this server takes")
#: mail without a login, at a port that takes bounces (`ingest.bounce_domain`)
NO_RELAYING = say(550, "5.7.1", "authentication required; without it bounces are taken and nothing else")
#: a bounce to an address that was not made here
NO_SUCH_RETURN_PATH = say(550, "5.1.1", "there is no such address here")
#: a bounce that comes later than `ingest.bounce_days` after its mail
RETURN_PATH_TOO_OLD = say(550, "5.1.1", "this address has expired")
#: `smtp.max_hops` Received fields
TOO_MANY_HOPS = say(554, "5.4.6", "too many hops; this looks like a mail loop")
#: DATA after every recipient was refused
NO_RECIPIENTS = say(554, "5.5.1", "no valid recipients")

#: the order of commands (RFC 5321 4.1.4)
SAY_EHLO_FIRST = say(503, "5.5.1", "send EHLO first")
#: RFC 3030: one way or the other for one mail
NOT_AMONG_CHUNKS = say(503, "5.5.1", "DATA and BDAT cannot be mixed in one mail")
#: the order of commands (RFC 5321 4.1.4)
SAY_MAIL_FIRST = say(503, "5.5.1", "send MAIL first")
#: RSET ends a transaction
IN_TRANSACTION = say(503, "5.5.1", "not during a mail transaction")
#: one login for each connection (RFC 4954 4)
ALREADY_AUTHENTICATED = say(503, "5.5.1", "already authenticated")
#: STARTTLS under TLS
ALREADY_TLS = say(503, "5.5.1", "TLS is active already")

#: log in; the password is an API key. Devices that cannot: a listener with `account`
AUTHENTICATE_FIRST = say(530, "5.7.0", "authentication required")
#: the listener allows AUTH under TLS only, to this address
START_TLS_FIRST = say(530, "5.7.0", "issue STARTTLS first")
#: no such key, or it has ended, or it may not be used from this address
AUTH_FAILED = say(535, "5.7.8", "authentication failed; the password is an API key")
#: `plain_auth_from` of the listener says who may do without
AUTH_NEEDS_TLS = say(538, "5.7.11", "authentication needs TLS")
#: PLAIN and LOGIN are offered
UNKNOWN_MECHANISM = say(504, "5.5.4", "mechanism not supported; use PLAIN or LOGIN")
#: RFC 4954 4: the client's answer cannot be read
AUTH_MALFORMED = say(501, "5.5.2", "that is not base64 of the expected form")
#: the client sent `*`
AUTH_ABORTED = say(501, "5.7.0", "authentication aborted")
