"""Reads an order's history: which lines it was made with, which payments completed it, which belong to later exchanges."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from hub_shopify.shapes import (
    JSON,
    Measure,
    UnsoundError,
    by_time,
    charges,
    figure,
    happened,
    in_shop,
    item_worth,
    kind_of,
    measure_of,
    tail,
)

#: Kinds of transactions that bring money, and the one that gives change from it.
_SIGNS = {"SALE": 1, "CAPTURE": 1, "CHANGE": -1}
#: States of a transaction whose end is not known yet.
UNSETTLED = ("PENDING", "AWAITING_RESPONSE", "UNKNOWN")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """New line items of an order, and the refunds of what came back for them."""

    id: str
    lines: tuple[str, ...]
    refunds: tuple[str, ...]


@dataclass
class Payments:
    """Payments of an order by time, consumed by the documents that they pay."""

    order: JSON
    left: list[JSON] = field(init=False)

    def __post_init__(self) -> None:
        made = [item for item in self.order["transactions"] if item["status"] == "SUCCESS" and item["kind"] in _SIGNS]
        self.left = sorted(made, key=lambda item: by_time(item, self.order))

    def take(self, due: Decimal) -> tuple[list[JSON], Decimal]:
        """Payments until ``due`` is reached, with the change given from them, and their sum."""
        measure, taken, received = measure_of(self.order), list[JSON](), Decimal(0)
        while self.left and (received < due or (taken and self.left[0]["kind"] == "CHANGE")):
            item = self.left.pop(0)
            taken.append(item)
            received += _SIGNS[item["kind"]] * measure(item["amountSet"])
        return taken, received

    def match(self, due: Decimal) -> list[JSON] | None:
        """Next payments if they are exactly ``due``; None (and nothing is taken) if they are not."""
        before = list(self.left)
        taken, received = self.take(due)
        if received == due:
            return taken
        self.left = before
        return None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """An order with what its documents have in common."""

    order: JSON
    exchanges: tuple[Exchange, ...]
    tip_ids: frozenset[str]
    payments: Payments

    @classmethod
    def of(cls, order: JSON) -> "Ledger":
        exchanges = tuple(_exchanges(order))
        added = {gid for exchange in exchanges for gid in exchange.lines}
        lines = _made_with(order, added)
        return cls(order=order, exchanges=exchanges, tip_ids=_tip_ids(order, lines, bool(added)), payments=Payments(order))

    @property
    def id(self) -> str:
        return tail(self.order["id"])

    @property
    def currency(self) -> str:
        return str(self.order["currencyCode"])

    @property
    def measure(self) -> Measure:
        return measure_of(self.order)

    @property
    def at_till(self) -> bool:
        return bool(self.order["sourceName"] == "pos")

    @property
    def base(self) -> JSON:
        """Total of the order as it was made. Edits and exchanges change `totalPriceSet`."""
        changed = self.order["edited"] or self.exchanges
        whole: JSON = self.order["originalTotalPriceSet"] if changed else self.order["totalPriceSet"]
        return whole

    @property
    def tip(self) -> Decimal:
        return in_shop(self.order["totalTipReceivedSet"])

    def original_items(self) -> list[JSON]:
        """Line items that the order was made with, without tips."""
        return [line for line in _made_with(self.order, self.added()) if line["id"] not in self.tip_ids]

    def items(self) -> list[JSON]:
        """All line items, without tips."""
        return [line for line in self.order["lineItems"]["nodes"] if line["id"] not in self.tip_ids]

    def added(self) -> frozenset[str]:
        """Line items that exchanges brought."""
        return frozenset(gid for exchange in self.exchanges for gid in exchange.lines)

    def exchange_of(self, refund: JSON) -> Exchange | None:
        """The exchange that a refund belongs to."""
        return next((item for item in self.exchanges if refund["id"] in item.refunds), None)

    def check_total(self) -> None:
        """Raise UnsoundError unless lines and charges are the total that Shopify states, and their taxes its tax."""
        measure, order = self.measure, self.order
        items = sum((item_worth(line, measure, order) for line in self.original_items()), Decimal(0))
        beside = sum((charge.worth(measure, order) for charge in charges(order)), Decimal(0))
        tip, stated = measure(order["totalTipReceivedSet"]), measure(self.base)
        if items + beside + tip != stated:
            parts = f"lines {figure(items)} + delivery, duties and fees {figure(beside)} + tip {figure(tip)}"
            said = f"{parts} is not the order's total of {figure(stated)}"
            raise UnsoundError("total_differs", f"order {order['name']}: {said}")
        if not order["edited"] and not self.exchanges and order["totalTaxSet"]:
            taxes = [tax for holder in [*self.original_items(), *charges(order)] for tax in _tax_lines(holder)]
            taxed, named = sum((measure(tax["priceSet"]) for tax in taxes), Decimal(0)), measure(order["totalTaxSet"])
            if taxed != named:
                said = f"the taxes of lines and charges are {figure(taxed)}, the order's tax is {figure(named)}"
                raise UnsoundError("tax_differs", f"order {order['name']}: {said}")

    def is_original(self, completed_at: str) -> bool:
        """Whether what was paid at that time is the order as it was made: every edit came later."""
        if not self.order["edited"]:
            return True
        edits = [item["happenedAt"] for item in self.order["agreements"]["nodes"] if item["reason"] == "ORDER_EDIT"]
        if not edits:  # an exchange marks its order as edited, too
            return bool(self.exchanges)
        return min(map(datetime.fromisoformat, edits)) >= datetime.fromisoformat(completed_at)

    def voided(self) -> list[tuple[JSON, JSON]]:
        """(void, payment) of payments that were taken back after they had succeeded."""
        by_id = {item["id"]: item for item in self.order["transactions"]}
        return [
            (item, by_id[item["parentTransaction"]["id"]])
            for item in self.order["transactions"]
            if item["kind"] == "VOID" and item["status"] == "SUCCESS" and item["parentTransaction"]
            and (payment := by_id.get(item["parentTransaction"]["id"]))
            and payment["kind"] in ("SALE", "CAPTURE") and payment["status"] == "SUCCESS"
        ]  # fmt: skip

    def at(self, transaction: JSON) -> str:
        return happened(transaction, self.order)


def _made_with(order: JSON, exchanged: Collection[str]) -> list[JSON]:
    """Line items that an order was made with: of an edited one those that its first agreement names."""
    agreed = {sale["lineItem"]["id"] for item in order["agreements"]["nodes"] if item["reason"] == "ORDER"
              for sale in item["sales"]["nodes"] if sale.get("lineItem")}  # fmt: skip
    return [line for line in order["lineItems"]["nodes"]
            if line["id"] not in exchanged and (not agreed or line["id"] in agreed)]  # fmt: skip


def _tax_lines(holder: object) -> Sequence[JSON]:
    found: Sequence[JSON] = holder["taxLines"] if isinstance(holder, dict) else holder.tax_lines  # type: ignore[attr-defined]
    return found


def _tip_ids(order: JSON, lines: list[JSON], has_exchanges: bool) -> frozenset[str]:
    """Line items that are the tip itself: without article and tax, together the tip that the order states."""
    tip, changed = in_shop(order["totalTipReceivedSet"]), order["edited"] or has_exchanges
    if not tip:
        return frozenset()
    stated = in_shop(order["originalTotalPriceSet"] if changed else order["totalPriceSet"])
    whole = sum((item_worth(line, in_shop, order) for line in lines), Decimal(0))
    whole += sum((charge.worth(in_shop, order) for charge in charges(order)), Decimal(0))
    if whole + tip == stated:  # the tip is beside the lines
        return frozenset()
    plain = [line for line in lines if kind_of(line) == "amount" and not line["taxLines"]]
    for candidates in (plain, *([line] for line in reversed(plain))):
        if sum((item_worth(line, in_shop, order) for line in candidates), Decimal(0)) == tip:
            return frozenset(line["id"] for line in candidates)
    return frozenset()


def _exchanges(order: JSON) -> Iterator[Exchange]:
    """Exchanges of an order: returns with new items, and those that an older till made."""
    known: set[str] = set()
    for item in order["returns"]["nodes"]:
        new = [node["lineItem"]["id"] for node in item["exchangeLineItems"]["nodes"] if node["lineItem"]]
        if new and item["status"] not in ("CANCELED", "DECLINED"):
            known.update(new)
            refunds = (refund["id"] for refund in order["refunds"] if (refund["return"] or {}).get("id") == item["id"])
            yield Exchange(id=tail(item["id"]), lines=tuple(new), refunds=tuple(refunds))
    for item in order["exchangeV2s"]["nodes"]:
        new = [node["lineItem"]["id"] for node in item["additions"]["lineItems"] if node["lineItem"]]
        if new and not known.intersection(new):
            yield Exchange(id=tail(item["id"]), lines=tuple(new), refunds=tuple(refund["id"] for refund in item["refunds"]))
