"""The hub's own measure: money per tender and stock movements per SKU, from the documents it holds."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from canonical.money import amount
from hub.store import Store

Totals = dict[str, Decimal]
#: Transactions at a till and the sign of their amounts.
_SIGNS = {"sale.completed.v1": 1, "return.completed.v1": -1, "exchange.completed.v1": 1}


def money_by_tender(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> Totals:
    """Tender type → what came in less what went out; change is taken off the cash."""
    totals: Totals = {}
    for type_name, document in documents:
        sign = _SIGNS.get(type_name)
        if sign is None:
            continue
        for tender in document["tenders"]:
            kind = tender["type"]
            totals[kind] = totals.get(kind, Decimal(0)) + sign * amount(tender["amount"])
        if change := amount(document.get("change")):
            totals["cash"] = totals.get("cash", Decimal(0)) - change
    return {kind: value for kind, value in totals.items() if value}


def stock_by_sku(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> Totals:
    """SKU → available stock: the newest count plus every movement after it, in event order."""
    levels: Totals = {}
    for type_name, document in sorted(documents, key=lambda item: str(item[1].get("occurred_at", ""))):
        if type_name == "stock.counted.v1":
            if document["state"] == "available":
                levels[document["sku"]] = Decimal(document["quantity"])
            continue
        for sku, quantity in _movements(type_name, document):
            levels[sku] = levels.get(sku, Decimal(0)) + quantity
    return levels


def _movements(type_name: str, document: Mapping[str, Any]) -> Iterable[tuple[str, Decimal]]:
    if type_name == "stock.adjusted.v1":
        for state, sign in ((document["from_state"], -1), (document["to_state"], 1)):
            if state == "available":
                yield document["sku"], sign * Decimal(document["quantity"])
    elif type_name in _SIGNS:
        out = document["lines"] if type_name != "return.completed.v1" else ()
        back = document.get("returned", document["lines"] if type_name == "return.completed.v1" else ())
        for lines, sign in ((out, -1), (back, 1)):
            for line in lines:
                yield line["sku"], sign * Decimal(line["quantity"])


def documents_of(store: Store, tenant_id: str, types: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """(type, document) of every message of ``types`` that was not dropped as a duplicate."""
    with store.read() as uow:
        rows = uow.messages.each(tenant_id, types)
    return [(row["type"], orjson.loads(row["body"])["data"]) for row in rows if row["state"] not in ("held", "dropped")]


def documents_open(store: Store, tenant_id: str, connection_id: str) -> list[tuple[str, dict[str, Any]]]:
    """(type, document) of what has not reached ``connection_id``: waiting, held, dead or discarded."""
    states = ("pending", "claimed", "sending", "ambiguous", "dead", "discarded", "held")
    with store.read() as uow:
        rows = uow.deliveries.with_bodies(tenant_id, connection_id, states)
    return [(row["type"], orjson.loads(row["body"])["data"]) for row in rows]
