"""Settings: one typed tree from `pillarbox.toml` and the environment, refused as a whole when a part is wrong.

Every value can be given by the environment as `PILLARBOX_<SECTION>__<NAME>`, which wins over the file. A secret
may be written as `env:NAME` or `file:/path` wherever a provider option is expected; settings print without them.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from relay.core.errors import Misconfigured
from relay.core.routes import parse as parse_route
from relay.core.routes import uses
from relay.sections import (
    LIMITS,
    MIB,
    ApiSettings,
    BatchSettings,
    DatabaseSettings,
    DeliverySettings,
    DkimSettings,
    Faults,
    IngestSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    NoticeSettings,
    ProviderLimits,
    ProviderName,
    QueueSettings,
    RetentionSettings,
    RoutesSettings,
    SecuritySettings,
    SmtpSettings,
    TraceSettings,
    TrackingSettings,
)

PREFIX = "PILLARBOX_"
DEFAULT_FILE = "pillarbox.toml"
#: characters of a secret that keys are derived from
_MIN_SECRET = 24


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    #: where the record, the embedded queue server and captured mail are kept
    data_dir: Annotated[Path, AfterValidator(lambda p: p.expanduser().absolute())] = Path("pillarbox-data")
    #: octets free on the disk of the data directory below which new mail is put off
    min_free_space: int = Field(default=256 * MIB, ge=0)
    database: DatabaseSettings = DatabaseSettings()
    queue: QueueSettings = QueueSettings()
    smtp: SmtpSettings = SmtpSettings()
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    delivery: DeliverySettings = DeliverySettings()
    log: LogSettings = LogSettings()
    #: empty means that mail is captured here for reading, and goes nowhere
    providers: dict[ProviderName, dict[str, Any]] = Field(default_factory=dict)
    routes: RoutesSettings = RoutesSettings()
    dkim: tuple[DkimSettings, ...] = ()
    #: encrypts the DKIM keys of the database; as `env:NAME` or `file:/path`
    dkim_passphrase: SecretStr = SecretStr("")
    security: SecuritySettings = SecuritySettings()
    #: how the world reaches the REST door, for links in mail and for vendors' webhooks: `https://mail.example.org`
    public_url: str = ""
    ingest: IngestSettings = IngestSettings()
    tracking: TrackingSettings = TrackingSettings()
    batches: BatchSettings = BatchSettings()
    webhooks: NoticeSettings = NoticeSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TraceSettings = TraceSettings()
    _source: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file is passed as init values, so the environment has to come first to win.
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        faults = self._faults_of_providers() + self._faults_of_routes()
        if faults:
            raise Faults(faults)
        if self.delivery.urgent_reserve >= self.delivery.concurrency:
            raise ValueError("delivery.urgent_reserve must be smaller than delivery.concurrency")
        return self

    def _faults_of_providers(self) -> list[tuple[tuple[str, ...], str]]:
        faults: list[tuple[tuple[str, ...], str]] = []
        for name, options in self.providers.items():
            if not isinstance(options.get("type"), str):
                faults.append((("providers", name), 'needs a type, for example type = "smtp"'))
            try:
                self.limits_of(name)
            except ValidationError as error:
                for fault in error.errors(include_url=False, include_input=False):
                    path = ("providers", name, *(str(part) for part in fault["loc"]))
                    faults.append((path, fault["msg"].removeprefix("Value error, ")))
        return faults

    def _faults_of_routes(self) -> list[tuple[tuple[str, ...], str]]:
        known = ", ".join(sorted(self.ways_out))
        if self.routes.default is None and len(self.providers) > 1:
            return [(("routes", "default", "use"), f"is needed to choose between providers ({known})")]
        written: list[tuple[tuple[str, ...], str]] = [(("routes", "default", "use"), self.default_route)]
        written += [
            (("routes", "rules", str(n), "use"), rule.use) for n, rule in enumerate(self.routes.rules)
        ]
        return [
            (path, f"at character {use.at}: {use.name!r} is no provider (known: {known})")
            for path, text in written
            for use in uses(parse_route(text))
            if use.name not in self.ways_out
        ]

    def limits_of(self, name: str) -> ProviderLimits:
        """What stands in a provider's table for us, rather than for the provider."""
        options = self.ways_out[name]
        return ProviderLimits(**{key: options[key] for key in LIMITS & options.keys()})

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            shown = {key: redacted(own) for key, own in value.items()} if name == "providers" else value
            yield name, shown

    @property
    def source(self) -> Path | None:
        """The file these settings came from, if any."""
        return self._source

    @property
    def database_url(self) -> str:
        return self.database.url.get_secret_value() or f"sqlite:///{self.data_dir / 'pillarbox.db'}"

    @property
    def ways_out(self) -> dict[str, dict[str, Any]]:
        """The providers by name; `capture` stands in while none is configured."""
        return self.providers or {"capture": {"type": "capture"}}

    @property
    def default_route(self) -> str:
        """The route expression for mail that no rule is about."""
        return self.routes.default.use if self.routes.default else next(iter(self.ways_out))

    @property
    def embedded_queue(self) -> bool:
        return not self.queue.url.get_secret_value()


def load(file: Path | None = None) -> Settings:
    """The settings of this process: from `file`, else `$PILLARBOX_CONFIG`, else `./pillarbox.toml` if it exists.

    Raises `Misconfigured` with file, line and reason for every fault found.
    """
    named = file or (Path(os.environ["PILLARBOX_CONFIG"]) if os.environ.get("PILLARBOX_CONFIG") else None)
    path = named or Path(DEFAULT_FILE)
    text = ""
    if named or path.exists():
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Misconfigured(f"{path}: is not UTF-8 text") from None
        named = path.absolute()
    settings = parse(text, str(path))
    settings._source = named
    return settings


