"""Traces by OpenTelemetry: one for each mail, from its acceptance over every try to what is told of it later.

The trace's id is made from the message's, so that a process which takes part in it days later needs nothing but that
id. Spans are written when they are over; nothing of a mail's content is in them. Without the extra `otel`, or without
an endpoint, all of this is one look at a variable.
"""

import threading
import time
from datetime import datetime
from typing import Any

from relay.core.errors import Misconfigured
from relay.sections import TraceSettings

_MASK = (1 << 64) - 1
#: odd constants that spread ids over 64 bits (those of splitmix64)
_ONE, _TWO = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

_writer: "_Writer | None" = None


def _spread(value: int, salt: int) -> int:
    mixed = (value + salt) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * _ONE) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * _TWO) & _MASK
    return mixed ^ (mixed >> 31)


def trace_of(message_id: int) -> int:
    """The id of a message's trace: 128 bits, never zero."""
    return _spread(message_id, 1) << 64 | (_spread(message_id, 2) or 1)


def _root_of(message_id: int) -> int:
    return _spread(message_id, 3) or 1


class _Ids:
    """Ids for spans: those that were asked for beforehand, else random ones."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        self._random = RandomIdGenerator()
        self.next: tuple[int, int] | None = None

    def generate_span_id(self) -> int:
        return self.next[1] if self.next else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        return self.next[0] if self.next else self._random.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return False


class _Writer:
    def __init__(self, settings: TraceSettings, role: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        self._ids = _Ids()
        self._lock = threading.Lock()
        resource = Resource.create({"service.name": settings.service, "service.instance.id": role})
        self._provider: TracerProvider = TracerProvider(
            resource=resource,
            sampler=ALWAYS_ON,
            id_generator=self._ids,  # type: ignore[arg-type]
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("pillarbox")
        self._bound = int(settings.ratio * _MASK)

    def traces(self, message_id: int) -> bool:
        """The same answer in every process."""
        return trace_of(message_id) & _MASK <= self._bound

    def root(self, name: str, message_id: int, started: int, ended: int, fields: dict[str, Any]) -> None:
        from opentelemetry.context import Context

        with self._lock:
            self._ids.next = trace_of(message_id), _root_of(message_id)
            try:
                span = self._tracer.start_span(name, Context(), start_time=started, attributes=fields)
            finally:
                self._ids.next = None
        span.end(ended)

    def child(
        self,
        name: str,
        message_id: int,
        started: int,
        ended: int,
        fields: dict[str, Any],
        *,
        failed: str | None,
    ) -> None:
        from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
        from opentelemetry.trace.propagation import set_span_in_context

        above = SpanContext(trace_of(message_id), _root_of(message_id), True, TraceFlags(TraceFlags.SAMPLED))
        span = self._tracer.start_span(
            name, set_span_in_context(NonRecordingSpan(above)), start_time=started, attributes=fields
        )
        if failed is not None:
            span.set_status(Status(StatusCode.ERROR, failed))
        span.end(ended)

    def close(self) -> None:
        self._provider.shutdown()


def configure(settings: TraceSettings, role: str) -> None:
    """Begin to write traces where the settings say where to. Raises `Misconfigured` when the library is missing."""
    global _writer
    if not settings.endpoint or settings.ratio == 0:
        return
    try:
        _writer = _Writer(settings, role)
    except ModuleNotFoundError:
        raise Misconfigured(
            "traces.endpoint: traces need OpenTelemetry: pip install 'pillarbox[otel]'"
        ) from None


def close() -> None:
    """Send what is waiting."""
    global _writer
    if _writer is not None:
        _writer.close()
        _writer = None


def accepted(message_id: int, seconds: float, fields: dict[str, Any]) -> None:
    """A door has stored a mail, which took so many seconds."""
    if _writer is not None and _writer.traces(message_id):
        ended = time.time_ns()
        _writer.root("accept", message_id, ended - int(seconds * 1e9), ended, fields)


def tried(message_id: int, seconds: float, fields: dict[str, Any], *, failed: str | None) -> None:
    """A provider was asked to take a mail, which took so many seconds; `failed` has its words where it did not."""
    if _writer is not None and _writer.traces(message_id):
        ended = time.time_ns()
        _writer.child("send", message_id, ended - int(seconds * 1e9), ended, fields, failed=failed)


def told(message_id: int, kind: str, at: datetime, fields: dict[str, Any]) -> None:
    """What became of a mail, at the time at which it did."""
    if _writer is not None and _writer.traces(message_id):
        moment = int(at.timestamp() * 1e9)
        _writer.child(kind, message_id, moment, moment, fields, failed=None)


def on() -> bool:
    """Whether anything is written at all."""
    return _writer is not None
