"""Shapes that the mappings share: ids, amounts in both currencies of an order, lines, taxes, tenders."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from canonical.money import allocate, amount, money, total

JSON = Mapping[str, Any]
Json = dict[str, Any]
#: The side of a MoneyBag in which an order adds up.
Measure = Callable[[JSON | None], Decimal]

#: Codes of lines without an article.
DELIVERY, DUTY, FEE = "DELIVERY", "DUTY", "FEE"
#: Shopify's gateways → canonical tenders; others are `other` (the setting `gateways` names more).
TENDERS = {
    "cash": "cash", "gift_card": "gift_card", "shopify_payments": "card", "bogus": "card", "external_credit": "card",
    "external_debit": "card", "shopify_store_credit": "store_credit", "store_credit": "store_credit",
    "shopify_installments": "pay_later", "shop_pay_installments": "pay_later", "klarna": "pay_later", "affirm": "pay_later",
    "afterpay": "pay_later", "clearpay": "pay_later", "sezzle": "pay_later", "paypal": "wallet", "paypal_express": "wallet",
    "amazon_payments": "wallet", "apple_pay": "wallet", "google_pay": "wallet", "shop_cash": "wallet",
    "bank_deposit": "bank_transfer", "bank_transfer": "bank_transfer", "money_order": "check", "check": "check",
    "cash_on_delivery": "cash", "cash_on_delivery_cod": "cash", "cod": "cash", "manual": "other",
}  # fmt: skip
#: Gateways that are no processor of their own.
_NO_PROVIDER = ("cash", "gift_card", "manual")


class UnsoundError(Exception):
    """One document does not add up, or cannot be known; its siblings can be told."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def tail(gid: str) -> str:
    """`gid://shopify/Order/123` → `123`, without parameters."""
    return gid.rsplit("/", 1)[-1].partition("?")[0]


def figure(value: Decimal) -> str:
    """An amount for a person, with two decimal places or more."""
    rounded = round(value, 2)
    return format(rounded if rounded == value else value, "f")


def in_shop(bag: JSON | None) -> Decimal:
    """A MoneyBag's amount in the shop's currency; nothing is zero."""
    return Decimal(str(bag["shopMoney"]["amount"])) if bag else Decimal(0)


def presented(bag: JSON | None) -> Decimal:
    """A MoneyBag's amount in the customer's currency; nothing is zero."""
    return Decimal(str((bag.get("presentmentMoney") or bag["shopMoney"])["amount"])) if bag else Decimal(0)


def is_foreign(order: JSON) -> bool:
    """Whether the customer pays in another currency than the shop's."""
    return bool(order["presentmentCurrencyCode"] != order["currencyCode"])


def measure_of(order: JSON) -> Measure:
    """The side in which an order's amounts add up: Shopify converts each amount of a foreign order on its own."""
    return presented if is_foreign(order) else in_shop


def happened(transaction: JSON, order: JSON) -> str:
    """Time of a transaction; one that is not processed yet has its order's."""
    return str(transaction["processedAt"] or order["processedAt"])


def by_time(transaction: JSON, order: JSON) -> tuple[datetime, bool, int]:
    """Sort key of transactions: change follows the cash that it is given back from."""
    return (datetime.fromisoformat(happened(transaction, order)), transaction["kind"] == "CHANGE", int(tail(transaction["id"])))


def sums(lines: Sequence[JSON], fees: Sequence[JSON] = ()) -> Json:
    """Discount and tax of lines together, less those of ``fees``."""
    if not lines and not fees:
        raise UnsoundError("no_lines", "there is no line to tell")
    currency = (lines or fees)[0]["total"]["currency"]
    return {
        "discount": money(total(line["discount"] for line in lines) - total(line["discount"] for line in fees), currency),
        "tax": money(tax_of(lines) - tax_of(fees), currency),
    }  # fmt: skip


def tax_of(lines: Sequence[JSON]) -> Decimal:
    """Taxes of lines together."""
    return total(tax["amount"] for line in lines for tax in line["taxes"])


