"""The commands that introduce, and those that only pass the time."""

import re
from typing import TYPE_CHECKING

from relay.smtp import auth, replies
from relay.smtp.mode import Mode

if TYPE_CHECKING:
    from relay.smtp.session import Session

_HELO = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}\Z")


def helo(session: "Session", text: str) -> bytes:
    if not text:
        return replies.MISSING_ARGUMENT
    _greeted(session, text)
    session.extended = False
    return replies.lines(250, session.service.hostname)


def ehlo(session: "Session", text: str) -> bytes:
    if not text:
        return replies.MISSING_ARGUMENT
    _greeted(session, text)
    session.extended = True
    settings = session.service.settings
    keywords = [
        session.service.hostname,
        f"SIZE {settings.max_size}",
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        # RFC 9422
        f"LIMITS MAILMAX={settings.max_transactions} RCPTMAX={settings.max_recipients}",
        "HELP",
    ]
    if session.listener.starttls and not session.tls:
        keywords.append("STARTTLS")
    if session.may_log_in():
        keywords.append("AUTH " + " ".join(auth.MECHANISMS))
    return replies.lines(250, *keywords)


def _greeted(session: "Session", text: str) -> None:
    session.reset()
    session.helo = text
    session.trace.helo = text if _HELO.match(text) else "unknown"


def starttls(session: "Session", text: str) -> bytes:
    if text:
        return replies.BAD_ARGUMENT
    if session.tls:
        return replies.ALREADY_TLS
    if not session.listener.starttls:
        return replies.TLS_UNAVAILABLE
    if session.envelope is not None:
        return replies.IN_TRANSACTION
    session.mode = Mode.TLS
    return replies.START_TLS


def noop(_session: "Session", _text: str) -> bytes:
    return replies.OK


def vrfy(_session: "Session", text: str) -> bytes:
    return replies.CANNOT_VERIFY if text else replies.MISSING_ARGUMENT


def help_(_session: "Session", _text: str) -> bytes:
    return replies.HELP


def quit_(session: "Session", text: str) -> bytes:
    if text:
        return replies.BAD_ARGUMENT
    session.mode = Mode.QUIT
    return replies.BYE