def parse(text: str, source: str = DEFAULT_FILE) -> Settings:
    """Settings from the text of a file, with the environment on top; see `load`."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{source}: {error}") from None
    unknown = _unknown_variables()
    if unknown:
        raise Misconfigured("\n".join(unknown))
    try:
        return Settings(**tables)
    except ValidationError as error:
        raise Misconfigured("\n".join(_explain(error, text, source))) from None


def secret(reference: str) -> str:
    """What a provider option means: `env:NAME` and `file:/path` are looked up, anything else is the value.

    Raises `Misconfigured` when the variable is unset or the file cannot be read.
    """
    kind, _, where = reference.partition(":")
    if kind == "env":
        try:
            return os.environ[where]
        except KeyError:
            raise Misconfigured(f"the environment variable {where} is not set") from None
    if kind == "file":
        try:
            return Path(where).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Misconfigured(f"{where} cannot be read: {error.strerror}") from None
    return reference


def sealing_secrets(settings: Settings) -> list[bytes]:
    """What secrets in the database are encrypted with from outside of it: the one in force, then those before it.

    Raises `Misconfigured` for what cannot be looked up or could be guessed.
    """
    security = settings.security
    if security.previous_secrets and not security.secret.get_secret_value():
        raise Misconfigured("security.previous_secrets needs security.secret, which takes their place")
    named = [("security.secret", security.secret)] if security.secret.get_secret_value() else []
    named += [(f"security.previous_secrets.{n}", one) for n, one in enumerate(security.previous_secrets)]
    found = []
    for name, written in named:
        try:
            value = secret(written.get_secret_value())
        except Misconfigured as error:
            raise Misconfigured(f"{name}: {error}") from None
        if len(value) < _MIN_SECRET:
            raise Misconfigured(
                f"{name}: has fewer than {_MIN_SECRET} characters; make one with `openssl rand -base64 32`"
            )
        found.append(value.encode())
    return found


def resolve(options: dict[str, Any]) -> dict[str, Any]:
    """A provider's options with every secret reference looked up, tables and lists included."""

    def look(item: Any) -> Any:
        if isinstance(item, str):
            return secret(item)
        if isinstance(item, dict):
            return {key: look(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [look(inner) for inner in item]
        return item

    return {key: look(item) for key, item in options.items()}


def provider_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every provider's own options by name, secrets looked up. Raises `Misconfigured`."""
    found: dict[str, dict[str, Any]] = {}
    for name, options in settings.ways_out.items():
        found[name] = resolve({key: value for key, value in options.items() if key not in LIMITS})
        if options["type"] == "capture":
            found[name].setdefault("directory", str(settings.data_dir / "captured"))
    return found


def redacted(options: dict[str, Any]) -> dict[str, Any]:
    """A provider's options as they may be shown: references as written, other values of secret keys hidden."""
    return {key: _shown(key, value) for key, value in options.items()}


_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
#: who signs in at the host of a URL, such as a proxy's; a password may have any sign but blanks in it
_USER_INFO = re.compile(r"(?<=://)\S+@")


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return redacted(value)
    if _SECRET.search(key) and not str(value).startswith(("env:", "file:")):
        return "********"
    return _USER_INFO.sub("********@", value) if isinstance(value, str) else value


def _unknown_variables() -> list[str]:
    """A misspelt variable would silently leave the default in force."""
    sections = {
        name.upper(): set(field.annotation.model_fields)
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    plain = {name.upper() for name in Settings.model_fields}
    faults = []
    for variable in os.environ:
        if not variable.startswith(PREFIX) or variable in {"PILLARBOX_CONFIG", "PILLARBOX_API_KEY"}:
            continue
        section, _, rest = variable.removeprefix(PREFIX).partition("__")
        known = section in plain and (
            not rest or section not in sections or rest.partition("__")[0].lower() in sections[section]
        )
        if not known:
            faults.append(f"environment: {variable} is not a setting")
    return faults


def _explain(error: ValidationError, text: str, source: str) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        between = fault.get("ctx", {}).get("error")
        if isinstance(between, Faults):
            lines += [_placed([*path], reason, text, source) for path, reason in between.found]
            continue
        path = [str(part) for part in fault["loc"]]
        reason = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            reason = "is not a setting"
        lines.append(_placed(path, reason, text, source))
    return lines


def _placed(path: list[str], reason: str, text: str, source: str) -> str:
    """A fault with its file and line, or the variable that it came by."""
    variable = PREFIX + "__".join(part.upper() for part in path)
    where = f"{source}:{line}" if (line := _line_of(text, path)) else source
    if any(name == variable or name.startswith(variable + "__") for name in os.environ) and path:
        where = f"environment: {variable}"
    return f"{where}: {'.'.join(path)}: {reason}" if path else f"{where}: {reason}"


def _line_of(text: str, path: list[str]) -> int | None:
    """The line of a key, or of the nearest table above it; TOML readers keep no positions."""
    table: list[str] = []
    arrays: dict[str, int] = {}
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]+", line)
        if head:
            name = head[2]
            if head[1] == "[[":
                arrays[name] = arrays.get(name, -1) + 1
            table = []
            for part in name.split("."):
                table.append(part.strip().strip("\"'"))
                above = ".".join(one for one in table if not one.isdigit())
                if above in arrays:
                    table.append(str(arrays[above]))
        key = None if head else re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line)
        here = table + ([part.strip("\"'") for part in key[1].split(".")] if key else [])
        depth = 0
        while depth < min(len(here), len(path)) and here[depth] == path[depth]:
            depth += 1
        if depth and depth == len(here) and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None
