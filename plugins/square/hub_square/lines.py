"""Lines of an order: goods, services, gift cards, bare amounts, service charges; sold or returned. Pure.

Every line is checked against the amounts that Square itself gives for it. A line that does not add up is refused with its
figures; no amount is made up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from canonical.money import from_minor
from hub.sdk import UntranslatableError

JSON = Mapping[str, Any]

#: CatalogItemProductType → (kind of line, whether the hub keeps it in stock). What is missing here is goods in stock.
_PRODUCTS = {
    "GIFT_CARD": ("gift_card", False), "APPOINTMENTS_SERVICE": ("service", False), "EVENT": ("service", False),
    "DIGITAL": ("goods", False), "DONATION": ("donation", False), "LEGACY_SQUARE_ONLINE_SERVICE": ("service", False),
    "LEGACY_SQUARE_ONLINE_MEMBERSHIP": ("service", False),
}  # fmt: skip
#: Units of MeasurementUnit that the canonical language names; others become `other`.
_UNITS = {
    "METRIC_KILOGRAM": "kilogram", "METRIC_GRAM": "gram", "METRIC_LITER": "litre", "METRIC_MILLILITER": "millilitre",
    "METRIC_METER": "metre", "METRIC_SQUARE_METER": "square_metre", "GENERIC_HOUR": "hour", "UNIT": "piece",
}  # fmt: skip
GIFT_CARD_SKU, SERVICE_CHARGE_SKU = "GIFT-CARD", "SERVICE-CHARGE"


@dataclass(frozen=True, kw_only=True)
class Article:
    """What the catalogue says about an item variation."""

    sku: str
    product_type: str = ""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What lines are made with.

    Attributes:
        articles: by catalogue object id.
        bare_sku: SKU of a bare amount.
        is_restocked_by_inventory: whether returned goods come back with their inventory adjustment, not with their return.
    """

    articles: Mapping[str, Article]
    bare_sku: str
    is_restocked_by_inventory: bool


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Converted lines and what they come to, in minor units.

    Attributes:
        lines: canonical lines, in the order of the document.
        tax, discount, total: sums over the lines.
        untaxed_charge: service charges without tax, which are a field of the document and not in ``total``.
    """

    lines: Sequence[dict[str, Any]]
    tax: int
    discount: int
    total: int
    untaxed_charge: int


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """Amounts of one line in minor units."""

    gross: int
    discount: int
    tax: int
    total: int


class MismatchError(UntranslatableError):
    """Square's own amounts of a document do not add up, or lack something."""

    code = "does_not_add_up"


def minor(value: JSON | None) -> int:
    """Minor units of a Money; an absent one counts as zero."""
    return int(value["amount"]) if value else 0


def shown(amount: int, currency: str) -> str:
    """An amount for people."""
    return f"{from_minor(amount, currency)['amount']} {currency}"


def sold(order: JSON, shelf: Shelf, currency: str) -> Lines:
    """The lines that an order sells, its service charges among them."""
    return _lines(
        order.get("line_items") or [], order.get("service_charges") or [], order.get("taxes") or [], shelf, currency, back=False
    )


def returned(item: JSON, shelf: Shelf, currency: str) -> Lines:
    """The lines of one OrderReturn."""
    return _lines(
        item.get("return_line_items") or [], item.get("return_service_charges") or [], item.get("return_taxes") or [], shelf,
        currency, back=True,
    )  # fmt: skip


def _lines(
    items: Sequence[JSON], charges: Sequence[JSON], declared: Iterable[JSON], shelf: Shelf, currency: str, *, back: bool
) -> Lines:
    taxes = {str(tax.get("uid")): tax for tax in declared}
    found: list[dict[str, Any]] = []
    figures: list[_Figures] = []
    apportioned = 0
    for item in items:
        line, sums, charge = _line(item, taxes, shelf, currency, back=back)
        found.append(line)
        figures.append(sums)
        if charge:
            apportioned += charge
            found.append(_charge_of_line(item, charge, currency, back=back))
            figures.append(_Figures(gross=charge, discount=0, tax=0, total=charge))
    untaxed = 0
    for each in charges:
        if apportioned and _is_apportioned(each):
            continue
        if each.get("applied_taxes"):
            line, sums = _charge(each, taxes, currency, back=back)
            found.append(line)
            figures.append(sums)
        else:
            untaxed += _untaxed(each, currency)
    return Lines(
        lines=found, tax=sum(item.tax for item in figures), discount=sum(item.discount for item in figures),
        total=sum(item.total for item in figures), untaxed_charge=untaxed,
    )  # fmt: skip


