"""structlog set-up: one line per fact, JSON or console, the same for our code and for the libraries'."""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relay.config import LogSettings
from relay.observe import facts

_current_role = ""


def configure(settings: LogSettings, *, role: str) -> None:
    """Send every log line of this process to standard error in the configured form, marked with its role."""
    global _current_role
    _current_role = role
    level = getattr(logging, settings.level.upper())
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_role,
    ]
    final: list[Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(_dumps)]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # One write per line: several processes share the stream.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    # aiosmtpd logs every command, credentials included, at INFO.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    facts.show_addresses(settings.addresses == "full")


def _add_role(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Read anew for each line: a forked process inherits loggers that were bound under its parent's name.
    event["role"] = _current_role
    return event


def _dumps(value: Any, **_options: Any) -> str:
    return orjson.dumps(value, default=str).decode()
