"""OpenTelemetry for one hub: a tracer, and trace context as the text that travels in rows and headers.

No global provider: two hubs can live in one test. Spans leave by OTLP when an endpoint is set.
"""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


class _Unrecorded(NonRecordingSpan):
    """A span that nobody will see, unless it fails: its trace context travels on, and costs a twentieth of a span."""

    failed = ""

    def __init__(self, traceparent: str, failing: "Callable[[_Unrecorded, int], None] | None" = None) -> None:
        self.traceparent, self._failing, self._began = traceparent, failing, time.time_ns()

    def get_span_context(self) -> SpanContext:
        _, trace_id, span_id, flags = self.traceparent.split("-")[:4]
        return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Exception):
            self.failed = self.failed or type(error).__name__
        if self.failed and self._failing is not None:
            self._failing(self, self._began)


class Telemetry:
    """Spans of one hub. ``exporter`` overrides OTLP (tests read spans from memory)."""

    def __init__(self, endpoint: str = "", sample_ratio: float = 1.0, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": "crossdock"})
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_ON))
        if exporter is None and endpoint:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._ratio, self._recorded = sample_ratio, exporter is not None
        if exporter is not None:
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
        self._tracer = self._provider.get_tracer("crossdock")

    def start(self, name: str, traceparent: str = "", kind: SpanKind = SpanKind.INTERNAL, **attributes: Any) -> Span:
        """A span below ``traceparent`` ('' starts a trace), for whoever calls its `end`; attribute names use `_` for `.`."""
        if unrecorded := self._unrecorded(traceparent):
            return _Unrecorded(unrecorded)
        return self._real(name, traceparent, kind, attributes)

    def _real(
        self, name: str, traceparent: str, kind: SpanKind, attributes: Mapping[str, Any], began: int | None = None
    ) -> Span:  # fmt: skip
        """What was decided at the trace's beginning holds for all of it; a root that comes here is sampled."""
        context = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        named = {key.replace("_", ".", 1): value for key, value in attributes.items() if value is not None}
        return self._tracer.start_span(name, context=context, kind=kind, attributes=named, start_time=began)

    def _unrecorded(self, traceparent: str) -> str:
        """The trace context of a span that nobody will see, '' if it is recorded."""
        if traceparent:
            return traceparent if not self._recorded or traceparent.endswith("-00") else ""
        sampled = self._ratio >= 1 or random.random() < self._ratio
        if sampled and self._recorded:
            return ""
        return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-{sampled:02x}"

    def span(
        self, name: str, traceparent: str = "", kind: SpanKind = SpanKind.INTERNAL, **attributes: Any
    ) -> AbstractContextManager[Span]:
        """As `start`, ended with the block; an exception marks it failed. One that fails is recorded, whatever was sampled.

        Not made the current span: parents travel as text here, and the context variable costs more than the span.
        """
        unrecorded = self._unrecorded(traceparent)
        if not unrecorded:
            return self._real(name, traceparent, kind, attributes)
        failing = partial(self._record, name, kind, attributes) if self._recorded else None
        return _Unrecorded(unrecorded, failing)

    def _record(self, name: str, kind: SpanKind, attributes: Mapping[str, Any], span: _Unrecorded, began: int) -> None:
        """What was not sampled and has failed, as part of its trace."""
        real = self._real(name, f"{span.traceparent[:-2]}01", kind, attributes, began)
        fail(real, span.failed)
        real.end()

    def flush(self) -> None:
        self._provider.force_flush()

    def close(self) -> None:
        self._provider.shutdown()


def traceparent_of(span: Span) -> str:
    """The W3C traceparent of a span."""
    if isinstance(span, _Unrecorded):
        return span.traceparent
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" if context.is_valid else ""


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits of the trace, '' if there is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def incoming(headers: Mapping[str, str]) -> str:
    """The caller's traceparent if it is well-formed, else ''."""
    context = trace.get_current_span(_PROPAGATOR.extract(dict(headers))).get_span_context()
    return headers["traceparent"] if context.is_valid else ""


def fail(span: Span, message: str) -> None:
    """Mark a span as failed."""
    if isinstance(span, _Unrecorded):
        span.failed = message[:200]
    span.set_status(StatusCode.ERROR, message[:200])


__all__ = ["SpanKind", "Telemetry", "fail", "incoming", "trace_id_of", "traceparent_of"]
