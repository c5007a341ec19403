"""Measure what the hub's documents say: money per tender at the tills, and the stock available per SKU.

Movements of goods have one definition, `canonical.movements`. Money has one too, `TILL_MONEY` below. A document that neither
can measure raises `NotMeasurableError`; no figure leaves it out silently.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from canonical import versions
from canonical.fields import parse_timestamp
from canonical.money import amount
from canonical.movements import movements
from canonical.registry import TYPES
from hub.store import Store

Totals = dict[str, Decimal]
Document = Mapping[str, Any]
Documents = Iterable[tuple[str, Document]]

#: Entity and event of every canonical type → the sign with which its tenders (less change) count as money at a till; None for
#: a type that moves no money at a till. Payments and gift card facts tell of tenders that a transaction at the till lists;
#: a till's float and closure tell of money that is already counted.
TILL_MONEY: dict[str, int | None] = {
    "sale.completed": 1, "return.completed": -1, "exchange.completed": 1, "sale.voided": -1,
    **dict.fromkeys(("till.opened", "till.closed", "till.cash_moved", "store_day.closed")),
    **dict.fromkeys(("payment.captured", "payment.refunded", "payment.charged_back", "payment.reversed")),
    **dict.fromkeys(("payment.authorized", "payment.made", "payout.settled", "bank.line")),
    **dict.fromkeys(("gift_card.issued", "gift_card.reloaded", "gift_card.redeemed", "gift_card.adjusted")),
    **dict.fromkeys(("order.placed", "order.changed", "order.cancelled")),
    **dict.fromkeys(("fulfillment.completed", "shipment.dispatched", "shipment.delivered")),
    **dict.fromkeys(("stock.counted", "stock.adjusted", "stock.reserved", "stock.released", "stock_level")),
    **dict.fromkeys(("transfer.sent", "transfer.received", "purchase.received", "purchase_order")),
    **dict.fromkeys(("product", "price", "price.changed", "tax_rate", "customer", "supplier", "location")),
    **dict.fromkeys(("account", "invoice", "credit_note", "journal_entry")),
}  # fmt: skip


class NotMeasurableError(ValueError):
    """A document that cannot be measured; the message names the document and the remedy."""


@dataclass(frozen=True, kw_only=True)
class _Fact:
    """A count or a movement of available stock at an instant; counts come after movements of the same instant."""

    at: datetime
    is_count: bool
    sku: str
    place: str
    lot: str
    quantity: Decimal


def money_by_tender(documents: Documents, known: Documents = ()) -> Totals:
    """Sum by tender type what came in less what went out; change is taken off the cash.

    A void without tenders counts with those of its sale, which is looked for in ``documents`` and in ``known``. Raises
    NotMeasurableError for a type that the hub does not know, for such a void whose sale is not there, and for documents in more
    than one currency.
    """
    given = [_in_v1(*item) for item in documents]
    sales = _sales([*given, *(_in_v1(*item) for item in known)])
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    currencies: set[str] = set()
    for entity, document in given:
        sign = TILL_MONEY[entity]
        if sign is None:
            continue
        paid = document if "tenders" in document else _sale_of(document, sales)
        for tender in paid["tenders"]:
            totals[tender["type"]] += sign * amount(tender["amount"])
            currencies.add(tender["amount"]["currency"])
        if change := paid.get("change"):
            totals["cash"] -= sign * amount(change)
            currencies.add(change["currency"])
        if len(currencies) > 1:
            raise NotMeasurableError(f"money in {' and '.join(sorted(currencies))} has no sum; measure one currency at a time")
    return {kind: value for kind, value in totals.items() if value}


def _in_v1(type_name: str, document: Document) -> tuple[str, Document]:
    """(entity and event, the document in major 1)."""
    entity = _entity(type_name)
    found = versions.cast(type_name, document, 1)
    if found is None:
        raise NotMeasurableError(f"{type_name} {document.get('id')} has no caster to v1; add it to canonical.versions")
    return entity, found[1]


def _entity(type_name: str) -> str:
    """The entity and event of a type; NotMeasurableError unless it is in the registry and in `TILL_MONEY`."""
    entity = type_name.rpartition(".v")[0]
    if type_name not in TYPES or entity not in TILL_MONEY:
        raise NotMeasurableError(f"{type_name!r} is not a type that the hub can measure; see canonical.registry and TILL_MONEY")
    return entity


def _sales(documents: Documents) -> Mapping[str, Sequence[Document]]:
    """Sales by their id: two places may use the same one."""
    found: defaultdict[str, list[Document]] = defaultdict(list)
    for entity, document in documents:
        if entity == "sale.completed":
            found[document["id"]].append(document)
    return found


def _sale_of(void: Document, sales: Mapping[str, Sequence[Document]]) -> Document:
    """The sale that a void undoes."""
    named = sales.get(void["original"]["id"], ())
    here = [sale for sale in named if sale["location"]["code"] == void["location"]["code"]]
    found = here or named
    if not found:
        raise NotMeasurableError(
            f"void {void['id']} names no tenders, and its sale {void['original']['id']} is not among the documents"
        )
    if any((sale["tenders"], sale.get("change")) != (found[0]["tenders"], found[0].get("change")) for sale in found):
        raise NotMeasurableError(
            f"void {void['id']} names no tenders, and {len(found)} sales have the id {void['original']['id']}"
        )
    return found[0]


def stock_by_sku(documents: Documents) -> Totals:
    """Sum the available stock of each SKU over all places; see `stock_by_place`."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (sku, _), quantity in stock_by_place(documents).items():
        totals[sku] += quantity
    return dict(totals)


