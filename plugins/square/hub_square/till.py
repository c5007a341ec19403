"""How Square computes an order, for the simulator: lines, taxes, service charges, totals, returns. Pure.

Written from Square's OpenAPI description (Order, OrderLineItem, OrderServiceCharge, OrderReturn and their parts) and from
developer.squareup.com/docs/orders-api/order-returns-exchanges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from hub_square.wire import TAX, Json, money, new_id

#: Countries in which inclusive tax is deducted from gross_sales_money (OrderLineItem.gross_sales_money).
NET_SALES = ("US", "CA", "JP")
SALES_TAX = (TAX,)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One line to ring up.

    Attributes:
        object_id: variation in the catalogue; empty: a bare amount or an item typed in.
        price: of one, in minor units, without modifiers.
        modifiers: (name, price of one, quantity per item).
        unit: a MeasurementUnit, for what is sold by measure.
        taxes: the order's taxes that apply to it.
    """

    name: str
    price: int
    quantity: str = "1"
    object_id: str = ""
    item_type: str = "ITEM"
    variation_name: str = ""
    modifiers: Sequence[tuple[str, int, int]] = ()
    discount: int = 0
    unit: Mapping[str, str] | None = None
    taxes: Sequence[Json] = SALES_TAX


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A service charge: a percentage of the lines, or an amount in minor units."""

    name: str
    percentage: str = ""
    amount: int = 0
    type: str = "CUSTOM"
    treatment: str = "LINE_ITEM_TREATMENT"
    taxes: Sequence[Json] = ()


def rounded(value: Decimal) -> int:
    """Minor units, bankers' rounding as Square documents it."""
    return int(value.quantize(Decimal(1), ROUND_HALF_EVEN))


def line(rung: Rung, currency: str, country: str, charge: int = 0) -> Json:
    """An OrderLineItem; ``charge``: its share of apportioned service charges, which are taxed with it."""
    quantity = Decimal(rung.quantity)
    variation = rounded(rung.price * quantity)
    modifiers = [_modifier(*each, quantity, currency) for each in rung.modifiers]
    gross = variation + sum(each["total_price_money"]["amount"] for each in modifiers)
    applied, added, included = _applied(gross - rung.discount + charge, rung.taxes, currency)
    found = {
        "uid": new_id(10), "name": rung.name, "quantity": rung.quantity, "item_type": rung.item_type,
        "base_price_money": money(rung.price, currency), "variation_total_price_money": money(variation, currency),
        "gross_sales_money": money(gross - (included if country in NET_SALES else 0), currency),
        "total_discount_money": money(rung.discount, currency), "total_tax_money": money(added + included, currency),
        "total_money": money(gross - rung.discount + charge + added, currency),
        "total_service_charge_money": money(charge, currency), "applied_taxes": applied,
    }  # fmt: skip
    optional = {
        "catalog_object_id": rung.object_id, "variation_name": rung.variation_name, "modifiers": modifiers,
        "quantity_unit": {"measurement_unit": dict(rung.unit), "precision": 3} if rung.unit else None,
    }  # fmt: skip
    return found | {key: value for key, value in optional.items() if value}


def _modifier(name: str, price: int, each: int, quantity: Decimal, currency: str) -> Json:
    total = rounded(price * each * quantity)
    return {"uid": new_id(10), "name": name, "quantity": str(each), "base_price_money": money(price, currency),
            "total_price_money": money(total, currency)}  # fmt: skip


def _applied(price: int, taxes: Sequence[Json], currency: str) -> tuple[list[Json], int, int]:
    """(applied taxes, sum of those on top, sum of those in the price). Taxes on top are of the price without the others."""
    inside = sum((Decimal(str(tax["percentage"])) for tax in taxes if tax["type"] == "INCLUSIVE"), Decimal(0))
    net = price * 100 / (100 + inside)
    applied, added, included = [], 0, 0
    for tax in taxes:
        amount = rounded(net * Decimal(str(tax["percentage"])) / 100)
        added += amount if tax["type"] != "INCLUSIVE" else 0
        included += amount if tax["type"] == "INCLUSIVE" else 0
        applied.append({"uid": new_id(8), "tax_uid": tax["uid"], "applied_money": money(amount, currency)})
    return applied, added, included


