"""AUTH: the conversation, the check of the key, and what guessing leads to (RFC 4954)."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from relay.core.errors import RelayError, Unauthenticated
from relay.core.identity import Identity
from relay.observe import facts
from relay.policy import check_scope
from relay.smtp import auth, replies
from relay.smtp.mode import Answer, Mode

if TYPE_CHECKING:
    from relay.smtp.session import Session

#: failed logins of one connection
_MAX_FAILURES = 5
_MAX_DELAY = 10.0  # seconds


def auth_command(session: "Session", text: str) -> Answer:
    if not session.extended:
        return replies.SAY_EHLO_FIRST
    if session.secret is not None:
        return replies.ALREADY_AUTHENTICATED
    if session.envelope is not None:
        return replies.IN_TRANSACTION
    if not session.may_log_in():
        return replies.AUTH_NEEDS_TLS
    mechanism, _, initial = text.partition(" ")
    if not mechanism:
        return replies.MISSING_ARGUMENT
    mechanism = mechanism.upper()
    if mechanism not in auth.MECHANISMS:
        return replies.UNKNOWN_MECHANISM
    first = partial(_plain if mechanism == "PLAIN" else _login_user, session)
    if initial:
        # "=" stands for an empty response, RFC 4954 4.
        return first(b"" if initial == "=" else initial.strip(" ").encode())
    session.answer = first
    return auth.ASK if mechanism == "PLAIN" else auth.ASK_USER


def _plain(session: "Session", line: bytes) -> Answer:
    user, password = auth.plain(line)
    return _log_in(session, user, password)


def _login_user(session: "Session", line: bytes) -> Answer:
    session.answer = partial(_login_password, session, auth.decode(line))
    return auth.ASK_PASSWORD


def _login_password(session: "Session", user: str, line: bytes) -> Answer:
    return _log_in(session, user, auth.decode(line))


async def _log_in(session: "Session", user: str, secret: str) -> bytes:
    service = session.service
    if await service.throttle.locked(session.peer, user):
        facts.login_locked("smtp", session.peer)
        session.mode = Mode.CLOSED
        return replies.LOCKED_OUT
    try:
        identity = await service.authenticator.identify(secret, session.peer)
        check_scope(identity, "send")
    except RelayError as error:
        return await _failed(session, user, error)
    if session.mode is Mode.CLOSED:
        # The client has left meanwhile, and nobody would give its place back.
        return b""
    if not service.enter_account(identity.account_id):
        session.mode = Mode.CLOSED
        return replies.TOO_MANY_OF_ACCOUNT
    if session.identity is not None:
        # It was let in for its address alone before.
        service.leave_account(session.identity.account_id)
    await service.throttle.succeeded(session.peer, user)
    session.identity = identity
    session.secret = secret
    session.asked_at = service.loop.time()
    return replies.AUTHENTICATED


async def _failed(session: "Session", user: str, error: RelayError) -> bytes:
    reply = replies.of_auth(error)
    if not reply.startswith(b"5"):
        return reply
    session.failures += 1
    if isinstance(error, Unauthenticated):
        count = await session.service.throttle.failed(session.peer, user)
        # Guessing is made slow; the connection costs us nothing while it waits.
        await asyncio.sleep(min(session.service.settings.auth_delay * count, _MAX_DELAY))
    if session.failures >= _MAX_FAILURES:
        session.mode = Mode.CLOSED
        return replies.TOO_MANY_FAILURES
    return reply


async def look_again(session: "Session", identity: Identity) -> Identity:
    """The identity as it is now; raises what `Authenticator.identify` raises for a key that has ended."""
    service = session.service
    if session.secret is None:
        assert session.listener.settings.account
        identity = await service.authenticator.account(session.listener.settings.account)
    else:
        identity = await service.authenticator.identify(session.secret, session.peer)
        check_scope(identity, "send")
    session.identity = identity
    session.asked_at = service.loop.time()
    return identity


async def enter_by_address(session: "Session") -> bytes:
    """Let a client of a listener with a fixed account in; returns a reply when that is not possible."""
    service = session.service
    try:
        identity = await service.authenticator.account(session.listener.settings.account)
    except RelayError as error:
        facts.fault("the account of a listener", error)
        return replies.OVERLOADED
    if session.mode is Mode.CLOSED:
        return b""
    if not service.enter_account(identity.account_id):
        return replies.TOO_MANY_OF_ACCOUNT
    session.identity = identity
    session.asked_at = service.loop.time()
    return b""