def _line(
    item: JSON, declared: Mapping[str, JSON], shelf: Shelf, currency: str, *, back: bool
) -> tuple[dict[str, Any], _Figures, int]:
    """(line without apportioned service charges, its amounts, the apportioned charges within Square's total)."""
    taxes, added, included = _taxes(item, declared, currency)
    discount, total = minor(item.get("total_discount_money")), minor(item["total_money"])
    charge = minor(item.get("total_service_charge_money"))
    modifiers = item.get("return_modifiers" if back else "modifiers") or []
    named = item.get("gross_return_money" if back else "gross_sales_money")
    expected = minor(named) if named else minor(item.get("variation_total_price_money")) + _modifiers_total(modifiers)
    # Gross sales are without inclusive tax in the US, Canada and Japan, and with it elsewhere (OrderLineItem).
    gross = total - added + discount
    if gross in (expected, expected + included):
        charge = 0
    elif charge and gross - charge in (expected, expected + included):
        gross, total = gross - charge, total - charge
    else:
        said = (
            f"line {item['uid']}: total {shown(total, currency)} + discount {shown(discount, currency)} - added tax "
            f"{shown(added, currency)} is {shown(gross, currency)}, not the gross of {shown(expected, currency)} "
            f"(included tax {shown(included, currency)})"
        )
        raise MismatchError(said)
    if charge:  # the charge is taxed with the line: the taxes' base is not the line's price alone
        base = from_minor(gross - discount + charge - included, currency)
        taxes = [{**tax, "base": base} for tax in taxes]
    line = {
        "id": item["uid"], **_article(item, shelf), **_unit(item),
        "description": " ".join(filter(None, (item.get("name"), item.get("variation_name")))) or "Item",
        "quantity": str(item["quantity"]), "unit_price": from_minor(_unit_price(item, modifiers, gross), currency),
        "gross": from_minor(gross, currency), "discount": from_minor(discount, currency), "taxes": taxes,
        "total": from_minor(total, currency),
    }  # fmt: skip
    if back and item.get("source_line_item_uid"):
        line["original_line_id"] = item["source_line_item_uid"]
    if back and shelf.is_restocked_by_inventory and line.get("kind", "goods") == "goods":
        line["state"] = "none"
    return line, _Figures(gross=gross, discount=discount, tax=added + included, total=total), charge


def _article(item: JSON, shelf: Shelf) -> dict[str, Any]:
    """SKU and kind of a line. An item without an SKU goes by its Square id: it is then unknown to the target, and said so."""
    object_id = item.get("catalog_object_id")
    article = shelf.articles.get(str(object_id)) if object_id else None
    kind, stocked = _PRODUCTS.get(article.product_type if article else "", ("goods", True))
    if item.get("item_type") == "GIFT_CARD":
        kind = "gift_card"
    elif item.get("item_type") == "CUSTOM_AMOUNT" or not object_id:
        return {"sku": shelf.bare_sku, "kind": "amount"}
    without = GIFT_CARD_SKU if kind == "gift_card" else str(object_id)
    found: dict[str, Any] = {"sku": (article.sku if article else "") or without}
    if kind != "goods":
        found["kind"] = kind
    elif not stocked:
        found["stocked"] = False
    return found


def _unit(item: JSON) -> dict[str, str]:
    """The unit of a measured quantity; pieces are not named."""
    if not item.get("quantity_unit"):
        return {}
    measured = item["quantity_unit"].get("measurement_unit") or {}
    names = (value for key, value in measured.items() if key.endswith("_unit") and isinstance(value, str))
    unit = _UNITS.get(next(names, ""), "other")
    return {} if unit == "piece" else {"unit": unit}


