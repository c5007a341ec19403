"""Casters between majors of a type: pure functions, both ways, that lose nothing.

What an older major has no field for travels in its ``extensions.canonical`` and comes back from there; a reader of the older
major may ignore it. So every stored document is readable in every major (FULL_TRANSITIVE), and a round trip changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

from canonical.errors import InvalidDocumentError, Violation
from canonical.fields import Text
from canonical.money import total
from canonical.v2.product import ListPriceSchema, ProductV2Schema
from canonical.v2.sale import LineV2Schema
from canonical.v2.stock import StockAdjustedV2Schema

Document = Mapping[str, Any]
Caster = Callable[[Document], dict[str, Any]]
#: The namespace in ``extensions`` in which an older major carries what only a newer one can say.
KEPT = "canonical"


def cast(type_name: str, document: Document, major: int) -> tuple[str, Document] | None:
    """(type, document) in the other ``major`` of a type; None if no casters lead there."""
    name, _, current = type_name.rpartition(".v")
    at = int(current)
    while at != major:
        step = at + (1 if major > at else -1)
        caster = CASTERS.get((name, at, step))
        if caster is None:
            return None
        document, at = caster(document), step
    return f"{name}.v{major}", document


def majors(name: str) -> list[int]:
    """The majors that a type's casters connect, e.g. [1, 2] for ``sale.completed``; empty if it has one only."""
    return sorted({number for key, *pair in CASTERS if key == name for number in pair})


