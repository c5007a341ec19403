"""Web pages for people: what happens now, what waits and why, and the lineage of one sale."""
