"""One valid example document per type: for the reference, the API's examples, tests and `hub send --example`."""

from typing import Any

_USD = "USD"


def _m(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": _USD}


_LOCATION = {"code": "HARBOUR-ST", "name": "Harbour Street"}
_LINE = {
    "id": "1", "sku": "SKU-0001", "description": "Filter coffee 250 g", "quantity": "2", "unit_price": _m("9.50"),
    "gross": _m("19.00"), "discount": _m("1.00"), "taxes": [{"name": "Sales tax", "rate": "9", "amount": _m("1.62")}],
    "total": _m("19.62"),
}  # fmt: skip
_SECOND = {
    "id": "2", "sku": "SKU-0002", "description": "Mug", "quantity": "1", "unit_price": _m("12.00"),
    "gross": _m("12.00"), "taxes": [{"name": "Sales tax", "rate": "9", "amount": _m("1.08")}], "total": _m("13.08"),
}  # fmt: skip
_HEAD = {
    "location": _LOCATION, "till": {"number": "1"}, "occurred_at": "2026-11-21T23:40:00-05:00",
    "business_date": "2026-11-21",
}  # fmt: skip

EXAMPLES: dict[str, dict[str, Any]] = {
    "sale.completed.v1": {
        "id": "S-1001", "number": "1001", **_HEAD, "lines": [_LINE, _SECOND], "discount": _m("1.00"), "tax": _m("2.70"),
        "tip": _m("2.00"), "total": _m("34.70"),
        "tenders": [{"type": "cash", "amount": _m("40.00"), "reference": "P-1"}], "change": _m("5.30"),
        "extensions": {"acme": {"loyalty_tier": "gold"}},
    },
    "return.completed.v1": {
        "id": "R-2001", "number": "2001", **_HEAD, "original": {"id": "S-1001", "number": "1001"},
        "lines": [_SECOND | {"id": "r1", "original_line_id": "2", "reason": "chipped"}], "tax": _m("1.08"),
        "total": _m("13.08"), "tenders": [{"type": "cash", "amount": _m("13.08")}],
    },
    "exchange.completed.v1": {
        "id": "X-3001", "number": "3001", **_HEAD, "original": {"id": "S-1001"},
        "returned": [_SECOND | {"id": "r1", "original_line_id": "2"}], "lines": [_LINE], "discount": _m("1.00"),
        "tax": _m("0.54"), "total": _m("6.54"), "tenders": [{"type": "card", "amount": _m("6.54")}],
    },
    "stock.counted.v1": {
        "id": "C-1", "location": _LOCATION, "sku": "SKU-0001", "state": "available", "quantity": "53",
        "occurred_at": "2026-11-21T08:00:00-05:00", "business_date": "2026-11-21",
    },
    "stock.adjusted.v1": {
        "id": "A-1", "location": _LOCATION, "sku": "SKU-0002", "from_state": "available", "to_state": "damaged",
        "quantity": "1", "reason": "WASTE", "occurred_at": "2026-11-21T09:00:00-05:00", "business_date": "2026-11-21",
    },
    "product.v1": {
        "id": "VAR-1", "sku": "SKU-0001", "name": "Filter coffee 250 g", "price": _m("9.50"), "active": True,
        "updated_at": "2026-11-20T10:00:00Z",
    },
}  # fmt: skip
