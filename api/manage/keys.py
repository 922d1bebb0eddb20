"""/v1/api-keys: make, look at, change, rotate and revoke keys."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import whose
from api.manage.asking import (
    NETWORK_PATTERN,
    WHOLE,
    Asked,
    Line,
    Moment,
    Page,
    body,
    described,
    identifier,
    page,
    query,
)
from api.manage.senders import AccountId
from api.services import Services
from relay.core.clock import now, wire_time
from relay.core.errors import NotAllowed, Refused
from relay.core.identity import Identity
from relay.store import accounts, keys

#: seconds that both keys work after a rotation, unless it says otherwise
_OVERLAP = 24 * 3600


def _network(written: str) -> str:
    return str(ip_network(written, strict=False))


Scope = Literal["send", "read", "manage", "admin"]


def _usual() -> list[Scope]:
    return ["send", "read"]


Scopes = Annotated[list[Scope], Field(min_length=1, max_length=4)]
Networks = Annotated[
    list[Annotated[str, AfterValidator(_network), described(NETWORK_PATTERN)]],
    Field(max_length=100, description="CIDR, IPv4 and IPv6; empty for anywhere."),
]
Label = Annotated[Line, Field(max_length=255)]
RateLimit = Annotated[
    Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None, Field(description="Sends per second.")
]
DailyQuota = Annotated[
    Annotated[int, Field(ge=1, le=1_000_000_000), WHOLE] | None, Field(description="Sends per day, in UTC.")
]
Tracked = Annotated[
    bool | None, Field(description="For mail that does not say itself and whose stream does not.")
]


class NewKey(Asked):
    label: Label = ""
    scopes: Scopes = Field(default_factory=_usual)
    expires_at: Moment | None = None
    networks: Networks = Field(default_factory=list)
    rate_limit: RateLimit = None
    daily_quota: DailyQuota = None
    track_opens: Tracked = None
    track_clicks: Tracked = None
    account_id: AccountId = None


class ChangedKey(Asked):
    label: Label = ""
    scopes: Scopes = Field(default_factory=_usual)
    expires_at: Moment | None = None
    networks: Networks = Field(default_factory=list)
    rate_limit: RateLimit = None
    daily_quota: DailyQuota = None
    track_opens: Tracked = None
    track_clicks: Tracked = None


class Rotation(Asked):
    overlap: Annotated[
        int, Field(ge=0, le=90 * 24 * 3600, description="Seconds that the old key works on."), WHOLE
    ] = _OVERLAP


class Whose(Page):
    account_id: AccountId = None


class Everyones(Page):
    account_id: Annotated[
        str | None,
        Field(pattern=r"^([0-9]{1,19}|all)$", description="Another account's, or `all`; needs an admin key."),
    ] = None


class Keys:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def create(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, NewKey)
        account_id = whose.account(identity, asked.account_id)
        wanted = asked.model_dump(exclude={"account_id"})
        if not wanted["networks"]:
            wanted["networks"] = [str(network) for network in identity.networks] if _bound(identity) else []
        for limit in ("rate_limit", "daily_quota"):
            if wanted[limit] is None and _bound(identity):
                wanted[limit] = getattr(identity, limit)
        _check_within(identity, wanted)
        _check_future(wanted)
        account = await self._database.read(accounts.get_account, account_id)
        made = await self._database.write(accounts.create_key_for, account_id, account["name"], **wanted)
        return await self._new(account_id, made)

    async def list(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = query(request, Everyones)
        account_id = whose.accounts(identity, asked.account_id)
        rows = await self._database.read(keys.page, account_id, limit=asked.limit + 1, before=asked.before)
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        _identity, account_id, key_id = await self._one(request)
        return Answer(shown(await self._database.read(keys.get, account_id, key_id)))

    async def change(self, request: Request) -> Answer:
        identity, account_id, key_id = await self._one(request)
        asked = await body(request, ChangedKey)
        changes = asked.model_dump(include=asked.model_fields_set)
        before = await self._database.read(keys.get, account_id, key_id)
        _check_within(identity, before)
        _check_within(identity, {**before, **changes})
        _check_future(changes)
        if "networks" in changes:
            changes["networks"] = changes["networks"] or None
        return Answer(shown(await self._database.write(keys.update, account_id, key_id, changes)))

    async def rotate(self, request: Request) -> Answer:
        identity, account_id, key_id = await self._one(request)
        overlap = Rotation().overlap
        if await request.body():
            overlap = (await body(request, Rotation)).overlap
        _check_within(identity, await self._database.read(keys.get, account_id, key_id))
        made, _ends = await self._database.write(
            keys.rotate, account_id, key_id, overlap=timedelta(seconds=overlap)
        )
        old = shown(await self._database.read(keys.get, account_id, key_id))
        return await self._new(account_id, made, replaces=old)

    async def revoke(self, request: Request) -> Response:
        identity, account_id, key_id = await self._one(request)
        _check_within(identity, await self._database.read(keys.get, account_id, key_id))
        await self._database.write(keys.revoke, account_id, key_id)
        return Response(status_code=204)

    async def _one(self, request: Request) -> tuple[Identity, int, int]:
        identity = await self._gate.admit(request, "manage")
        account_id = whose.account(identity, query(request, Whose).account_id)
        return identity, account_id, identifier(request)

    async def _new(self, account_id: int, made: accounts.NewKey, **more: Any) -> Answer:
        row = await self._database.read(keys.get, account_id, made.id)
        return Answer({**shown(row), "key": made.secret, **more}, 201)


def _bound(identity: Identity) -> bool:
    return not identity.may("admin")


def _check_within(identity: Identity, key: Mapping[str, Any]) -> None:
    """A key cannot make, or have a hand in, one that may do more than itself. Raises `NotAllowed`."""
    if not _bound(identity):
        return
    beyond = set(key["scopes"] or accounts.DEFAULT_SCOPES) - identity.scopes
    if beyond:
        raise NotAllowed(f"This key does not have the scope {min(beyond)} to give.")
    for name in ("rate_limit", "daily_quota"):
        own = getattr(identity, name)
        if own is not None and (key[name] is None or key[name] > own):
            raise NotAllowed(f"This key's own {name} is {own}.")
    if identity.networks:
        wanted = [ip_network(written) for written in key["networks"] or ()]
        # Two kinds of addresses are never inside of one another.
        inside = all(
            any(one.version == own.version and one.subnet_of(own) for own in identity.networks)  # type: ignore[arg-type]
            for one in wanted
        )
        if not wanted or not inside:
            raise NotAllowed("This key works from some networks only, and can give no others.")


def _check_future(wanted: Mapping[str, Any]) -> None:
    if wanted.get("expires_at") is not None and wanted["expires_at"] <= now():
        raise Refused('"expires_at" must lie in the future')


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "label": row["label"],
        "last_five": row["last_five"],
        "scopes": row["scopes"] or list(accounts.DEFAULT_SCOPES),
        "networks": row["networks"] or [],
        "rate_limit": row["rate_limit"],
        "daily_quota": row["daily_quota"],
        "track_opens": row["track_opens"],
        "track_clicks": row["track_clicks"],
        "created_at": wire_time(row["created_at"]),
        "expires_at": wire_time(row["expires_at"]),
        "revoked_at": wire_time(row["revoked_at"]),
        "last_used_at": wire_time(row["last_used_at"]),
    }