def tax_entry(tax: JSON, share: JSON, order: JSON) -> Json:
    """One named tax with its ``share`` of the amount."""
    percent = tax.get("ratePercentage")
    rate = Decimal(str(percent)) if percent is not None else Decimal(str(tax.get("rate") or 0)) * 100
    written = format(round(rate, 6).normalize() + 0, "f")
    included = {"included": True} if order["taxesIncluded"] else {}
    return {"name": tax["title"] or "Tax", "rate": written, "amount": dict(share), **included}


def taxes_of(declared: Sequence[JSON], order: JSON) -> list[Json]:
    """Taxes as they are declared."""
    return [tax_entry(tax, money(in_shop(tax["priceSet"]), order["currencyCode"]), order) for tax in declared]


def tax_shares(whole: Decimal, declared: Sequence[JSON], order: JSON) -> list[Json]:
    """Part of a line's tax, by the taxes that the line declares."""
    named = declared or ([{"title": "Tax", "ratePercentage": "0"}] if whole else [])
    if not named:
        return []
    shares = allocate(money(whole, order["currencyCode"]), [in_shop(entry.get("priceSet")) for entry in named])
    return [tax_entry(entry, share, order) for entry, share in zip(named, shares, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A part of an order's total beyond its line items: delivery, a duty, a fee."""

    kind: str
    sku: str
    id: str
    name: str
    price: JSON
    tax_lines: Sequence[JSON]

    def worth(self, measure: Measure, order: JSON) -> Decimal:
        """Its price with added taxes."""
        return measure(self.price) + _added(self.tax_lines, measure, order)

    def line(self, order: JSON) -> Json:
        """The canonical line."""
        price = in_shop(self.price)
        taxes = taxes_of(self.tax_lines, order)
        return amount_line(self.kind, self.sku, self.id, self.name, price, taxes, order)


def amount_line(
    kind: str, sku: str, identity: str, name: str, price: Decimal, taxes: list[Json], order: JSON
) -> Json:  # fmt: skip
    """A line of one piece at ``price``."""
    currency, written = order["currencyCode"], money(price, order["currencyCode"])
    added = Decimal(0) if order["taxesIncluded"] else total(tax["amount"] for tax in taxes)
    return {
        "id": identity, "sku": sku, "kind": kind, "description": name or sku, "quantity": "1", "unit_price": written,
        "gross": written, "discount": money(Decimal(0), currency), "taxes": taxes, "total": money(price + added, currency),
    }  # fmt: skip


def _added(tax_lines: Sequence[JSON], measure: Measure, order: JSON) -> Decimal:
    if order["taxesIncluded"]:
        return Decimal(0)
    return sum((measure(tax["priceSet"]) for tax in tax_lines), Decimal(0))


def charges(order: JSON, has_removed: bool = True) -> Iterator[Charge]:
    """Delivery, duties and fees of an order as it was made; without ``has_removed`` delivery as it is now."""
    for place, line in enumerate(order["shippingLines"]["nodes"]):
        if in_shop(line["discountedPriceSet"]) and (has_removed or not line["isRemoved"]):
            yield Charge(kind="delivery", sku=DELIVERY, id=delivery_id(line, place), name=line["title"],
                         price=line["discountedPriceSet"], tax_lines=line["taxLines"])  # fmt: skip
    duties = [duty for line in order["lineItems"]["nodes"] for duty in line["duties"]]
    if not order["dutiesIncluded"]:
        for duty in duties:
            yield Charge(kind="duty", sku=DUTY, id=f"duty:{tail(duty['id'])}", name="Duty", price=duty["price"],
                         tax_lines=duty["taxLines"])  # fmt: skip
        if not duties and in_shop(order["originalTotalDutiesSet"]):
            yield Charge(kind="duty", sku=DUTY, id="duties", name="Duties", price=order["originalTotalDutiesSet"], tax_lines=())
    for fee in order["additionalFees"]:
        yield Charge(kind="fee", sku=FEE, id=f"fee:{tail(fee['id'])}", name=fee["name"], price=fee["price"],
                     tax_lines=fee["taxLines"])  # fmt: skip


def delivery_id(shipping_line: JSON, place: int) -> str:
    """Line id of a delivery line."""
    return f"delivery:{tail(shipping_line['id'])}" if shipping_line["id"] else f"delivery:{place}"


def item_worth(line: JSON, measure: Measure, order: JSON) -> Decimal:
    """A line item at the quantity that was ordered, after discounts, with added taxes."""
    off = sum((measure(item["allocatedAmountSet"]) for item in line["discountAllocations"]), Decimal(0))
    price = measure(line["originalUnitPriceSet"]) * int(line["quantity"])
    return price - off + _added(line["taxLines"], measure, order)


def tracked(line: JSON) -> bool:
    """Whether Shopify keeps stock of a line's article, as far as it still knows the article."""
    item = (line["variant"] or {}).get("inventoryItem") or {}
    return item.get("tracked") is not False


def kind_of(line: JSON) -> str:
    """Kind of a line item: an article, a gift card, or a sum typed in without an article."""
    if line["isGiftCard"]:
        return "gift_card"
    return "goods" if line["sku"] or line["variant"] else "amount"


@dataclass(frozen=True)
class Articles:
    """Names articles and tenders by a connection's settings."""

    settings: JSON

    def sku(self, line: JSON) -> str:
        """SKU of a line item; a variant without one goes by its id, as its product does."""
        return str(line["sku"] or (tail(line["variant"]["id"]) if line["variant"] else self.settings["custom_line_sku"]))

    def named(self, line: JSON) -> Json:
        """Article and kind of a line item."""
        kind = kind_of(line)
        return {
            "sku": self.sku(line), "description": line["name"], **({"kind": kind} if kind != "goods" else {}),
            **({"gift_card_id": tail(line["id"])} if kind == "gift_card" else {}),
            **({"stocked": False} if kind == "goods" and not tracked(line) else {}),
        }  # fmt: skip

    def line(self, line: JSON, order: JSON, quantity: int) -> Json:
        """A line at ``quantity`` of its ordered quantity: discounts and taxes in proportion."""
        currency, weights = order["currencyCode"], [quantity, line["quantity"] - quantity]
        unit = in_shop(line["originalUnitPriceSet"])
        off = sum((in_shop(item["allocatedAmountSet"]) for item in line["discountAllocations"]), Decimal(0))
        discount = amount(allocate(money(off, currency), weights)[0])
        taxes = [tax_entry(tax, allocate(money(in_shop(tax["priceSet"]), currency), weights)[0], order)
                 for tax in line["taxLines"]]  # fmt: skip
        added = Decimal(0) if order["taxesIncluded"] else total(tax["amount"] for tax in taxes)
        return {
            "id": tail(line["id"]), **self.named(line), "quantity": str(quantity), "unit_price": money(unit, currency),
            "gross": money(unit * quantity, currency), "discount": money(discount, currency), "taxes": taxes,
            "total": money(unit * quantity - discount + added, currency),
        }  # fmt: skip

    def gateway(self, transaction: JSON) -> tuple[str, str]:
        """(tender type, provider) of a transaction's gateway."""
        name = re.sub("[^a-z0-9]+", "_", str(transaction["gateway"] or "").lower()).strip("_")
        named = {str(key).lower(): value for key, value in self.settings["gateways"].items()}
        kind = str(named.get(name) or named.get(str(transaction["gateway"]).lower()) or TENDERS.get(name, "other"))
        return kind, "" if name in _NO_PROVIDER else name

    def tender(self, transaction: JSON, order: JSON, sign: int = 1) -> Json:
        """A tender: the amount with its cash rounding, and the payment that a refund gives back."""
        kind, provider = self.gateway(transaction)
        currency, parent = order["currencyCode"], transaction["parentTransaction"]
        paid, rounding = transaction["amountSet"], transaction["amountRoundingSet"]
        abroad = (paid.get("presentmentMoney") or paid["shopMoney"])["currencyCode"]
        foreign = {}
        if abroad != currency:
            foreign = {"foreign": money(sign * (presented(paid) + presented(rounding)), abroad)}
        return {
            "type": kind, "amount": money(sign * (in_shop(paid) + in_shop(rounding)), currency),
            "reference": tail(transaction["id"]), **({"provider": provider} if provider else {}), **foreign,
            **({"payment_id": tail(parent["id"])} if parent and transaction["kind"] == "REFUND" else {}),
        }  # fmt: skip
