"""A message's life, one file per step: ingest, translate, route, relay, deliver, outcome, replay; lineage tells it."""