def _keep(document: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """With what the older major cannot say put aside."""
    said = {key: value for key, value in kept.items() if value is not None}
    if not said:
        return document
    there = document.get("extensions", {})
    return {**document, "extensions": {**there, KEPT: {**there.get(KEPT, {}), **said}}}


#: The newer majors' own fields: whatever was put aside under their names must fit them, for anybody can write extensions.
_FIELDS: dict[str, fields.Field[Any]] = {
    "status": ProductV2Schema().fields["status"],
    "gtins": ProductV2Schema().fields["gtins"],
    "tax_included": ListPriceSchema().fields["tax_included"],
    "discounts": LineV2Schema().fields["discounts"],
    "references": fields.List(Text(max_length=128, min_length=0, allow_none=True), validate=validate.Length(max=50)),
    "reason": StockAdjustedV2Schema().fields["reason"],
}


def _fits(name: str, value: Any) -> bool:
    try:
        _FIELDS[name].deserialize(value)
    except ValidationError:
        return False
    return True


def _take(document: Document, *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the document without what was put aside under ``names``, what was and fits)."""
    found = dict(document)
    there = dict(found.get("extensions", {}))
    kept = dict(there.get(KEPT, {}))
    aside = {name: kept.pop(name) for name in names if name in kept}
    if not aside:
        return found, {}
    taken = {name: value for name, value in aside.items() if _fits(name, value)}
    if kept:
        there[KEPT] = kept
    else:
        there.pop(KEPT)
    if there:
        found["extensions"] = there
    else:
        found.pop("extensions")
    return found, taken


def product_up(document: Document) -> dict[str, Any]:
    """Product v1 → v2: a bar code becomes a list, the flag a status, the price an object."""
    found, kept = _take(document, "gtins", "status", "tax_included")
    active, gtin, price = found.pop("active"), found.pop("gtin", None), found.pop("price", None)
    said = kept.get("status")
    found["status"] = said if said is not None and (said == "active") == active else "active" if active else "withdrawn"
    more = kept.get("gtins", [])
    if gtin is not None:
        found["gtins"] = [gtin, *more] if _fits("gtins", [gtin, *more]) else [gtin]
    if price is not None:
        found["price"] = {"amount": price, **({"tax_included": kept["tax_included"]} if "tax_included" in kept else {})}
    return found


def product_down(document: Document) -> dict[str, Any]:
    """Product v2 → v1: the main bar code; a draft is not active."""
    found = dict(document)
    status, gtins, price = found.pop("status"), found.pop("gtins", []), found.pop("price", None)
    found["active"] = status == "active"
    if gtins:
        found["gtin"] = gtins[0]
    if price is not None:
        found["price"] = price["amount"]
    kept = {"status": status if status == "draft" else None, "gtins": gtins[1:] or None,
            "tax_included": price.get("tax_included") if price else None}  # fmt: skip
    return _keep(found, kept)


def _line_up(line: Document) -> dict[str, Any]:
    found, kept = _take(line, "discounts")
    discount = found.pop("discount", None)
    if discount is not None:
        several = kept.get("discounts", [])
        told = several and total(item["amount"] for item in several) == total([discount])
        found["discounts"] = several if told else [{"amount": discount}]
    return found


def _line_down(line: Document) -> dict[str, Any]:
    found = dict(line)
    discounts = found.pop("discounts", None)
    if discounts is None:
        return found
    found["discount"] = discounts[0]["amount"]
    if len(discounts) > 1:
        together = total(item["amount"] for item in discounts)
        found["discount"] = {"amount": f"{together:f}", "currency": discounts[0]["amount"]["currency"]}
    return _keep(found, {"discounts": discounts if discounts != [{"amount": found["discount"]}] else None})


def sale_up(document: Document) -> dict[str, Any]:
    """sale.completed v1 → v2: a line's discount becomes a list, a tender's type its method, its payment has one field.

    v2 names the payment in `payment_id`; v1 in `payment_id`, or in `reference` where that is all it has. References beside a
    payment's id are put aside.
    """
    found = dict(document)
    found["lines"] = [_line_up(line) for line in document["lines"]]
    tenders = document["tenders"]
    found["tenders"] = [_tender_up(tender) for tender in tenders]
    if not any("payment_id" in tender for tender in tenders):
        return found
    return _keep(found, {"references": [tender.get("reference", "") if "payment_id" in tender else None for tender in tenders]})


def _tender_up(tender: Document) -> dict[str, Any]:
    if "payment_id" in tender:
        tender = {key: value for key, value in tender.items() if key != "reference"}
    return _renamed(tender, {"type": "method", "reference": "payment_id"})


def sale_down(document: Document) -> dict[str, Any]:
    """sale.completed v2 → v1."""
    found, kept = _take(document, "references")
    found["lines"] = [_line_down(line) for line in document["lines"]]
    tenders, references = document["tenders"], kept.get("references", [])
    if len(references) != len(tenders):
        references = [None] * len(tenders)
    found["tenders"] = [_tender_down(tender, reference) for tender, reference in zip(tenders, references, strict=True)]
    return found


def _tender_down(tender: Document, reference: str | None) -> dict[str, Any]:
    """``reference``: put aside beside the payment's id; '' for none, None where v1 had the payment's id as its reference."""
    if reference is None:
        return _renamed(tender, {"method": "type", "payment_id": "reference"})
    return _renamed(tender, {"method": "type"}) | ({"reference": reference} if reference else {})


def _renamed(value: Document, names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): item for key, item in value.items()}


#: What sources call the reasons that v2 counts.
_CODES = {
    "waste": "damage", "damaged": "damage", "breakage": "damage", "theft": "theft", "shrinkage": "theft", "expired": "expiry",
    "lost": "loss", "found": "found", "received": "receipt", "receipt": "receipt", "production": "production",
    "sample": "sample", "correction": "correction",
}  # fmt: skip


def adjustment_up(document: Document) -> dict[str, Any]:
    """stock.adjusted v1 → v2: the words stay, the code is what they mean (`other` if they mean none)."""
    found, kept = _take(document, "reason")
    words = found.pop("reason", None)
    if "reason" in kept and kept["reason"].get("text", kept["reason"]["code"]) == words:
        return {**found, "reason": kept["reason"]}
    code = _CODES.get((words or "").strip().lower(), "other")
    return {**found, "reason": {"code": code, **({"text": words} if words is not None else {})}}


def adjustment_down(document: Document) -> dict[str, Any]:
    """stock.adjusted v2 → v1: the words, or the code where there are none."""
    found = dict(document)
    reason = found.pop("reason")
    if reason == {"code": "other"}:  # what v1 says by saying nothing
        return found
    found["reason"] = reason.get("text", reason["code"])
    said_again = adjustment_up({"reason": found["reason"]})["reason"]
    return _keep(found, {"reason": reason if reason != said_again else None})


#: (entity.event, from, to) → caster, always in neighbouring pairs.
CASTERS: dict[tuple[str, int, int], Caster] = {
    ("product", 1, 2): product_up,
    ("product", 2, 1): product_down,
    ("sale.completed", 1, 2): sale_up,
    ("sale.completed", 2, 1): sale_down,
    ("stock.adjusted", 1, 2): adjustment_up,
    ("stock.adjusted", 2, 1): adjustment_down,
}

#: Where a field of the newer major is found in the older one, for pointers in violations.
_POINTERS = {"discount": "discounts", "gtin": "gtins/0"}


def checked_in_v1(type_name: str, check: Callable[[Document], Any]) -> Callable[[Document], Any]:
    """The rules of major 1, asked of a newer major's document: they are the same rules, said in other fields."""

    def rules(document: Document) -> Any:
        older = cast(type_name, document, 1)
        if older is None:
            raise InvalidDocumentError(type_name, [Violation("unknown_type", "/type", f"{type_name} has no caster to v1")])
        for found in check(older[1]):
            parts = [_POINTERS.get(part, part) for part in found.field.split("/")]
            yield Violation(found.code, "/".join(parts), found.message)

    return rules
