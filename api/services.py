"""What the routes work with. One set per process, made by `api.main.build`."""

from dataclasses import dataclass

from api.auth import Gate
from api.idempotency import Once
from api.nomsa.bodies import Bodies
from relay.config import Settings
from relay.intake import Intake
from relay.queue import Queue
from relay.ratelimit import RateLimiter
from relay.sections import ApiSettings
from relay.store.database import Database


@dataclass(frozen=True, slots=True)
class Services:
    settings: ApiSettings
    #: all that this process was started with
    installation: Settings
    database: Database
    queue: Queue
    intake: Intake
    gate: Gate
    once: Once
    limiter: RateLimiter
    bodies: Bodies
    #: how this installation names itself in the mail it takes
    hostname: str
    #: the names of the providers that a mail may ask for
    providers: frozenset[str]
