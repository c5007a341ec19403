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

_WHEN = {"occurred_at": "2026-11-21T10:15:00-05:00", "business_date": "2026-11-21"}
_UPDATED = {"active": True, "updated_at": "2026-11-20T10:00:00Z"}
_ADDRESS = {"lines": ["12 Quay Road"], "city": "Portland", "postal_code": "04101", "region": "ME", "country": "US"}
_WAREHOUSE = {"code": "WH-1", "name": "Central warehouse"}
_GOODS = [{"sku": "SKU-0001", "quantity": "24", "lot": "L-77"}]
_SUPPLIER = {"code": "ROASTERY", "name": "Bay Roastery"}
_ORDER = {
    "id": "O-5001", "number": "5001", "channel": "web", "location": _LOCATION,
    "customer": {"id": "C-9", "name": "Ada Doe", "email": "ada@example.com"}, "ship_to": _ADDRESS,
    "occurred_at": "2026-11-21T09:00:00-05:00", "lines": [_LINE], "discount": _m("1.00"), "shipping": _m("4.90"),
    "tax": _m("1.62"), "total": _m("24.52"),
}  # fmt: skip
_BILL = {
    "seller": {"name": "Harbour Goods GmbH", "tax_number": "DE123456789", "address": _ADDRESS | {"country": "DE"}},
    "buyer": {"id": "C-9", "name": "Ada Doe", "email": "ada@example.com"},
}  # fmt: skip


def _eur(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "EUR"}


