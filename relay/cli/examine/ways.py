"""The ways out: each provider is logged in to, without sending."""

import asyncio

from relay.cli.examine.finding import Finding, fail, ok, warn
from relay.config import Settings
from relay.core.errors import Misconfigured
from relay.core.provider import Provider, ProviderProblem
from relay.delivery import trial
from workers.setups import build_providers

_AREA = "providers"


async def examine(settings: Settings) -> list[Finding]:
    try:
        providers = build_providers(settings)
    except Misconfigured as error:
        return [fail(_AREA, "configuration", str(error), "`pillarbox config check` says where.")]
    findings = list(await asyncio.gather(*(_one(one) for one in providers.values())))
    if not settings.providers:
        todo = "Name a provider in the configuration when mail is to go out."
        findings.append(warn(_AREA, "configuration", "none; mail is captured here and goes nowhere", todo))
    return findings


async def _one(provider: Provider) -> Finding:
    try:
        return ok(_AREA, provider.name, await trial.check(provider))
    except ProviderProblem as error:
        todo = f"Mend [providers.{provider.name}], or the account there; mail waits or goes other ways meanwhile."
        return fail(_AREA, provider.name, str(error), todo)