def service_charge(charge: Charge, subtotal: int, currency: str) -> Json:
    """An OrderServiceCharge on lines that come to ``subtotal`` after discounts."""
    applied_money = rounded(subtotal * Decimal(charge.percentage) / 100) if charge.percentage else charge.amount
    apportioned = charge.treatment == "APPORTIONED_TREATMENT"
    taxes = () if apportioned else charge.taxes
    applied, added, included = _applied(applied_money, taxes, currency)
    size = {"percentage": charge.percentage} if charge.percentage else {"amount_money": money(charge.amount, currency)}
    phase = "APPORTIONED_PERCENTAGE_PHASE" if charge.percentage else "APPORTIONED_AMOUNT_PHASE"
    return {
        "uid": new_id(10), "name": charge.name, **size, "type": charge.type, "treatment_type": charge.treatment,
        "calculation_phase": phase if apportioned else "SUBTOTAL_PHASE", "taxable": bool(charge.taxes),
        "applied_money": money(applied_money, currency), "total_money": money(applied_money + added, currency),
        "total_tax_money": money(added + included, currency), "applied_taxes": applied,
    }  # fmt: skip


def summed(items: Sequence[Json], charges: Sequence[Json], tip: int, rounding: int, currency: str) -> Json:
    """OrderMoneyAmounts of lines and service charges."""
    standing = [each for each in charges if each["treatment_type"] != "APPORTIONED_TREATMENT"]

    def total(name: str, of: Sequence[Json]) -> int:
        return sum(each[name]["amount"] for each in of)

    return {
        "total_money": money(total("total_money", [*items, *standing]) + tip + rounding, currency),
        "tax_money": money(total("total_tax_money", [*items, *standing]), currency),
        "discount_money": money(total("total_discount_money", items), currency), "tip_money": money(tip, currency),
        "service_charge_money": money(total("applied_money", charges), currency),
    }  # fmt: skip


def less(first: Json, second: Json) -> Json:
    """OrderMoneyAmounts less others."""
    return {name: money(first[name]["amount"] - second[name]["amount"], first[name]["currency"]) for name in first}


def fill(order: Json, amounts: Json) -> None:
    """An order's own totals: those of what it sells."""
    order |= {
        "total_money": amounts["total_money"], "total_tax_money": amounts["tax_money"],
        "total_discount_money": amounts["discount_money"], "total_tip_money": amounts["tip_money"],
        "total_service_charge_money": amounts["service_charge_money"],
    }  # fmt: skip


def declared(taxes: Sequence[Json], items: Sequence[Json], currency: str) -> list[Json]:
    """The order's taxes, with what each comes to."""
    return [{**tax, "applied_money": money(_applied_to(tax["uid"], items), currency)} for tax in taxes]


def _applied_to(uid: Any, items: Sequence[Json]) -> int:
    every = (each for item in items for each in item.get("applied_taxes") or [])
    return sum(each["applied_money"]["amount"] for each in every if each["tax_uid"] == uid)


# -- returns --------------------------------------------------------------------------------------------------------


def returned(sale: Json, quantities: Mapping[str, int], tip: int = 0, rounding: int = 0, amount: int = 0) -> Json:
    """An OrderReturn: lines and service charges of ``sale`` by uid → quantity, a tip, and an amount without goods."""
    currency = sale["total_money"]["currency"]
    inside = {tax["uid"] for tax in sale.get("taxes", []) if tax["type"] == "INCLUSIVE"}
    items = [_share(each, quantities[each["uid"]], inside) for each in sale.get("line_items", []) if each["uid"] in quantities]
    if amount:
        items.append(_custom(amount, currency))
    charges = [_charge_back(each) for each in sale.get("service_charges", []) if each["uid"] in quantities]
    found = {
        "uid": new_id(10), "source_order_id": sale["id"], "return_line_items": items,
        "return_taxes": [_tax_back(tax) for tax in sale.get("taxes", [])],
        "return_amounts": summed(items, charges, tip, rounding, currency),
    }  # fmt: skip
    if charges:
        found["return_service_charges"] = charges
    if tip:
        tender = sale["tenders"][0]["id"]
        found["return_tips"] = [{"uid": new_id(10), "applied_money": money(tip, currency), "source_tender_id": tender}]
    if rounding:
        found["rounding_adjustment"] = {"uid": new_id(10), "name": "Cash rounding", "amount_money": money(rounding, currency)}
    return found