_BILL_LINES = [
    {"id": "1", "sku": "SKU-0001", "description": "Filter coffee 250 g", "quantity": "10", "unit_price": _eur("8.40"),
     "net": _eur("84.00"), "category": "S", "rate": "7"},
    {"id": "2", "description": "Grinder rental", "quantity": "1", "unit_price": _eur("25.00"), "discount": _eur("5.00"),
     "net": _eur("20.00"), "category": "S", "rate": "19"},
]  # fmt: skip
_BILL_SUMS = {
    "lines": _BILL_LINES,
    "allowances": [{"charge": False, "amount": _eur("4.00"), "category": "S", "rate": "7", "reason": "loyalty"}],
    "taxes": [
        {"category": "S", "rate": "7", "taxable": _eur("80.00"), "amount": _eur("5.60")},
        {"category": "S", "rate": "19", "taxable": _eur("20.00"), "amount": _eur("3.80")},
    ],
    "net": _eur("100.00"), "tax": _eur("9.40"), "gross": _eur("109.40"), "payable": _eur("109.40"),
}  # fmt: skip
_SALE_LINES_V2 = [
    {key: value for key, value in _LINE.items() if key != "discount"}
    | {"discounts": [{"amount": _m("0.60"), "reason": "coupon", "code": "WELCOME"}, {"amount": _m("0.40"), "reason": "staff"}]},
    _SECOND,
]

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
    "sale.completed.v2": {
        "id": "S-1001", "number": "1001", **_HEAD, "lines": _SALE_LINES_V2, "tax": _m("2.70"), "tip": _m("2.00"),
        "taxes": [{"category": "S", "rate": "9", "taxable": _m("30.00"), "amount": _m("2.70")}], "total": _m("34.70"),
        "tenders": [{"method": "cash", "amount": _m("40.00"), "payment_id": "P-1"}], "change": _m("5.30"),
    },
    "sale.voided.v1": {
        "id": "V-1", "original": {"id": "S-1001", "number": "1001"}, "location": _LOCATION, "till": {"number": "1"},
        "occurred_at": "2026-11-21T23:45:00-05:00", "business_date": "2026-11-21", "lines": [_LINE, _SECOND],
        "total": _m("34.70"), "operator": "E-7", "reason": "rung up twice",
    },
    "till.opened.v1": {
        "id": "T-1", "location": _LOCATION, "till": {"number": "1", "session": "2026-11-21-1"}, "operator": "E-7", **_WHEN,
        "tenders": [{"type": "cash", "amount": _m("150.00")}],
    },
    "till.closed.v1": {
        "id": "T-2", "location": _LOCATION, "till": {"number": "1", "session": "2026-11-21-1"}, "operator": "E-7",
        "opened_at": "2026-11-21T10:15:00-05:00", "occurred_at": "2026-11-22T00:20:00-05:00", "business_date": "2026-11-21",
        "transactions": "3", "sales": _m("41.24"), "returns": _m("13.08"),
        "taxes": [{"category": "S", "rate": "9", "amount": _m("2.16")}],
        "tenders": [
            {"type": "cash", "opening": _m("150.00"), "taken": _m("34.70"), "given_back": _m("13.08"),
             "paid_out": _m("100.00"), "expected": _m("71.62"), "counted": _m("71.60"), "difference": _m("-0.02")},
            {"type": "card", "taken": _m("6.54"), "expected": _m("6.54"), "counted": _m("6.54"), "difference": _m("0.00")},
        ],
    },
    "till.cash_moved.v1": {
        "id": "T-3", "location": _LOCATION, "till": {"number": "1", "session": "2026-11-21-1"}, "operator": "E-7", **_WHEN,
        "source": "till", "destination": "outside", "amount": _m("23.80"), "reason": "paid_out", "purpose": "cleaning",
        "taxes": [{"name": "Sales tax", "rate": "9", "amount": _m("1.97"), "included": True}], "receipt": "4711",
    },
    "store_day.closed.v1": {
        "id": "D-1", "location": _LOCATION, "business_date": "2026-11-21", "occurred_at": "2026-11-22T00:30:00-05:00",
        "transactions": "3", "sales": _m("41.24"), "returns": _m("13.08"),
        "tenders": [{"type": "cash", "amount": _m("21.62")}, {"type": "card", "provider": "acquirer", "amount": _m("6.54")}],
        "deposit_bag": "B-77",
    },
    "payment.captured.v1": {
        "id": "PE-1", "payment_id": "P-1", **_WHEN, "location": _LOCATION, "amount": _m("34.70"), "provider": "acquirer",
        "type": "card", "card": {"brand": "visa", "last_four": "1111"}, "sale": {"id": "S-1001"}, "tip": _m("2.00"),
        "fee": _m("0.62"),
    },
    "payment.authorized.v1": {
        "id": "PE-0", "payment_id": "P-1", **_WHEN, "location": _LOCATION, "amount": _m("40.00"), "provider": "acquirer",
        "type": "card", "sale": {"id": "S-1001"}, "until": "2026-11-28T10:15:00-05:00",
    },
    "payment.made.v1": {
        "id": "PM-1", "payment_id": "BT-9", **_WHEN, "amount": _m("420.00"), "party_id": "ROASTERY",
        "invoice": {"id": "I-77", "number": "77"}, "account": "checking", "text": "Invoice 77",
    },
    "payment.refunded.v1": {
        "id": "PE-2", "payment_id": "P-1", **_WHEN, "amount": _m("13.08"), "sale_return": {"id": "R-2001"}, "reason": "chipped",
    },
    "payment.reversed.v1": {
        "id": "PE-4", "payment_id": "P-1", **_WHEN, "amount": _m("13.08"), "fact": {"id": "PE-2"},
        "fact_type": "payment.refunded", "sale_return": {"id": "R-2001"}, "reason": "account closed",
    },
    "payment.charged_back.v1": {
        "id": "PE-3", "payment_id": "P-1", **_WHEN, "amount": _m("34.70"), "stage": "opened", "reason_code": "10.4",
        "fee": _m("15.00"),
    },
    "gift_card.issued.v1": {
        "id": "G-1", "gift_card": {"id": "GC-1", "last_four": "8Q2A"}, **_WHEN, "location": _LOCATION, "amount": _m("50.00"),
        "balance": _m("50.00"), "sale": {"id": "S-1002"},
    },
    "gift_card.reloaded.v1": {
        "id": "G-2", "gift_card": {"id": "GC-1"}, **_WHEN, "amount": _m("20.00"), "balance": _m("70.00"),
    },
    "gift_card.redeemed.v1": {
        "id": "G-3", "gift_card": {"id": "GC-1"}, **_WHEN, "location": _LOCATION, "amount": _m("34.70"),
        "balance": _m("35.30"), "sale": {"id": "S-1003"},
    },
    "gift_card.adjusted.v1": {
        "id": "G-4", "gift_card": {"id": "GC-1"}, **_WHEN, "amount": _m("12.50"), "balance": _m("0.00"), "direction": "down",
        "reason": "expired",
    },
    "payout.settled.v1": {
        "id": "PO-9-paid", "payout_id": "PO-9", "provider": "acquirer", "account": "1234", "status": "paid", **_WHEN,
        "arrives_on": "2026-11-24",
        "lines": [
            {"id": "1", "type": "charge", "payment_id": "P-1", "gross": _m("34.70"), "fee": _m("0.62"), "net": _m("34.08")},
            {"id": "2", "type": "refund", "payment_id": "P-1", "gross": _m("-13.08"), "net": _m("-13.08")},
        ],
        "net": _m("21.00"), "reference": "ACQ-20261124",
    },
    "bank.line.v1": {
        "id": "BL-1", "account": "checking", "statement": "2026-228", "indicator": "credit", "amount": _m("21.00"),
        "balance": _m("1021.00"), "business_date": "2026-11-24", "value_date": "2026-11-24",
        "occurred_at": "2026-11-24T06:00:00Z", "end_to_end_id": "ACQ-20261124", "counterparty": {"name": "Acquirer Ltd"},
        "text": "Payout PO-9",
    },
    "order.placed.v1": _ORDER,
    "order.changed.v1": _ORDER | {"revision": "2", "occurred_at": "2026-11-21T09:30:00-05:00", "reason": "address corrected"},
    "order.cancelled.v1": {
        "id": "O-5001", "number": "5001", "occurred_at": "2026-11-21T10:00:00-05:00", "refund_due": _m("24.52"),
        "reason": "customer changed their mind",
    },
    "fulfillment.completed.v1": {
        "id": "F-1", "order": {"id": "O-5001"}, "location": _WAREHOUSE, "occurred_at": "2026-11-21T12:00:00-05:00",
        "goods": [{"line_id": "1", "sku": "SKU-0001", "quantity": "2"}], "shipment_id": "SH-1", "reserved": True,
    },
    "shipment.dispatched.v1": {
        "id": "SH-1", "order": {"id": "O-5001"}, "location": _WAREHOUSE, "occurred_at": "2026-11-21T13:00:00-05:00",
        "goods": [{"sku": "SKU-0001", "quantity": "2"}], "carrier": "parcel", "tracking_number": "1Z999",
        "packages": ["106141412345678908"], "ship_to": _ADDRESS,
    },
    "shipment.delivered.v1": {
        "id": "SH-1", "order": {"id": "O-5001"}, "occurred_at": "2026-11-23T11:00:00-05:00", "received_by": "Ada Doe",
    },
    "stock.adjusted.v2": {
        "id": "A-1", "location": _LOCATION, "sku": "SKU-0002", "from_state": "available", "to_state": "damaged",
        "quantity": "1", "reason": {"code": "damage", "text": "dropped"}, "occurred_at": "2026-11-21T09:00:00-05:00",
        "business_date": "2026-11-21",
    },
    "stock.reserved.v1": {
        "id": "SR-1", "location": _WAREHOUSE, "sku": "SKU-0001", **_WHEN, "reservation_id": "RES-1", "order_id": "O-5001",
        "quantity": "2", "until": "2026-11-23T00:00:00-05:00",
    },
    "stock.released.v1": {
        "id": "SR-2", "location": _WAREHOUSE, "sku": "SKU-0001", **_WHEN, "reservation_id": "RES-1", "quantity": "2",
    },
    "transfer.sent.v1": {
        "id": "TS-1", "transfer_id": "TR-1", "origin": _WAREHOUSE, "destination": _LOCATION, **_WHEN, "goods": _GOODS,
    },
    "transfer.received.v1": {
        "id": "TS-2", "transfer_id": "TR-1", "origin": _WAREHOUSE, "destination": _LOCATION, **_WHEN, "goods": _GOODS,
        "final": True,
    },
    "purchase.received.v1": {
        "id": "RC-1", "order": {"id": "PO-1", "number": "PO-1"}, "supplier": _SUPPLIER, "location": _WAREHOUSE,
        "delivery_note": "D-4711", **_WHEN,
        "lines": [{"line_id": "1", "sku": "SKU-0001", "accepted": "118", "rejected": "2", "lot": "L-77",
                   "expires_on": "2027-11-01"}],
    },
    "stock_level.v1": {
        "id": "SKU-0001@WH-1", "location": _WAREHOUSE, "sku": "SKU-0001", "as_of": "2026-11-21T12:00:00-05:00",
        "levels": [{"state": "available", "quantity": "94"}, {"state": "reserved", "quantity": "2"}], "reorder_point": "40",
    },
    "product.v2": {
        "id": "VAR-1", "sku": "SKU-0001", "gtins": ["4006381333931", "96385074"], "name": "Filter coffee 250 g",
        "price": {"amount": _m("9.50"), "tax_included": False},
        "variant": {"product_id": "P-1", "product_name": "Filter coffee", "options": [{"name": "size", "value": "250 g"}]},
        "status": "active", "updated_at": "2026-11-20T10:00:00Z",
    },
    "price.v1": {
        "id": "PR-1", "sku": "SKU-0001", "price_list": "retail", "amount": _m("9.50"), "tax_included": False,
        "valid_from": "2026-11-01T00:00:00-04:00", **_UPDATED,
    },
    "price.changed.v1": {
        "id": "PC-1", "sku": "SKU-0001", "price_list": "retail", "before": _m("9.20"), "after": _m("9.50"),
        "tax_included": False, "occurred_at": "2026-11-01T00:00:00-04:00", "reason": "green coffee",
    },
    "tax_rate.v1": {
        "id": "TX-1", "name": "Sales tax", "rate": "9", "category": "S", "country": "US", "region": "ME", "included": False,
        "valid_from": "2020-01-01", **_UPDATED,
    },
    "customer.v1": {
        "id": "C-9", "number": "9", "name": "Ada Doe", "email": "ada@example.com", "addresses": [_ADDRESS],
        "groups": ["regulars"], "marketing": False, **_UPDATED,
    },
    "supplier.v1": {
        "id": "SU-1", "code": "ROASTERY", "name": "Bay Roastery", "gln": "4012345000009", "email": "orders@example.com",
        "address": _ADDRESS, **_UPDATED,
    },
    "location.v1": {
        "id": "L-1", "code": "HARBOUR-ST", "name": "Harbour Street", "type": "store", "gln": "4012345000016",
        "address": _ADDRESS, "time_zone": "America/New_York", "currency": "USD", "opened_on": "2019-05-04", **_UPDATED,
    },
    "purchase_order.v1": {
        "id": "PO-1", "number": "PO-1", "supplier": _SUPPLIER, "destination": _WAREHOUSE, "state": "ordered",
        "ordered_at": "2026-11-10T08:00:00-05:00", "expected_at": "2026-11-21T08:00:00-05:00",
        "lines": [{"id": "1", "sku": "SKU-0001", "supplier_sku": "BR-250", "quantity": "120", "unit_cost": _m("3.15"),
                   "total": _m("378.00")}],
        "total": _m("378.00"), "updated_at": "2026-11-10T08:00:00Z",
    },
    "account.v1": {"id": "AC-4400", "code": "4400", "name": "Sales 19 % VAT", "type": "income", **_UPDATED},
    "invoice.v1": {
        "id": "I-1", "number": "2026-0001", "issued_on": "2026-11-21", "supplied_on": "2026-11-20", **_BILL, **_BILL_SUMS,
        "due_on": "2026-12-05",
    },
    "credit_note.v1": {
        "id": "CN-1", "number": "2026-C001", "issued_on": "2026-11-22", **_BILL, **_BILL_SUMS,
        "original": {"id": "I-1", "number": "2026-0001"}, "reason": "delivered damaged",
    },
    "journal_entry.v1": {
        "id": "J-1", "journal": "sales", "booking_date": "2026-11-21",
        "lines": [
            {"id": "1", "account": {"code": "1000", "name": "Cash"}, "side": "debit", "amount": _m("34.70"),
             "converted": {"amount": _eur("32.02"), "rate": "0.92276", "source": "ECB", "on": "2026-11-20"}},
            {"id": "2", "account": {"code": "4000"}, "side": "credit", "amount": _m("34.70"),
             "converted": {"amount": _eur("32.02"), "rate": "0.92276", "source": "ECB", "on": "2026-11-20"}},
        ],
        "sources": [{"id": "S-1001"}], "text": "Sales of 21 November",
    },
}  # fmt: skip
