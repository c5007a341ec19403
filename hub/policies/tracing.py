"""Tracing policy: one trace from the till's webhook to the ERP's document id. Span names of the steps, in their order."""

INGEST = "hub.ingest"
TRANSLATE = "hub.translate"
ROUTE = "hub.route"
RELAY = "hub.relay"
DELIVER = "hub.deliver"
STEP = "hub.step"
OUTCOME = "hub.outcome"
REPLAY = "hub.replay"

#: Every step that leaves a span; a test walks one message through all of them.
STEPS = (INGEST, TRANSLATE, ROUTE, RELAY, DELIVER, STEP, OUTCOME)
