"""Money: a decimal string and an ISO 4217 code. Arithmetic happens in `decimal.Decimal`, never in floats."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from marshmallow import Schema

from canonical.fields import Amount, Currency

#: Minor units per ISO 4217 where they are not 2 (list one, 2024; the currencies retail uses).
SCALES = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI"), 0),
    **dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}

_ACTIVE = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLF CLP CNY COP CRC
CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD
JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD
NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP
SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
#: Active currencies of ISO 4217 (list one, 2024), without funds, metals and test codes.
CURRENCIES = frozenset(_ACTIVE.split())
#: Largest step to which cash is rounded, in units of the currency, where it is more than 1 (central banks' rules).
CASH_STEPS = {
    "ARS": 10, "CLP": 10, "COP": 100, "CRC": 10, "HUF": 5, "IDR": 1000, "JPY": 10, "KRW": 10, "LBP": 1000, "NGN": 10,
    "PYG": 100, "TZS": 100, "UGX": 100, "VND": 1000,
}  # fmt: skip

MoneyDict = Mapping[str, str]


class MoneySchema(Schema):
    """An amount in a currency. Source: ISO 4217; EN 16931 amounts."""

    amount = Amount(required=True, metadata={"description": "Decimal string, at most the currency's minor units."})
    currency = Currency(required=True, metadata={"description": "ISO 4217 alphabetic code."})


def scale(currency: str) -> int:
    """How many decimal places an amount in ``currency`` may have (0 to 4)."""
    return SCALES.get(currency, 2)


def money(amount: Decimal | str | int, currency: str) -> dict[str, str]:
    """``{"amount", "currency"}`` with the amount written at the currency's scale; raises ValueError if it does not fit."""
    value = Decimal(amount)
    written = value.quantize(Decimal(1).scaleb(-scale(currency)))
    if written != value:
        raise ValueError(f"{amount} has more decimal places than {currency} has minor units ({scale(currency)})")
    return {"amount": format(written + 0, "f"), "currency": currency}  # +0 turns -0.00 into 0.00


def from_minor(minor: int | Decimal, currency: str) -> dict[str, str]:
    """Money from an integer count of minor units, as Square and Stripe write it."""
    if int(minor) != minor:
        raise ValueError(f"minor units are whole numbers, not {minor}")
    return money(Decimal(int(minor)).scaleb(-scale(currency)), currency)


def to_minor(value: MoneyDict) -> int:
    """The integer count of minor units of a money object."""
    return int(Decimal(value["amount"]).scaleb(scale(value["currency"])))


def amount(value: MoneyDict | None) -> Decimal:
    """The Decimal of a money object; an absent one counts as zero."""
    return Decimal(value["amount"]) if value else Decimal(0)


def total(values: Iterable[MoneyDict | None]) -> Decimal:
    """The exact sum of amounts (their currency is the caller's concern; `rules` checks it)."""
    return sum((amount(value) for value in values), Decimal(0))


def cash_step(currency: str) -> int:
    """The largest step to which an amount in ``currency`` is rounded when it is paid in cash, in units of the currency."""
    return CASH_STEPS.get(currency, 1)


def allocate(value: MoneyDict, weights: Sequence[Decimal | int]) -> list[dict[str, str]]:
    """``value`` in parts proportional to ``weights``, to the minor unit: their sum is ``value`` exactly.

    Largest remainder; ties go to the larger weight, then to the first: whatever the order, the same parts. A negative value is
    allocated like its opposite. All weights zero: equal parts.
    Raises ValueError without weights or with a negative one.
    """
    if not weights or any(weight < 0 for weight in weights):
        raise ValueError("weights must be zero or more, and at least one")
    exact = [Fraction(weight) for weight in weights]
    if not (whole := sum(exact)):
        exact, whole = [Fraction(1)] * len(exact), Fraction(len(exact))
    minor = to_minor(value)
    sign, units = (-1, -minor) if minor < 0 else (1, minor)
    shares = [units * weight / whole for weight in exact]
    parts = [int(share) for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda place: (parts[place] - shares[place], -exact[place]))
    for place in by_remainder[: units - sum(parts)]:
        parts[place] += 1
    return [from_minor(sign * part, value["currency"]) for part in parts]


#: Fields whose amounts are not in the document's currency, and custom data.
NO_MONEY = ("extensions", "foreign", "presentment", "settlement")


def each_money(document: Any, pointer: str = "") -> Iterable[tuple[str, MoneyDict]]:
    """Every money object in a document with its JSON pointer; extensions and amounts in a foreign currency are left out."""
    if isinstance(document, dict):
        if document.keys() == {"amount", "currency"}:
            yield pointer, document
            return
        for key, value in document.items():
            if key not in NO_MONEY:
                yield from each_money(value, f"{pointer}/{key}")
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from each_money(item, f"{pointer}/{index}")