def _tax_back(tax: Json) -> Json:
    return {key: value for key, value in tax.items() if key != "applied_money"} | {
        "uid": f"return-{tax['uid']}", "source_tax_uid": tax["uid"],
    }  # fmt: skip


def _taxes_back(item: Json, part: Decimal) -> list[Json]:
    return [
        {
            "uid": new_id(8), "tax_uid": f"return-{each['tax_uid']}",
            "applied_money": money(rounded(each["applied_money"]["amount"] * part), each["applied_money"]["currency"]),
        }
        for each in item.get("applied_taxes") or []
    ]  # fmt: skip


def _share(item: Json, quantity: int, inside: set[str]) -> Json:
    """The share of a sold line that comes back: each amount and each tax by itself. ``inside``: taxes within the price."""
    part, currency = Decimal(quantity) / Decimal(item["quantity"]), item["total_money"]["currency"]

    def share(name: str) -> int:
        return rounded(item[name]["amount"] * part)

    taxes = _taxes_back(item, part)
    tax = sum(each["applied_money"]["amount"] for each in taxes)
    included = sum(each["applied_money"]["amount"] for each in taxes if each["tax_uid"].removeprefix("return-") in inside)
    price = rounded((item["variation_total_price_money"]["amount"] + _modified(item)) * part)
    is_deducted = item["gross_sales_money"]["amount"] < item["variation_total_price_money"]["amount"] + _modified(item)
    gross = price - (included if is_deducted else 0)
    discount, charge = share("total_discount_money"), share("total_service_charge_money")
    total = price - discount + charge + tax - included
    found = {
        "uid": new_id(10), "source_line_item_uid": item["uid"], "name": item["name"], "quantity": str(quantity),
        "item_type": item["item_type"], "base_price_money": item["base_price_money"],
        "gross_return_money": money(gross, currency), "total_discount_money": money(discount, currency),
        "total_tax_money": money(tax, currency), "total_money": money(total, currency),
        "total_service_charge_money": money(charge, currency), "applied_taxes": taxes,
    }  # fmt: skip
    if item.get("modifiers"):
        found["return_modifiers"] = [{**each, "source_modifier_uid": each["uid"]} for each in item["modifiers"]]
    kept = ("catalog_object_id", "variation_name", "quantity_unit")
    return found | {key: item[key] for key in kept if key in item}


def _modified(item: Json) -> int:
    return sum(each["total_price_money"]["amount"] for each in item.get("modifiers") or [])


def _custom(amount: int, currency: str) -> Json:
    """A refund of an amount: no goods, no article, no line of the sale."""
    value, nothing = money(amount, currency), money(0, currency)
    return {
        "uid": new_id(10), "name": "Custom Amount", "quantity": "1", "item_type": "CUSTOM_AMOUNT", "base_price_money": value,
        "variation_total_price_money": value, "gross_return_money": value, "total_discount_money": nothing,
        "total_tax_money": nothing, "total_money": value, "total_service_charge_money": nothing,
    }  # fmt: skip


def _charge_back(charge: Json) -> Json:
    kept = {key: value for key, value in charge.items() if key != "type"}
    return kept | {"uid": new_id(10), "source_service_charge_uid": charge["uid"],
                   "applied_taxes": _taxes_back(charge, Decimal(1))}  # fmt: skip
