"""A message's life, one file per step, in this order: ingest, translate, route, relay, deliver, outcome, replay; lineage tells it."""
