"""Numbers for targets that take nothing but JSON numbers: exact ones, or none."""

from decimal import Decimal

from hub.sdk.errors import UntranslatableError

#: A decimal of so many digits is the same decimal again after it was a double (IEEE 754).
_DIGITS = 15


class Number(float):
    """A JSON number made by `number`. Calculate with Decimal: what is calculated with this is a plain float."""


def number(value: Decimal | int | str) -> Number:
    """``value`` as a JSON number of exactly its digits. Raises UntranslatableError beyond 15 digits, or for what is none."""
    try:
        exact = Decimal(value)
        found = Number(exact)
    except (ArithmeticError, ValueError, TypeError):
        raise UntranslatableError(f"{value!r} is not a number", code="not_a_number") from None
    if not exact.is_finite() or len(exact.normalize().as_tuple().digits) > _DIGITS or Decimal(repr(float(found))) != exact:
        raise UntranslatableError(f"{value} has more digits than a JSON number carries exactly", code="not_exact")
    return found
