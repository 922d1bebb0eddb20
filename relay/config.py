"""Settings: one typed tree from `pillarbox.toml` and the environment, refused as a whole when a part is wrong.

Every value can be given by the environment as `PILLARBOX_<SECTION>__<NAME>`, which wins over the file. A secret
may be written as `env:NAME` or `file:/path` wherever a provider option is expected; settings print without them.
"""

import os
import re
import socket
import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    IPvAnyNetwork,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from relay.core.address import parse_mailbox
from relay.core.errors import Misconfigured
from relay.core.filetype import TYPES
from relay.core.retry import Schedule
from relay.core.routes import parse as parse_route
from relay.core.routes import uses
from relay.sections import LIMITS, Faults, ProviderLimits, RoutesSettings, Section

PREFIX = "PILLARBOX_"
DEFAULT_FILE = "pillarbox.toml"

Network = IPv4Network | IPv6Network
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]
ProviderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]

MIB = 1024 * 1024


def _mailbox(text: str) -> str:
    parse_mailbox(text)
    return text


class DatabaseSettings(Section):
    """Where the record is kept."""

    #: `sqlite:///path` or `postgresql://user:password@host/name`; empty means SQLite in the data directory
    url: SecretStr = SecretStr("")
    #: connections per process on PostgreSQL
    pool_size: int = Field(default=10, ge=1)


class QueueSettings(Section):
    """Where wake-ups go. Losing them costs seconds, never mail."""

    #: `redis://`, `rediss://`, `valkey://` or `unix://`; empty means the embedded server of `pillarbox up`
    url: SecretStr = SecretStr("")
    namespace: str = "pillarbox"


