"""Tracing policy: one trace from the till's webhook to the ERP's document id. Span names of the steps, in their order."""

INGEST = "hub.ingest"
TRANSLATE = "hub.translate"
RELAY = "hub.relay"
DELIVER = "hub.deliver"
STEP = "hub.step"
REPLAY = "hub.replay"

#: Every step that leaves a span; a test walks one message through all of them.
STEPS = (INGEST, TRANSLATE, RELAY, DELIVER, STEP)
