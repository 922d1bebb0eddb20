"""Accounts, their keys and their senders."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, NotFound
from relay.core.identity import Identity
from relay.core.ids import new_id
from relay.core.stream import Track
from relay.store import tables as t
from relay.store.senders import add_sender
from relay.store.types import BigInt, Instant

#: what a key may do unless it says otherwise
DEFAULT_SCOPES = ("send", "read")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `secret` is shown once and kept nowhere."""

    id: int
    secret: str
    account: str


def generate_secret(name: str) -> str:
    """A key in the contract's shape: the account's name without punctuation, `v1`, 264 random bits in base64."""
    owner = re.sub(r"[^A-Za-z0-9]", "", name.partition("@")[0]) or "key"
    return f"{owner}_v1_{base64.b64encode(secrets.token_bytes(33)).decode()}"


def digest(secret: str) -> str:
    """What is kept of a key. A plain hash suits a secret of 264 random bits; a slow one would only slow AUTH."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create_account(
    connection: sa.Connection, name: str, *, email: str | None = None, senders: Sequence[str] = ()
) -> int:
    """Raises `Conflict` when the name is taken, `Refused` for a sender that is none."""
    identifier = new_id()
    try:
        with connection.begin_nested():
            connection.execute(
                t.account.insert(), {"id": identifier, "name": name, "email": email, "created_at": now()}
            )
    except sa.exc.IntegrityError:
        raise Conflict(f"An account named {name} exists already.") from None
    for pattern in dict.fromkeys(senders):
        add_sender(connection, identifier, pattern)
    return identifier


def account_by_name(connection: sa.Connection, name: str) -> int:
    """Raises `NotFound`."""
    row = connection.execute(sa.select(t.account.c.id).where(t.account.c.name == name)).first()
    if row is None:
        raise NotFound(f"There is no account named {name}.")
    return int(row.id)


def get_account(connection: sa.Connection, identifier: int) -> dict[str, Any]:
    """Raises `NotFound`."""
    row = connection.execute(sa.select(t.account).where(t.account.c.id == identifier)).mappings().first()
    if row is None:
        raise NotFound(f"There is no account with ID {identifier}.")
    return dict(row)


def list_accounts(
    connection: sa.Connection, *, limit: int | None = None, before: int | None = None
) -> list[dict[str, Any]]:
    """Accounts, newest first, beginning below the id `before`."""
    statement = sa.select(t.account).order_by(t.account.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(t.account.c.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]


def update_account(connection: sa.Connection, identifier: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change `name`, `email`, or `disabled_at`, which stops every key of the account. Returns it as it is then.

    Raises `NotFound`, and `Conflict` when the name is taken.
    """
    before = get_account(connection, identifier)
    if not changes:
        return before
    try:
        with connection.begin_nested():
            connection.execute(t.account.update().where(t.account.c.id == identifier).values(**changes))
    except sa.exc.IntegrityError:
        raise Conflict(f"An account named {changes.get('name')} exists already.") from None
    return {**before, **changes}


def create_key(
    connection: sa.Connection,
    account: str,
    *,
    label: str = "",
    scopes: Sequence[str] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
    networks: Sequence[str] = (),
    rate_limit: int | None = None,
    daily_quota: int | None = None,
    track_opens: bool | None = None,
    track_clicks: bool | None = None,
) -> NewKey:
    """A key for the account of that name. Raises `NotFound` when there is none."""
    return create_key_for(
        connection,
        account_by_name(connection, account),
        account,
        label=label,
        scopes=scopes,
        expires_at=expires_at,
        networks=networks,
        rate_limit=rate_limit,
        daily_quota=daily_quota,
        track_opens=track_opens,
        track_clicks=track_clicks,
    )


def create_key_for(
    connection: sa.Connection,
    account_id: int,
    account: str,
    *,
    label: str = "",
    scopes: Sequence[str] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
    networks: Sequence[str] = (),
    rate_limit: int | None = None,
    daily_quota: int | None = None,
    track_opens: bool | None = None,
    track_clicks: bool | None = None,
) -> NewKey:
    """A key for an account that exists, of which both id and name are known."""
    secret = generate_secret(account)
    identifier = new_id()
    connection.execute(
        t.api_key.insert(),
        {
            "id": identifier,
            "account_id": account_id,
            "digest": digest(secret),
            "last_five": secret[-5:],
            "label": label,
            "scopes": list(scopes),
            "created_at": now(),
            "expires_at": expires_at,
            "networks": list(networks) or None,
            "rate_limit": rate_limit,
            "daily_quota": daily_quota,
            "track_opens": track_opens,
            "track_clicks": track_clicks,
        },
    )
    return NewKey(identifier, secret, account)


def issue_key(
    connection: sa.Connection,
    account: str,
    *,
    label: str = "",
    scopes: Sequence[str] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
    senders: Sequence[str] | None = None,
    networks: Sequence[str] = (),
    rate_limit: int | None = None,
    daily_quota: int | None = None,
    track_opens: bool | None = None,
    track_clicks: bool | None = None,
) -> NewKey:
    """A key for an account, which is made first where there is none of that name.

    The first account of all may send as anyone unless `senders` says otherwise; every later one has to name
    its senders. Raises `Conflict` when it does not, or when `senders` are given for an account that exists.
    """
    known = connection.execute(sa.select(t.account.c.id).where(t.account.c.name == account)).first()
    if known is None:
        if not senders and connection.execute(sa.select(t.account.c.id).limit(1)).first():
            raise Conflict(f"The new account {account} needs at least one sender: an address, a domain or *.")
        create_account(connection, account, senders=senders or ("*",))
    elif senders:
        raise Conflict(f"The account {account} exists already; its senders are not changed with a key.")
    return create_key(
        connection,
        account,
        label=label,
        scopes=scopes,
        expires_at=expires_at,
        networks=networks,
        rate_limit=rate_limit,
        daily_quota=daily_quota,
        track_opens=track_opens,
        track_clicks=track_clicks,
    )


