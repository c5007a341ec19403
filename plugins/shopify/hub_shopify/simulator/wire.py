"""Shopify's wire shapes for the simulator: ids, money, pages, refusals."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from canonical.money import scale

Json = dict[str, Any]


def page(
    found: Any, first: int = 50, after: str | None = None, query: str | None = None, sortKey: str | None = None,  # noqa: N803
    **_: Any,
) -> Json:  # fmt: skip
    """A connection: cursors are opaque, `updated_at:>='…'` is what a query may say."""
    nodes = list(found)
    if query and (match := re.fullmatch(r"updated_at:>='([^']+)'", query)):
        least = datetime.fromisoformat(match[1])
        nodes = [node for node in nodes if datetime.fromisoformat(node["updatedAt"]) >= least]
    if sortKey == "UPDATED_AT":
        nodes.sort(key=lambda node: (node["updatedAt"], node["id"]))
    start = int(after or 0)
    more = start + first < len(nodes)
    end = str(start + len(nodes[start : start + first])) if nodes[start:] else None
    return {"nodes": nodes[start : start + first], "pageInfo": {"hasNextPage": more, "endCursor": end}}


def refusal(code: str, message: str, *field: Any) -> Json:
    """One of a payload's userErrors."""
    return {"code": code, "message": message, "field": [str(part) for part in field]}


def number(gid: str) -> int:
    """The number in a global id."""
    return int(gid.rsplit("/", 1)[-1].partition("?")[0])


def cents(amount: Decimal, currency: str) -> Decimal:
    """Rounded to the minor unit of a currency, halves to even."""
    return amount.quantize(Decimal(1).scaleb(-scale(currency)))


def money(amount: Decimal | str | int, currency: str, abroad: tuple[str, Decimal] | None = None) -> Json:
    """A MoneyBag; Shopify writes 10.00 as "10.0". ``abroad``: the customer's currency, and how much of it one unit is."""
    shown, worth = (abroad[0], cents(Decimal(amount) * abroad[1], abroad[0])) if abroad else (currency, Decimal(amount))
    return {"shopMoney": _written(Decimal(amount), currency), "presentmentMoney": _written(worth, shown)}


def _written(amount: Decimal, currency: str) -> Json:
    text = format(amount.normalize() + 0, "f")
    return {"amount": text if "." in text else f"{text}.0", "currencyCode": currency}


def shop_amount(bag: Json) -> Decimal:
    """A MoneyBag's amount in the shop's currency."""
    return Decimal(bag["shopMoney"]["amount"])


def summed(bags: Sequence[Json]) -> Json:
    """The sum of MoneyBags, each side on its own."""
    sides = {side: sum((Decimal(bag[side]["amount"]) for bag in bags), Decimal(0)) for side in bags[0]}
    return {side: _written(value, bags[0][side]["currencyCode"]) for side, value in sides.items()}
