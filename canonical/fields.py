"""The field types of the canonical language.

A document is plain JSON: loading checks it and changes nothing, so the value that was received is the value that is
kept. Each field states its JSON Schema beside its marshmallow check; `tests/unit/canonical` holds both to one verdict.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from marshmallow import ValidationError, fields


def amount_pattern(places: int) -> str:
    """A decimal amount with at most so many decimals."""
    return r"-?(0|[1-9][0-9]{0,14})" + (rf"(\.[0-9]{{1,{places}}})?" if places else "")


_AMOUNT = amount_pattern(4)
_QUANTITY = r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,5})?"
_PERCENT = r"(0|[1-9][0-9]{0,2})(\.[0-9]{1,6})?"
_DATE = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIMESTAMP = _DATE + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"


#: Characters that no store keeps in a text: NUL, and half of a surrogate pair.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class CanonicalField(fields.Field[Any]):
    """A field whose loaded value is the JSON value itself and which knows its JSON Schema."""

    def json_schema(self) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} does not state its JSON Schema")


class Text(CanonicalField):
    """A string of ``min_length`` to ``max_length`` characters, optionally one of ``choices`` or matching ``pattern``."""

    def __init__(
        self,
        max_length: int = 255,
        min_length: int = 1,
        pattern: str | None = None,
        choices: tuple[str, ...] = (),
        meaning: str = "text",
        people: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_length, self.min_length, self.pattern, self.choices = max_length, min_length, pattern, choices
        self.meaning = meaning
        #: Text for people: a connector's is cut and cleaned instead of refused. It has no part in the JSON Schema.
        self.people = people

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            hint = "; write numbers that carry money or quantity as strings" if isinstance(value, int | float) else ""
            raise ValidationError(f"must be a string ({self.meaning}), not {_json_type(value)}{hint}")
        if not self.min_length <= len(value) <= self.max_length:
            raise ValidationError(f"must have {self.min_length} to {self.max_length} characters, has {len(value)}")
        if self.choices and value not in self.choices:
            raise ValidationError(f"must be one of {', '.join(self.choices)}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValidationError(f"{value[:40]!r} is not a valid {self.meaning}")
        return value

    def json_schema(self) -> dict[str, Any]:
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        schema: dict[str, Any] = {"type": "string", "minLength": self.min_length, "maxLength": self.max_length}
        if self.pattern:
            schema["pattern"] = f"^({self.pattern})$"
        return schema


class Amount(Text):
    """An amount of money as a decimal string, e.g. ``"12.50"``: at most 15 digits and 4 decimals, never a JSON number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=21, pattern=_AMOUNT, meaning='decimal amount such as "12.50"', **kwargs)


class Quantity(Text):
    """A quantity as a decimal string, e.g. ``"2"`` or ``"0.355"``: at most 12 digits and 5 decimals."""

    def __init__(self, signed: bool = False, zero: bool = False, **kwargs: Any) -> None:
        pattern = _QUANTITY if signed else _QUANTITY.removeprefix("-?")
        if not zero:
            pattern = rf"(?!-?0(\.0+)?$)({pattern})"
        super().__init__(max_length=19, pattern=pattern, meaning='quantity such as "2" or "0.355"', **kwargs)


class Count(Text):
    """A whole number from 0 to 999,999,999 as a decimal string, e.g. ``"12"``: no number of the language is a JSON number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=9, pattern="0|[1-9][0-9]{0,8}", meaning='whole number such as "12"', **kwargs)


class Rate(Text):
    """A factor as a decimal string, e.g. an exchange rate ``"1.0842"``: up to 9 digits and 12 decimals, more than zero."""

    def __init__(self, **kwargs: Any) -> None:
        pattern = r"(?!0(\.0+)?$)(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?"
        super().__init__(max_length=22, pattern=pattern, meaning='rate such as "1.0842"', **kwargs)


class Percent(Text):
    """A rate in percent as a decimal string, e.g. ``"8.875"``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=10, pattern=_PERCENT, meaning='percentage such as "8.875"', **kwargs)


class Currency(Text):
    """An ISO 4217 alphabetic code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=3, min_length=3, pattern="[A-Z]{3}", meaning="ISO 4217 currency code", **kwargs)


class Timestamp(Text):
    """An instant with its offset (RFC 3339), e.g. ``"2026-11-21T23:40:00+01:00"``. A local time alone is refused."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=40, pattern=_TIMESTAMP, meaning="RFC 3339 timestamp with an offset", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        _check_calendar(text[:10])
        return text

    def json_schema(self) -> dict[str, Any]:
        return super().json_schema() | {"format": "date-time"}


class BusinessDate(Text):
    """The trading day a fact is booked on (ARTS BusinessDayDate), ``YYYY-MM-DD``; not the calendar day of the event."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=10, pattern=_DATE, meaning="date (YYYY-MM-DD)", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        _check_calendar(text)
        return text

    def json_schema(self) -> dict[str, Any]:
        return super().json_schema() | {"format": "date"}


class Flag(CanonicalField):
    """A JSON boolean; ``1`` and ``"true"`` are refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError(f"must be true or false, not {_json_type(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


#: Depth to which an extension's value may nest. Deeper data belongs in a document of its own.
EXTENSION_DEPTH = 4
_NAMESPACE = "[a-z][a-z0-9_.-]{0,63}"


class Extensions(CanonicalField):
    """Namespaced custom fields: ``{"acme": {"loyalty_tier": "gold"}}``. Numbers are written as strings: no float crosses."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError(f"must be an object of namespaces, not {_json_type(value)}")
        for namespace, content in value.items():
            if not re.fullmatch(_NAMESPACE, namespace):
                raise ValidationError(f"namespace {namespace[:40]!r} must match {_NAMESPACE}")
            if not isinstance(content, dict):
                raise ValidationError(f"namespace {namespace!r} must hold an object, not {_json_type(content)}")
            _check_extension(content, EXTENSION_DEPTH)
        return value

    def json_schema(self) -> dict[str, Any]:
        level: dict[str, Any] = {"type": ["string", "boolean", "null"]}
        for _ in range(EXTENSION_DEPTH - 1):
            level = {
                "anyOf": [
                    {"type": ["string", "boolean", "null"]},
                    {"type": "array", "items": level},
                    {"type": "object", "additionalProperties": level},
                ]
            }
        namespace = {"type": "object", "additionalProperties": level}
        return {"type": "object", "patternProperties": {f"^({_NAMESPACE})$": namespace}, "additionalProperties": False}


def _check_extension(value: Any, depth: int) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int | float):
        raise ValidationError('numbers in extensions are written as strings, e.g. "12.5"')
    if depth <= 0 or not isinstance(value, dict | list):
        raise ValidationError(f"extensions nest at most {EXTENSION_DEPTH} levels")
    for item in value.values() if isinstance(value, dict) else value:
        _check_extension(item, depth - 1)


def _check_calendar(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValidationError(f"{text!r} is not a day of the calendar") from None


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def parse_timestamp(text: str) -> datetime:
    """The aware datetime of a `Timestamp` value."""
    return datetime.fromisoformat(text)