def list_keys(connection: sa.Connection) -> list[dict[str, Any]]:
    """Every key, newest first, with its account's name; never the secret."""
    k = t.api_key.c
    statement = (
        sa.select(
            k.id,
            t.account.c.name.label("account"),
            k.label,
            k.last_five,
            k.scopes,
            k.created_at,
            k.expires_at,
            k.revoked_at,
            k.networks,
            k.last_used_at,
        )
        .join(t.account)
        .order_by(k.id.desc())
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def revoke_key(connection: sa.Connection, identifier: int) -> None:
    """The key stops working at once, or within seconds where a process has just seen it. Raises `NotFound`."""
    statement = t.api_key.update().where(t.api_key.c.id == identifier, t.api_key.c.revoked_at.is_(None))
    if connection.execute(statement.values(revoked_at=now())).rowcount == 0:
        raise NotFound(f"There is no working key with ID {identifier}.")


def discard_key(connection: sa.Connection, identifier: int) -> None:
    """As if there had never been such a key; only for one that nobody has seen."""
    connection.execute(t.api_key.delete().where(t.api_key.c.id == identifier))


def has_keys(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(t.api_key.c.id).limit(1)).first() is not None


def identify(connection: sa.Connection, key_digest: str) -> Identity | None:
    """Who a key belongs to; None for an unknown, expired or revoked one, or one of a disabled account."""
    return identify_all(connection, (key_digest,))[0]


def identify_all(connection: sa.Connection, digests: Sequence[str]) -> list[Identity | None]:
    """`identify` for several keys, in two queries."""
    rows = connection.execute(_KEYS, {"b_digests": list(set(digests))}).all()
    moment = now()
    working = [row for row in rows if row.expires_at is None or row.expires_at > moment]
    if not working:
        return [None] * len(digests)
    senders: dict[int, list[str]] = {}
    patterns = connection.execute(_PATTERNS, {"b_ids": list({row.account_id for row in working})})
    for account_id, pattern in patterns:
        senders.setdefault(account_id, []).append(pattern)
    found = {
        row.digest: Identity(
            account_id=row.account_id,
            key_id=row.id,
            account=row.name,
            email=row.email,
            scopes=frozenset(row.scopes or DEFAULT_SCOPES),
            expires_at=row.expires_at,
            senders=tuple(senders.get(row.account_id, ())),
            rate_limit=row.rate_limit,
            daily_quota=row.daily_quota,
            networks=tuple(ip_network(written) for written in row.networks or ()),
            track=Track(row.track_opens, row.track_clicks),
        )
        for row in working
    }
    return [found.get(one) for one in digests]


_KEYS = (
    sa.select(
        t.api_key.c.id,
        t.api_key.c.account_id,
        t.api_key.c.digest,
        t.api_key.c.scopes,
        t.api_key.c.expires_at,
        t.api_key.c.networks,
        t.api_key.c.rate_limit,
        t.api_key.c.daily_quota,
        t.api_key.c.track_opens,
        t.api_key.c.track_clicks,
        t.account.c.name,
        t.account.c.email,
    )
    .join(t.account)
    .where(
        t.api_key.c.digest.in_(sa.bindparam("b_digests", expanding=True)),
        t.api_key.c.revoked_at.is_(None),
        t.account.c.disabled_at.is_(None),
    )
)
_PATTERNS = (
    sa.select(t.sender.c.account_id, t.sender.c.pattern)
    .where(t.sender.c.account_id.in_(sa.bindparam("b_ids", expanding=True, type_=BigInt)))
    .order_by(t.sender.c.id)
)


def note_use(connection: sa.Connection, used: Mapping[int, datetime]) -> None:
    """Record when keys (by id) were last used."""
    statement = (
        t.api_key.update()
        .where(t.api_key.c.id == sa.bindparam("b_id", type_=BigInt))
        .values(last_used_at=sa.bindparam("b_at", type_=Instant()))
    )
    # In one order, so that two processes cannot wait for each other.
    connection.execute(statement, [{"b_id": key, "b_at": used[key]} for key in sorted(used)])


def identify_account(connection: sa.Connection, name: str) -> Identity | None:
    """An account by its name, as a client that needs no key acts for it; None for an unknown or disabled one."""
    row = connection.execute(
        sa.select(t.account.c.id, t.account.c.email).where(
            t.account.c.name == name, t.account.c.disabled_at.is_(None)
        )
    ).first()
    if row is None:
        return None
    patterns = connection.execute(_PATTERNS, {"b_ids": [row.id]})
    return Identity(
        account_id=row.id,
        key_id=0,
        account=name,
        email=row.email,
        scopes=frozenset({"send"}),
        expires_at=None,
        senders=tuple(row.pattern for row in patterns),
    )