def _unit_price(item: JSON, modifiers: Sequence[JSON], gross: int) -> int:
    """Price of one with its modifiers; where they are rounded apart, what the gross comes to per unit."""
    quantity = Decimal(str(item["quantity"]))
    price = minor(item.get("base_price_money")) + sum(
        (minor(each.get("base_price_money")) * Decimal(str(each.get("quantity") or "1")) for each in modifiers), Decimal(0)
    )
    if price == int(price) and abs(price * quantity - gross) <= Decimal("0.5"):
        return int(price)
    return int((gross / quantity).quantize(Decimal(1), ROUND_HALF_EVEN))


def _modifiers_total(modifiers: Iterable[JSON]) -> int:
    return sum(minor(each.get("total_price_money")) for each in modifiers)


def _taxes(item: JSON, declared: Mapping[str, JSON], currency: str) -> tuple[list[dict[str, Any]], int, int]:
    """(taxes of a line or charge, sum of those on top, sum of those within its price)."""
    found: list[dict[str, Any]] = []
    added = included = 0
    for applied in item.get("applied_taxes") or []:
        tax, amount = declared.get(str(applied["tax_uid"]), {}), minor(applied.get("applied_money"))
        entry = {
            "name": tax.get("name") or "Tax", "rate": str(tax.get("percentage") or "0"), "amount": from_minor(amount, currency),
        }  # fmt: skip
        if tax.get("type") == "INCLUSIVE":
            entry["included"] = True
            included += amount
        else:
            added += amount
        found.append(entry)
    return found, added, included


# -- service charges ------------------------------------------------------------------------------------------------


def _is_apportioned(charge: JSON) -> bool:
    """Whether a service charge is spread over the lines instead of standing for itself."""
    phase = str(charge.get("calculation_phase") or "")
    return charge.get("treatment_type") == "APPORTIONED_TREATMENT" or phase.startswith("APPORTIONED_")


def _charge(charge: JSON, declared: Mapping[str, JSON], currency: str, *, back: bool) -> tuple[dict[str, Any], _Figures]:
    """A taxed service charge (an automatic gratuity, too) as a line."""
    taxes, added, included = _taxes(charge, declared, currency)
    applied = minor(charge["applied_money"])
    total = minor(charge["total_money"]) if charge.get("total_money") else applied + added
    gross = total - added
    if gross not in (applied, applied + included):
        said = (
            f"service charge {charge['uid']}: {shown(applied, currency)} with added tax {shown(added, currency)} and included "
            f"tax {shown(included, currency)} is not its total of {shown(total, currency)}"
        )
        raise MismatchError(said)
    line = charge_line(str(charge["uid"]), str(charge.get("name") or "Service charge"), gross, currency)
    line |= {"taxes": taxes, "total": from_minor(total, currency)}
    if back and charge.get("source_service_charge_uid"):
        line["original_line_id"] = charge["source_service_charge_uid"]
    return line, _Figures(gross=gross, discount=0, tax=added + included, total=total)


def charge_line(uid: str, name: str, amount: int, currency: str, kind: str = "service_charge", sku: str = "") -> dict[str, Any]:
    """A line that is one sum without tax."""
    value = from_minor(amount, currency)
    return {
        "id": uid, "sku": sku or SERVICE_CHARGE_SKU, "kind": kind, "description": name, "quantity": "1", "unit_price": value,
        "gross": value, "discount": from_minor(0, currency), "taxes": [], "total": value,
    }  # fmt: skip


def _charge_of_line(item: JSON, amount: int, currency: str, *, back: bool) -> dict[str, Any]:
    """The share of apportioned service charges of one line, as a line of its own."""
    line = charge_line(f"{item['uid']}:service-charge", "Service charge", amount, currency)
    if back and item.get("source_line_item_uid"):
        line["original_line_id"] = f"{item['source_line_item_uid']}:service-charge"
    return line


def _untaxed(charge: JSON, currency: str) -> int:
    applied = minor(charge["applied_money"])
    total = minor(charge["total_money"]) if charge.get("total_money") else applied
    if total != applied:
        said = (
            f"service charge {charge['uid']}: {shown(applied, currency)} without taxes, its total is {shown(total, currency)}"
        )
        raise MismatchError(said)
    return applied
