"""Random documents of the language that keep its rules, made from a seed: for properties over many of them.

`CASES_TIMES=100 pytest tests/unit/canonical` multiplies how many are tried (the figures in docs/reference/properties.md).
"""

import os
import random
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from canonical.money import scale
from canonical.v1.parts import LINE_KINDS

TIMES = int(os.environ.get("CASES_TIMES", "1"))
CURRENCIES = ("USD", "EUR", "JPY", "KWD", "CLF")
TENDERS = ("cash", "card", "gift_card", "wallet", "store_credit", "voucher")


def seeds(count: int) -> Iterator[random.Random]:
    """``count`` sources of chance, times CASES_TIMES; the seed is in the traceback's local variables."""
    for seed in range(count * TIMES):
        yield random.Random(seed)


class Maker:
    """Documents in one currency, from one source of chance."""

    def __init__(self, chance: random.Random, currency: str | None = None) -> None:
        self.chance = chance
        self.currency = currency or chance.choice(CURRENCIES)
        self.minor = Decimal(1).scaleb(-scale(self.currency))
        self._number = 0

    def money(self, value: Decimal) -> dict[str, str]:
        return {"amount": f"{value.quantize(self.minor) + 0:f}", "currency": self.currency}

    def amount(self, most: int = 100_000, least: int = 0) -> Decimal:
        return self.chance.randint(least, most) * self.minor

    def rounded(self, value: Decimal) -> Decimal:
        return value.quantize(self.minor, ROUND_HALF_UP)

    def maybe(self, **fields: Any) -> dict[str, Any]:
        """Each of the fields with a chance of a half."""
        return {key: value for key, value in fields.items() if self.chance.random() < 0.5}

    def next(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}-{self._number}"

    def extensions(self) -> dict[str, Any]:
        return self.maybe(extensions={"acme": self.maybe(tier="gold", flags=["a", None, True], deep={"x": {"y": "1.5"}})})

    def line(self, major: int = 1) -> dict[str, Any]:
        chance = self.chance
        quantity = Decimal(chance.randint(1, 9)) if chance.random() < 0.7 else Decimal(chance.randint(1, 9999)) / 1000
        price = self.amount(20_000)
        gross = self.rounded(quantity * price)
        line: dict[str, Any] = {
            "id": self.next("L"), "sku": f"SKU-{chance.randint(1, 20)}", "quantity": f"{quantity.normalize():f}",
            "unit_price": self.money(price), "gross": self.money(gross),
            **self.maybe(description="Something", gtin=chance.choice(("4006381333931", "96385074")), unit="piece",
                         kind=chance.choice(LINE_KINDS), department="Bar", stocked=chance.random() < 0.5,
                         unit_cost=self.money(price)), **self.extensions(),
        }  # fmt: skip
        parts = [self.amount(int(gross / self.minor)) for _ in range(chance.randint(0, 3))]
        parts = [part for part in parts if part <= gross / 4]
        if parts and major == 1:
            line["discount"] = self.money(sum(parts, Decimal(0)))
        elif parts:
            line["discounts"] = [{"amount": self.money(part), **self.maybe(reason="sale", code="X1")} for part in parts]
        base = gross - sum(parts, Decimal(0))
        added = Decimal(0)
        if chance.random() < 0.8:
            rate, included = chance.choice((Decimal("7"), Decimal("19"), Decimal("8.875"))), chance.random() < 0.5
            tax = self.rounded(base * rate / (100 + rate if included else 100))
            added = Decimal(0) if included else tax
            line["taxes"] = [{"name": "VAT", "rate": f"{rate}", "amount": self.money(tax), **self.maybe(category="S"),
                              **self.maybe(base=self.money(base), code="T1", jurisdiction="US-NY"),
                              **({"included": True} if included else self.maybe(included=False))}]  # fmt: skip
        return {**line, "total": self.money(base + added)}

    def transaction(self, lines: list[dict[str, Any]], major: int = 1, prefix: str = "S") -> dict[str, Any]:
        """A sale or return of ``lines``, paid to the minor unit."""
        chance, number = self.chance, self.next(prefix)
        due = sum((Decimal(line["total"]["amount"]) for line in lines), Decimal(0))
        tip = self.amount(500) if prefix == "S" and chance.random() < 0.3 else None
        due += tip or 0
        taxes = [tax for line in lines for tax in line.get("taxes", ())]
        kind, references = ("type", {"reference": number}) if major == 1 else ("method", {})
        cut = self.amount(int(due / self.minor))
        tenders = [{kind: chance.choice(TENDERS), "amount": self.money(part), **self.maybe(**references, payment_id=number),
                    **self.maybe(provider="acquirer", brand="visa", foreign={"amount": "1", "currency": "JPY"})}
                   for part in (cut, due - cut) if part]  # fmt: skip
        change = self.amount(300) if prefix == "S" and tenders and tenders[0][kind] == "cash" else Decimal(0)
        if change:
            tenders[0]["amount"] = self.money(Decimal(tenders[0]["amount"]["amount"]) + change)
        return {
            "id": number, "number": number, "location": {"code": "HARBOUR-ST"}, "occurred_at": "2026-11-21T23:40:00-05:00",
            "business_date": "2026-11-21", "lines": lines,
            "tax": self.money(sum((Decimal(tax["amount"]["amount"]) for tax in taxes), Decimal(0))),
            **({"tip": self.money(tip)} if tip is not None else {}), "total": self.money(due), "tenders": tenders,
            **({"change": self.money(change)} if change else {}),
            **self.maybe(till={"number": "1"}, customer={"id": "C-1", "name": "Ada"}), **self.extensions(),
            **self.maybe(presentment={"amount": "100", "currency": "JPY", "rate": "0.0066"}),
        }  # fmt: skip

    def exchange(self, original: Mapping[str, Any]) -> dict[str, Any]:
        """One line of a sale against another: the customer pays, or gets, the difference in cash."""
        back = original["lines"][0] | {"id": self.next("r"), "original_line_id": original["lines"][0]["id"]}
        sold = [self.line()]
        both = [(sold[0], 1), (back, -1)]
        due = sum((sign * Decimal(line["total"]["amount"]) for line, sign in both), Decimal(0))
        tax = sum(
            (sign * Decimal(item["amount"]["amount"]) for line, sign in both for item in line.get("taxes", ())), Decimal(0)
        )
        rates = {item["rate"] for line, _ in both for item in line.get("taxes", ())}
        by_rate = {rate: sum((sign * Decimal(item["amount"]["amount"]) for line, sign in both for item in line.get("taxes", ())
                              if item["rate"] == rate), Decimal(0)) for rate in rates}  # fmt: skip
        return {
            "taxes": [{"category": "S", "rate": rate, "taxable": self.money(Decimal(0)), "amount": self.money(value)}
                      for rate, value in by_rate.items()],
            "id": self.next("X"), "number": self.next("X"), "location": {"code": "HARBOUR-ST"},
            "occurred_at": "2026-11-21T23:40:00-05:00", "business_date": "2026-11-21", "original": {"id": original["id"]},
            "lines": sold, "returned": [back], "tax": self.money(tax), "total": self.money(due),
            "tenders": [{"type": "cash", "amount": self.money(due)}] if due else [],
        }  # fmt: skip

    def sale(self, major: int = 1) -> dict[str, Any]:
        return self.transaction([self.line(major) for _ in range(self.chance.randint(1, 5))], major)

    def product(self, major: int = 1) -> dict[str, Any]:
        chance, gtins = self.chance, ["4006381333931", "96385074", "4012345000009"]
        same = {
            "id": self.next("P"), "sku": f"SKU-{chance.randint(1, 99)}", "name": "Coffee", "updated_at": "2026-11-20T10:00:00Z",
            **self.maybe(brand="Bay", category="Food/Coffee", unit="kilogram", tax_category="S", tax_rate="7",
                         variant={"product_id": "P", "options": [{"name": "size", "value": "XL"}]}), **self.extensions(),
        }  # fmt: skip
        price = self.money(self.amount())
        if major == 1:
            return same | {"active": chance.random() < 0.5} | self.maybe(gtin=gtins[0], price=price)
        return same | {"status": chance.choice(("active", "draft", "withdrawn"))} | self.maybe(
            gtins=gtins[: chance.randint(1, 3)], price={"amount": price, **self.maybe(tax_included=chance.random() < 0.5)}
        )  # fmt: skip

    def adjustment(self, major: int = 1) -> dict[str, Any]:
        chance = self.chance
        states = chance.sample(("available", "reserved", "damaged", "none"), 2)
        same = {
            "id": self.next("A"), "location": {"code": "WH-1"}, "sku": f"SKU-{chance.randint(1, 9)}", "quantity": "1.5",
            "from_state": states[0], "to_state": states[1], "occurred_at": "2026-11-21T09:00:00-05:00",
            "business_date": "2026-11-21", **self.maybe(lot="L-1"), **self.extensions(),
        }  # fmt: skip
        words = chance.choice(("WASTE", "theft", "because", "damage", "other", "Expired"))
        if major == 1:
            return same | self.maybe(reason=words)
        return same | {"reason": {"code": chance.choice(("damage", "theft", "other", "expiry")), **self.maybe(text=words)}}


def versioned(name: str, chance: random.Random) -> Mapping[str, Any]:
    """A random valid document of a type that has several majors."""
    maker, (entity, _, major) = Maker(chance), name.rpartition(".v")
    made: Mapping[str, Any] = {
        "product": maker.product, "sale.completed": maker.sale, "stock.adjusted": maker.adjustment,
    }[entity](int(major))  # fmt: skip
    return made
