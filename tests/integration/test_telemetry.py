"""Spans leave by OTLP when an endpoint is set."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hub.telemetry import SpanKind, Telemetry, traceparent_of


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
