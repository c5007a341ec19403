"""What maps may call beyond JMESPath's own functions: pure, bounded, exact. Null in, null out, unless said otherwise.

| function | gives |
|---|---|
| `money(minor, currency)` | money of a whole number of minor units |
| `amount(value, currency)` | money of a decimal string or a JSON number; what a double adds below a millionth is dropped |
| `minor(money)` | the whole number of minor units of a money |
| `decimal(x)`, `number(x)`, `text(x)` | the exact decimal text, the JSON number of exactly these digits, the text of a value |
| `round(x, digits)` | the decimal text, halves away from zero; `floor` and `ceil` are JMESPath's |
| `lookup(key, table)` | the table's value; a key that it has not is an error that names it |
| `lookup_or(key, table, default)` | the same with a default |
| `mapped(key, values.NAME)` | a value by a value map of the integration file; one that it has not is its default, or an error |
| `instant(x, zone)` | UTC of a time with an offset, one without (in the IANA zone), epoch seconds or ms, `/Date(ms)/` |
| `day(x, zone)` | the date that instant has in the zone |
| `parsed_time(x, format, zone)` | the instant of a text in a `strptime` format, for example `%m/%d/%Y` |
| `unit(quantity, from, to)` | the quantity in another unit of mass, volume or length |
| `upper(x)`, `lower(x)`, `trim(x)`, `split(x, by)` | text |
| `gtin(x)` | the text if it is a GTIN, else null: shops type anything into a bar code field |
| `base64(x)` | base 64 of a text |
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jmespath import functions

from canonical import money as moneys
from canonical.identifiers import valid_key
from hub.sdk.numbers import Number, number

_ANY: Any = {"types": []}
_STRING: Any = {"types": ["string"]}
#: Below this a difference to a double's nearest amount is the double's, not the shop's.
_DUST = Decimal("0.000001")
_MILLISECONDS_FROM = Decimal(10) ** 11  # epoch seconds reach that in the year 5138
_DOTNET = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: (dimension, how many of the dimension's first unit one is); pound and inch as the 1959 agreement defines them.
_UNITS = {
    **{name: ("mass", Decimal(size)) for name, size in
       {"g": "1", "mg": "0.001", "kg": "1000", "t": "1000000", "lb": "453.59237", "oz": "28.349523125"}.items()},
    **{name: ("volume", Decimal(size)) for name, size in
       {"ml": "1", "cl": "10", "l": "1000", "gal": "3785.411784", "floz": "29.5735295625"}.items()},
    **{name: ("length", Decimal(size)) for name, size in
       {"mm": "1", "cm": "10", "m": "1000", "in": "25.4", "ft": "304.8", "yd": "914.4"}.items()},
}  # fmt: skip


class Functions(functions.Functions):
    """The functions of the table above."""

    @functions.signature(_ANY, _STRING)
    def _func_money(self, minor: Any, currency: str) -> dict[str, str] | None:
        return None if minor is None else moneys.from_minor(int(minor), currency)

    @functions.signature(_ANY, _STRING)
    def _func_amount(self, value: Any, currency: str) -> dict[str, str] | None:
        if value is None:
            return None
        exact = Decimal(str(value))
        nearest = exact.quantize(Decimal(1).scaleb(-moneys.scale(currency)), ROUND_HALF_UP)
        return moneys.money(nearest if abs(nearest - exact) < _DUST else exact, currency)

    @functions.signature(_ANY)
    def _func_minor(self, value: Any) -> int | None:
        return None if value is None else moneys.to_minor(value)

    @functions.signature(_ANY)
    def _func_decimal(self, value: Any) -> str:
        return format(Decimal(str(value)), "f")

    @functions.signature(_ANY, {"types": ["number"]})
    def _func_round(self, value: Any, digits: Any) -> str | None:
        if value is None:
            return None
        return format(Decimal(str(value)).quantize(Decimal(1).scaleb(-int(digits)), ROUND_HALF_UP), "f")

    @functions.signature(_ANY, {"types": ["object"]})
    def _func_lookup(self, key: Any, table: Mapping[str, Any]) -> Any:
        if key is None or str(key) in table:
            return None if key is None else table[str(key)]
        raise ValueError(f"{str(key)[:80]!r} is not in the table ({', '.join(sorted(table)[:20])})")

    @functions.signature(_ANY, {"types": ["object"]}, _ANY)
    def _func_lookup_or(self, key: Any, table: Mapping[str, Any], default: Any) -> Any:
        return table.get(str(key), default)

    @functions.signature(_ANY, {"types": ["object"]})
    def _func_mapped(self, key: Any, values: Mapping[str, Any]) -> Any:
        if key is None:
            return None
        if str(key) in values["map"]:
            return values["map"][str(key)]
        if "default" in values:
            return values["default"]
        raise ValueError(f"values.{values['name']} says nothing of {str(key)[:80]!r}; add it there, or give a default")

    @functions.signature(_ANY, _STRING)
    def _func_instant(self, value: Any, zone: str) -> str | None:
        return None if value is None else _written(_instant(value, zone))

    @functions.signature(_ANY, _STRING)
    def _func_day(self, value: Any, zone: str) -> str | None:
        return None if value is None else _instant(value, zone).astimezone(_zone(zone)).date().isoformat()

    @functions.signature(_ANY, _STRING, _STRING)
    def _func_parsed_time(self, value: Any, form: str, zone: str) -> str | None:
        return None if value is None else _written(_placed(datetime.strptime(str(value), form), zone))  # noqa: DTZ007 - placed

    @functions.signature(_ANY, _STRING, _STRING)
    def _func_unit(self, quantity: Any, given: str, wanted: str) -> str | None:
        if quantity is None:
            return None
        if unknown := [name for name in (given, wanted) if name not in _UNITS]:
            raise ValueError(f"unknown unit {unknown[0]!r}; known: {', '.join(_UNITS)}")
        (dimension, size), (other, into) = _UNITS[given], _UNITS[wanted]
        if dimension != other:
            raise ValueError(f"{given} is a {dimension}, {wanted} a {other}")
        exact = (Decimal(str(quantity)) * size / into).quantize(Decimal("0.000001"), ROUND_HALF_UP)
        return format(exact.normalize() + 0, "f")

    @functions.signature(_ANY)
    def _func_upper(self, value: Any) -> str | None:
        return None if value is None else str(value).upper()

    @functions.signature(_ANY)
    def _func_lower(self, value: Any) -> str | None:
        return None if value is None else str(value).lower()

    @functions.signature(_ANY)
    def _func_trim(self, value: Any) -> str | None:
        return None if value is None else str(value).strip()

    @functions.signature(_ANY, _STRING)
    def _func_split(self, value: Any, by: str) -> list[str] | None:
        return None if value is None else str(value).split(by or None)

    @functions.signature(_STRING)
    def _func_base64(self, value: str) -> str:
        return base64.b64encode(value.encode()).decode()

    @functions.signature(_ANY)
    def _func_text(self, value: Any) -> str | None:
        return None if value is None else str(value)

    @functions.signature(_ANY)
    def _func_number(self, value: Any) -> Number | None:
        return None if value is None else number(value)

    @functions.signature(_ANY)
    def _func_gtin(self, value: Any) -> str | None:
        text = str(value or "").strip()
        return text if len(text) <= 14 and valid_key(text) else None


def _instant(value: Any, zone: str) -> datetime:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        exact = Decimal(str(value))
        return _EPOCH + timedelta(microseconds=int(exact * (1000 if abs(exact) >= _MILLISECONDS_FROM else 1_000_000)))
    if match := _DOTNET.fullmatch(str(value)):
        return _EPOCH + timedelta(milliseconds=int(match[1]))
    return _placed(datetime.fromisoformat(str(value)), zone)


def _placed(found: datetime, zone: str) -> datetime:
    return found.replace(tzinfo=_zone(zone)) if found.tzinfo is None else found


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is no IANA time zone") from None


def _written(found: datetime) -> str:
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
