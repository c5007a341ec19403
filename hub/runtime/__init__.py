"""Runs connectors: performs the requests they describe. The only room that makes outbound HTTP calls."""
