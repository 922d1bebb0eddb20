"""/v1/providers and /v1/routes: how the ways out are doing and what is to become of them; for admin keys.

The configuration file is read for each call, so that the answers are about what workers follow; a process that was
started without one answers about its own settings.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.answers import Answer
from api.manage.asking import ADDRESS_PATTERN, Asked, body, described, query
from api.services import Services
from providers import registry
from relay import config
from relay.config import Settings
from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now, wire_time
from relay.core.errors import BadAddress, Conflict, Misconfigured, NotFound
from relay.core.ids import MAX_ID, new_id
from relay.core.provider import Provider, ProviderProblem
from relay.delivery import trial
from relay.delivery.explain import explain, explain_stored
from relay.delivery.overview import alive, overview, still_in_hand
from relay.routing import Facts
from relay.store import circuits
from relay.store.circuits import Mode


class TestMail(Asked):
    recipient: Annotated[str, Field(max_length=320), described(ADDRESS_PATTERN)]
    sender: Annotated[
        str,
        Field(max_length=320, description="From whom; the provider must allow it."),
        described(ADDRESS_PATTERN),
    ]


Text = Annotated[str | None, Field(max_length=320)]


class Asking(BaseModel):
    """The query of an explanation: a stored message, or facts."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    message: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,19}$", description="A stored message's id, instead of facts.")
    ] = None
    sender: Annotated[str, Field(max_length=320, description="The return path.")] = ""
    recipient: Annotated[str, Field(max_length=320)] = ""
    account: Annotated[str | None, Field(max_length=64, description="The account's name.")] = None
    key: Annotated[str | None, Field(max_length=64, description="The key's label.")] = None
    classification: Text = None
    tag: Text = None
    stream: Text = None
    lane: Text = None
    size: Annotated[int, Field(ge=0, le=1_000_000_000, description="Octets.")] = 1000


class Providers:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate
        self._started_with = services.installation

    async def list(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        rows = await self._overview(await self._settings())
        return Answer({"has_more": False, "next_cursor": None, "data": rows})

    async def get(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        settings = await self._settings()
        return Answer(await self._one(settings, _named(request, settings)))

    async def pause(self, request: Request) -> Answer:
        return await self._say(request, Mode.PAUSED)

    async def resume(self, request: Request) -> Answer:
        return await self._say(request, Mode.ACTIVE)

    async def drain(self, request: Request) -> Answer:
        return await self._say(request, Mode.DRAINING)

    async def check(self, request: Request) -> Answer:
        """Log in without sending. What is found wrong is the answer, not an error of the call."""
        await self._gate.admit(request, "admin")
        settings = await self._settings()
        provider = _built(settings, _named(request, settings))
        try:
            said, good = await trial.check(provider), True
        except ProviderProblem as problem:
            said, good = str(problem), False
        return Answer({"name": provider.name, "ok": good, "message": said})

    async def test(self, request: Request) -> Answer:
        """Send one test mail past queue and routes."""
        await self._gate.admit(request, "admin")
        settings = await self._settings()
        name = _named(request, settings)
        asked = await body(request, TestMail)
        recipient, sender = _address(asked.recipient, "recipient"), _address(asked.sender, "sender")
        try:
            outcome = await trial.send(_built(settings, name), sender=sender, recipient=recipient)
        except ProviderProblem as problem:
            return Answer({"name": name, "outcome": "unknown", "reply": str(problem), "ref": None})
        return Answer(
            {"name": name, "outcome": outcome.kind.value, "reply": str(outcome.reply), "ref": outcome.ref}
        )

    async def reload(self, request: Request) -> Answer:
        """Have all workers read their file again. One with a fault is refused here already, in words."""
        await self._gate.admit(request, "admin")
        settings = await self._settings()
        built = _all_built(settings)
        await asyncio.gather(*(provider.aclose() for provider in built.values()))
        await self._database.write(circuits.ask_for_reload, now=now())
        workers = await self._database.read(alive)
        return Answer({"providers": sorted(built), "workers": len(workers)}, 202)

    async def explain(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        asked = query(request, Asking)
        settings = await self._settings()
        providers = _all_built(settings)
        try:
            if asked.message is not None:
                message = min(int(asked.message), MAX_ID)
                found = await self._database.read(explain_stored, settings, providers, message)
                if not found:
                    raise NotFound(f"There is no message with ID {asked.message}.")
            else:
                found = [await self._database.read(explain, settings, providers, _facts(asked))]
        finally:
            await asyncio.gather(*(provider.aclose() for provider in providers.values()))
        return Answer({"data": found})

    async def _say(self, request: Request, mode: Mode) -> Answer:
        await self._gate.admit(request, "admin")
        settings = await self._settings()
        name = _named(request, settings)
        await self._database.write(circuits.set_mode, name, mode, now=now())
        return Answer(await self._one(settings, name))

    async def _settings(self) -> Settings:
        """Raises `Conflict` with the faults of the file as it is now."""
        source = self._started_with.source
        if source is None:
            return self._started_with
        try:
            return await asyncio.to_thread(config.load, source)
        except Misconfigured as error:
            raise _faulty(error) from None

    async def _overview(self, settings: Settings) -> Sequence[dict[str, Any]]:
        rows = await self._database.read(overview, settings, registry.capabilities)
        return [_shown(row) for row in rows]

    async def _one(self, settings: Settings, name: str) -> dict[str, Any]:
        (row,) = [row for row in await self._overview(settings) if row["name"] == name]
        if row["mode"] == Mode.DRAINING.value:
            row["still_in_hand"] = await self._database.read(still_in_hand, name)
        return row


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """`still_in_hand` says what keeps a draining provider from being done; null when it may be taken out."""
    return {
        "name": row["name"],
        "type": row["type"],
        "experimental": row["experimental"],
        "mode": row["mode"],
        "mode_at": wire_time(row["mode_at"]),
        "circuit": {
            "state": row["circuit"],
            "open_until": wire_time(row["open_until"]),
            "reason": row["reason"],
        },
        "in_hand": row["in_hand"],
        "waiting": row["waiting"],
        "workers": row["workers"],
        "limits": row["limits"],
        "usage": row["usage"],
        "capabilities": row["capabilities"],
        "still_in_hand": None,
    }


def _named(request: Request, settings: Settings) -> str:
    name = request.path_params["name"]
    if name not in settings.ways_out:
        raise NotFound(
            f"There is no provider with this name (known: {', '.join(sorted(settings.ways_out))})."
        )
    return str(name)


def _built(settings: Settings, name: str) -> Provider:
    try:
        return registry.build({name: config.provider_options(settings)[name]})[name]
    except Misconfigured as error:
        raise _faulty(error) from None


def _all_built(settings: Settings) -> dict[str, Provider]:
    try:
        return registry.build(config.provider_options(settings))
    except Misconfigured as error:
        raise _faulty(error) from None


def _faulty(error: Misconfigured) -> Conflict:
    return Conflict(f"The configuration cannot be used: {error}")


def _facts(asked: Asking) -> Facts:
    lane = asked.lane or ("urgent" if asked.classification == "URGENT" else "normal")
    return Facts(
        new_id(),
        asked.sender,
        asked.recipient,
        asked.account,
        asked.key,
        asked.classification,
        asked.tag,
        asked.stream,
        lane,
        asked.size,
    )


def _address(written: str, field: str) -> str:
    try:
        return normalise(written)
    except InvalidAddress as error:
        raise BadAddress(f'"{field}" is invalid: {error}') from None
