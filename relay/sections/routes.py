"""Settings of providers and routes: limits that any provider may have, rules, and when to switch."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from relay.core import limits, routes
from relay.sections.base import Section


def _expression(text: str) -> str:
    routes.parse(text)
    return text


def _rate(text: str) -> str:
    limits.parse_rate(text)
    return text


def _quota(text: str) -> str:
    limits.parse_quota(text)
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _pattern(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Expression = Annotated[str, AfterValidator(_expression)]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(_listed), Field(min_length=1)
]


class WarmUpSettings(Section):
    """A ramp for a new sending address or account: recipients on the first day, the second, and so on."""

    start: date  #: the first day, such as `2026-12-01`
    #: recipients of the first day, the second …; there is no limit after the last
    daily: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)

    def ramp(self) -> limits.WarmUp:
        return limits.WarmUp(self.start, self.daily)


class ProviderLimits(Section):
    """What may stand in any provider's table beside its own options. All counts are of recipients."""

    #: such as `50/s`; shared evenly by all workers
    rate: Annotated[str, AfterValidator(_rate)] | None = None
    #: such as `50000/day`, in windows of UTC; shared by all workers
    quota: Annotated[str, AfterValidator(_quota)] | None = None
    #: in flight at one time to one recipient domain, shared evenly by all workers
    per_domain: int | None = Field(default=None, ge=1)
    #: in hand at one time in one worker; left out, three quarters of `delivery.concurrency` where there are others
    concurrency: int | None = Field(default=None, ge=1)
    warmup: WarmUpSettings | None = None
    #: with `ingest.bounce_domain`: `bounce` has bounces of its mail come home, `sender` leaves the return path as the
    #: sender gave it; left out, they come home where the provider takes a return path and reports nothing itself
    return_path: Literal["bounce", "sender"] | None = None
    #: what an unclear outcome means: try again by it (a double is possible) or leave it to a human; left out, as
    #: `delivery.ambiguous` says
    ambiguous: Literal["at_least_once", "at_most_once"] | None = None
    #: the end of the URL that the vendor reports to, as `env:NAME` or `file:/path`; left out, one is made
    webhook_secret: SecretStr | None = Field(default=None, exclude=True)


LIMITS = frozenset(ProviderLimits.model_fields)


class When(Section):
    """Conditions of a rule; all that are given must hold. Texts are patterns: `*` stands for anything."""

    sender: Patterns | None = None  #: the return path
    sender_domain: Patterns | None = None  #: the domain of the return path
    recipient_domain: Patterns | None = None  #: the domain of the address written to
    account: Patterns | None = None  #: the account's name
    key: Patterns | None = None  #: the key's label
    classification: Patterns | None = None  #: `URGENT`, `FOR_ACTION`, `FOR_INFO`
    tag: Patterns | None = None  #: the tag given with the mail
    stream: Patterns | None = None  #: the stream given with the mail
    lane: Patterns | None = None  #: `urgent`, `normal`, `bulk`
    min_size: int | None = Field(default=None, ge=0)  #: octets of the mail
    max_size: int | None = Field(default=None, ge=0)  #: octets of the mail

    @model_validator(mode="after")
    def _says_something(self) -> "When":
        if not self.shown():
            raise ValueError("has no condition; what is for all mail belongs into routes.default")
        if None not in {self.min_size, self.max_size} and (self.min_size or 0) > (self.max_size or 0):
            raise ValueError("min_size is larger than max_size, so no mail can match")
        return self

    def shown(self) -> Mapping[str, str]:
        """The conditions in words."""
        given = self.model_dump(exclude_none=True)
        return {k: " | ".join(v) if isinstance(v, tuple) else str(v) for k, v in given.items()}


class RouteSettings(Section):
    """Which provider takes a mail; see `relay.core.routes`."""

    use: Expression  #: a provider, `failover(a, b)` or `weighted(a: 3, b: 1)`, nested as you like


class RuleSettings(RouteSettings):
    """Which provider takes mail of a kind."""

    when: When
    name: str = ""  #: for people


class CircuitSettings(Section):
    """When a provider is left alone, and when it is tried again."""

    failures: int = Field(default=5, ge=1)  #: in a row
    window: Annotated[float, Field(gt=0)] = 30.0  #: seconds within which they count
    pause: Annotated[float, Field(gt=0)] = 5.0  #: seconds until the first probe; doubles
    longest_pause: Annotated[float, Field(gt=0)] = 30.0  #: seconds


class RoutesSettings(Section):
    """Which provider takes which mail: the first rule that is about it, else the default."""

    #: may be left out while there is only one provider to choose
    default: RouteSettings | None = None
    rules: tuple[RuleSettings, ...] = ()
    #: tries of one mail in vain at one provider before the next one gets it
    switch_after: int = Field(default=3, ge=1)
    circuit: CircuitSettings = CircuitSettings()
