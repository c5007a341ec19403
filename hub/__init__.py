"""Crossdock: the hub between a retailer's tills, stock systems and ERPs. Start at README.md, then `flow/`."""

__version__ = "0.1.0"
