"""Spans leave by OTLP when an endpoint is set."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hub.telemetry import SpanKind, Telemetry, fail, trace_id_of, traceparent_of


def test_spans_reach_the_otlp_endpoint_with_their_parents() -> None:
    received: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            received.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    telemetry = Telemetry(f"http://127.0.0.1:{server.server_address[1]}")
    with telemetry.span("hub.ingest", "", SpanKind.SERVER, hub_tenant="acme") as outer:
        parent = traceparent_of(outer)
    with telemetry.span("hub.deliver", parent, SpanKind.CONSUMER):
        pass
    telemetry.flush()
    telemetry.close()
    server.shutdown()
    server.server_close()
    thread.join(5)

    spans = {s.name: s for r in received for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans}
    assert spans["hub.deliver"].parent_span_id == spans["hub.ingest"].span_id
    assert spans["hub.deliver"].trace_id == spans["hub.ingest"].trace_id
    assert {a.key: a.value.string_value for a in spans["hub.ingest"].attributes} == {"hub.tenant": "acme"}


def test_what_fails_is_recorded_in_its_trace_whatever_is_sampled() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry("", 0.0, exporter)
    with telemetry.span("hub.ingest") as root:
        parent = traceparent_of(root)
    with pytest.raises(ValueError, match="no such SKU"), telemetry.span("hub.deliver", parent, hub_delivery="d"):
        raise ValueError("no such SKU")
    with telemetry.span("hub.step", parent, SpanKind.CLIENT) as step:
        fail(step, "refused")
    with telemetry.span("hub.outcome", parent):
        pass
    telemetry.flush()

    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"hub.deliver", "hub.step"}, "what went well was not sampled"
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {trace_id_of(parent)}
    assert (spans["hub.deliver"].status.description, spans["hub.step"].status.description) == ("ValueError", "refused")
    assert spans["hub.deliver"].attributes == {"hub.delivery": "d"}
    assert spans["hub.step"].start_time < spans["hub.step"].end_time  # type: ignore[operator]
    telemetry.close()