class ListenerSettings(Section):
    """One address on which the SMTP door listens."""

    host: str = "127.0.0.1"
    port: Port = 2525
    #: `starttls` needs a certificate to offer it; `implicit` is TLS from the first byte
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    certificate: Path | None = None
    key: Path | None = None
    #: clients that may use AUTH without TLS
    plain_auth_from: tuple[IPvAnyNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    #: clients that are served here; empty means all
    allow_from: tuple[IPvAnyNetwork, ...] = ()
    #: the account that clients in `allow_from` send for without AUTH, for devices that cannot log in
    account: str = ""
    #: load balancers that connect here and speak the PROXY protocol, version 1 or 2; empty means nobody does
    proxy_from: tuple[IPvAnyNetwork, ...] = ()
    #: connections of this listener at one time in one process; 0 means that only `smtp.max_connections` counts
    max_connections: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "ListenerSettings":
        if self.tls == "implicit" and not (self.certificate and self.key):
            raise ValueError('tls = "implicit" needs certificate and key')
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together")
        if self.account and not self.allow_from:
            raise ValueError("account needs allow_from: whoever connects from there sends in its name")
        if self.account and any(network.prefixlen == 0 for network in self.allow_from):
            raise ValueError("account with an allow_from of the whole internet would be an open relay")
        if self.proxy_from and self.tls == "implicit":
            raise ValueError('proxy_from needs tls = "starttls" or "none": the PROXY header comes before TLS')
        return self


class SmtpSettings(Section):
    """The SMTP door."""

    listeners: tuple[ListenerSettings, ...] = (ListenerSettings(),)
    #: how the door names itself; empty means this host's name
    hostname: str = ""
    max_size: Bytes = 25 * MIB  #: octets of one mail
    max_recipients: int = Field(default=100, ge=1)
    #: octets of one mail kept in memory; what is larger goes to a temporary file
    spool_memory: Bytes = 256 * 1024
    max_header: Bytes = 256 * 1024  #: octets of one header block
    max_hops: int = Field(default=50, ge=1)  #: Received fields before a mail counts as looping
    command_timeout: Seconds = 300
    data_timeout: Seconds = 120  #: without a single octet arriving
    #: octets per second below which an upload is cut, on average and once it has lasted `data_timeout`
    min_data_rate: int = Field(default=100, ge=0)
    #: connections at one time in one process: in all, of one address, and of one account (0: any number)
    max_connections: int = Field(default=1000, ge=1)
    max_connections_per_address: int = Field(default=200, ge=0)
    max_connections_per_account: int = Field(default=500, ge=0)
    max_errors: int = Field(
        default=10, ge=1
    )  #: refusals before a client is cut off; 20 times that after AUTH
    max_idle_commands: int = Field(default=100, ge=1)  #: such as NOOP and RSET, between two mails
    max_transactions: int = Field(default=10_000, ge=1)  #: mails over one connection
    auth_delay: float = Field(default=0.5, ge=0, le=10)  #: seconds before a failed login is answered, growing
    #: failed logins before an address, or a user name, is locked, and for how many seconds
    max_auth_failures: int = Field(default=20, ge=1)
    auth_lock: Seconds = 900
    #: seconds the process may lag behind its work before new clients are asked to come back later
    max_lag: Seconds = 5
    processes: int = Field(default=1, ge=1, le=64)

    @property
    def name(self) -> str:
        return self.hostname or socket.gethostname() or "localhost"


class AttachmentSettings(Section):
    """What may be attached to mail that comes by REST."""

    max_count: int = Field(default=0, ge=0)  #: files of one mail; 0 means any number
    max_file: int = Field(default=0, ge=0)  #: octets of one file; 0 means that only the total counts
    max_total: Bytes = 10 * MIB  #: octets of all files of one mail
    #: extensions in lower case; contents that are recognisably of another type are refused all the same
    types: tuple[str, ...] = TYPES
    #: refuse files in mail that goes out under the default sender
    need_own_sender: bool = False


class ApiSettings(Section):
    """The REST door."""

    host: str = "127.0.0.1"
    port: Port = 8080
    #: octets of one request; a body beyond it is answered 413 before it is read
    max_request: Bytes = 16 * MIB
    max_body: Bytes = MIB  #: octets of the contract's `body` field
    #: the sender of mail that names none, for accounts without an address of their own; any account may use it
    default_from: Annotated[str, AfterValidator(_mailbox)] = "Pillarbox <noreply@localhost>"
    #: octets of one request kept in memory; what is larger goes to a temporary file
    spool_memory: Bytes = 64 * 1024
    attachments: AttachmentSettings = AttachmentSettings()
    processes: int = Field(default=1, ge=1, le=64)


class LimitSettings(Section):
    """How much an account may do. Counted in the queue server, for all processes together."""

    #: requests to send per second and account; 0 means any number. A key may have a limit of its own.
    sends_per_second: int = Field(default=10, ge=0)


class LogSettings(Section):
    """What the processes say on standard error."""

    format: Literal["auto", "json", "console"] = "auto"  #: auto: console on a terminal, else JSON
    level: Literal["debug", "info", "warning", "error"] = "info"
    addresses: Literal["masked", "full"] = "masked"


class DkimSettings(Section):
    """A key with which mail from a domain and its subdomains is signed."""

    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    selector: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    key_file: Path  #: PEM, unencrypted: RSA of 2048 bits or more, or Ed25519


class RetrySettings(Section):
    """When deferred mail is tried again; see `relay.core.retry`."""

    delays: tuple[Seconds, ...] = tuple(Schedule().delays)
    give_up_after: Seconds = Schedule().give_up_after
    jitter: float = Field(default=Schedule().jitter, ge=0, lt=1)

    def schedule(self) -> Schedule:
        return Schedule(self.delays, self.give_up_after, self.jitter)


class DeliverySettings(Section):
    """The workers."""

    processes: int = Field(default=1, ge=1, le=64)
    #: mails in flight in one worker process
    concurrency: int = Field(default=256, ge=1)
    #: of these, kept free for the urgent lane
    urgent_reserve: int = Field(default=32, ge=0)
    #: octets of mail bodies in memory in one worker process
    memory: Bytes = 256 * MIB
    #: seconds after which a silent worker's mail is given to another
    lease: Seconds = 30
    #: crashes of a worker with the same mail in hand before that mail is taken out of the queue
    poison_after: int = Field(default=3, ge=1)
    retry: RetrySettings = RetrySettings()
    #: what an unclear outcome means: try again (a double is possible) or leave it to a human
    ambiguous: Literal["at_least_once", "at_most_once"] = "at_least_once"


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

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


def redacted(options: dict[str, Any]) -> dict[str, Any]:
    """A provider's options as they may be shown: references as written, other values of secret keys hidden."""
    return {key: _shown(key, value) for key, value in options.items()}


_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return redacted(value)
    if _SECRET.search(key) and not str(value).startswith(("env:", "file:")):
        return "********"
    return value


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
