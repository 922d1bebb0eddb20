"""structlog set-up: one line per fact, JSON or console, the same for our code and for the libraries'."""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relay.observe import facts
from relay.observe.lines import Lines, Ordered
from relay.sections import LogSettings

_current_role = ""
#: without the values of local variables, among which keys and mail would be
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_lines: Lines | None = None


def to_standard_error() -> None:
    """Keep a command's lines away from what it prints."""
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(_StandardError()))  # type: ignore[arg-type]


class _StandardError:
    """What standard error is at the moment: who calls commands in a process of theirs changes it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


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
        [_TRACEBACKS, structlog.processors.JSONRenderer(_dumps)]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    lines = _gathering(level) if as_json else None
    stream: Any = Ordered(lines) if lines else sys.stderr
    facts.gather(lines)
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # One write per line: several processes share the stream.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
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


def _gathering(level: int) -> Lines | None:
    """The lines of this process, where it writes any of level info."""
    global _lines
    if _lines is not None:
        _lines.close()
        _lines = None
    if level <= logging.INFO:
        _lines = Lines(_current_role, sys.stderr.fileno())
    return _lines


def _add_role(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Read anew for each line: a forked process inherits loggers that were bound under its parent's name.
    event["role"] = _current_role
    return event


def _dumps(value: Any, **_options: Any) -> str:
    return orjson.dumps(value, default=str).decode()
