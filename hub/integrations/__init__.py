"""Integrations as code: YAML files of connections and flows, validated with line numbers, applied as revisions."""
