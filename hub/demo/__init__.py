"""`hub demo`: a trading day against simulators (or a real Tryton), with trouble, and a closing table."""

from hub.demo.run import run

__all__ = ["run"]
