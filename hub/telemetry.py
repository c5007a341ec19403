"""OpenTelemetry for one hub: a tracer, and trace context as the text that travels in rows and headers.

No global provider: two hubs can live in one test. Spans leave by OTLP when an endpoint is set.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


class Telemetry:
    """Spans of one hub. ``exporter`` overrides OTLP (tests read spans from memory)."""

    def __init__(self, endpoint: str = "", sample_ratio: float = 1.0, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": "crossdock"})
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_ratio)))
        if exporter is None and endpoint:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        if exporter is not None:
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
        self._tracer = self._provider.get_tracer("crossdock")

    @contextmanager
    def span(self, name: str, traceparent: str = "", kind: SpanKind = SpanKind.INTERNAL, **attributes: Any) -> Iterator[Span]:
        """A span below ``traceparent`` ('' starts a trace); attribute names use `_` for `.`; an exception marks it failed."""
        context = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        named = {key.replace("_", ".", 1): value for key, value in attributes.items() if value is not None}
        # Not made the current span: parents travel as text here, and the context variable costs more than the span.
        # Its `with` marks it failed by an exception, and ends it.
        with self._tracer.start_span(name, context=context, kind=kind, attributes=named) as span:
            yield span

    def flush(self) -> None:
        self._provider.force_flush()

    def close(self) -> None:
        self._provider.shutdown()


def traceparent_of(span: Span) -> str:
    """The W3C traceparent of a span."""
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
    span.set_status(StatusCode.ERROR, message[:200])


__all__ = ["SpanKind", "Telemetry", "fail", "incoming", "trace_id_of", "traceparent_of"]
