"""Compare two measures; what the hub knows to be under way or dead-lettered explains a difference, the rest is a divergence."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

Totals = Mapping[str, Decimal]


@dataclass(frozen=True)
class Comparison:
    """One key on both sides. ``explained``: what has not reached the right side and is known to the hub."""

    key: str
    left: Decimal
    right: Decimal
    explained: Decimal

    @property
    def difference(self) -> Decimal:
        """What nobody can explain; zero is what everyone wants."""
        return self.left - self.right - self.explained


def compare(left: Totals, right: Totals, explained: Totals | None = None) -> list[Comparison]:
    """Every key of either side, in order. ``explained`` is the part of left that is not yet right."""
    known = explained or {}
    keys = sorted({*left, *right, *known})
    zero = Decimal(0)
    return [Comparison(key, left.get(key, zero), right.get(key, zero), known.get(key, zero)) for key in keys]


def divergences(rows: list[Comparison]) -> list[Comparison]:
    """Those that differ."""
    return [row for row in rows if row.difference]