def stock_by_place(documents: Documents) -> dict[tuple[str, str], Decimal]:
    """(SKU, place) → available stock: the newest count plus the movements after it, by instant.

    A movement at the instant of a count is part of what was counted. A count that names a lot replaces that lot, one that
    names none replaces all lots. Raises NotMeasurableError for a type that the hub does not know.
    """
    levels: dict[tuple[str, str], defaultdict[str, Decimal]] = {}
    facts = [fact for item in documents for fact in _facts(*item)]
    for fact in sorted(facts, key=lambda fact: (fact.at, fact.is_count)):
        lots = levels.setdefault((fact.sku, fact.place), defaultdict(Decimal))
        if not fact.is_count:
            lots[fact.lot] += fact.quantity
            continue
        if not fact.lot:
            lots.clear()
        lots[fact.lot] = fact.quantity
    return {key: sum(lots.values(), Decimal(0)) for key, lots in levels.items()}


def _facts(type_name: str, document: Document) -> Iterable[_Fact]:
    """The count or the movements of available stock that a document tells."""
    if _entity(type_name) == "stock.counted":
        if document["state"] == "available":
            yield _Fact(
                at=parse_timestamp(document["occurred_at"]), is_count=True, sku=document["sku"],
                place=document["location"]["code"], lot=document.get("lot", ""), quantity=Decimal(document["quantity"]),
            )  # fmt: skip
        return
    for move in movements(type_name, document):
        if signed := move.quantity * ((move.to_state == "available") - (move.from_state == "available")):
            yield _Fact(
                at=parse_timestamp(document["occurred_at"]), is_count=False, sku=move.sku, place=move.place, lot=move.lot,
                quantity=signed,
            )  # fmt: skip


def documents_of(store: Store, tenant_id: str, types: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """(type, document) of every message of ``types`` that was not dropped as a duplicate; corrected where a person did so."""
    with store.read() as uow:
        rows = uow.messages.each(tenant_id, types)
        corrected = uow.corrections.newest(tenant_id)
    return [
        (found["type"], orjson.loads(found["after"]))
        if (found := corrected.get(f"message/{row['id']}"))
        else (row["type"], orjson.loads(row["body"])["data"])
        for row in rows
        if row["state"] not in ("held", "dropped")
    ]


def documents_open(store: Store, tenant_id: str, connection_id: str) -> list[tuple[str, dict[str, Any]]]:
    """(type, document) of what has not reached ``connection_id``: waiting, held, dead or discarded."""
    states = ("pending", "claimed", "sending", "ambiguous", "dead", "discarded", "held")
    with store.read() as uow:
        rows = uow.deliveries.with_bodies(tenant_id, connection_id, states)
        corrected = uow.corrections.newest(tenant_id)
    return [
        (found["type"], orjson.loads(found["after"]))
        if (found := corrected.get(f"message/{row['message_id']}"))
        else (row["type"], orjson.loads(row["body"])["data"])
        for row in rows
    ]
