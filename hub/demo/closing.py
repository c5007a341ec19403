"""The closing table, computed from the three systems' own books against the hub's."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from canonical.money import amount, total
from canonical.registry import TYPES
from canonical.totals import signed_lines
from hub.demo.day import Day
from hub.demo.stage import TENANT, Stage
from hub.reconcile.compare import Comparison, compare, divergences
from hub.reconcile.measure import documents_of, documents_open, money_by_tender, stock_by_sku

_TRANSACTIONS = ("sale.completed.v1", "return.completed.v1", "exchange.completed.v1")
_STOCK_FACTS = ("stock.counted.v1", "stock.adjusted.v1")
_TENDER_OF = {"CASH": "cash", "CARD": "card", "SQUARE_GIFT_CARD": "gift_card", "WALLET": "wallet"}
#: The tenders' accounts in the ERP, as in stores.yaml: wallet and card share one.
_ACCOUNTS = {"cash": "1.1.1", "card": "1.1.2", "gift_card": "1.1.3"}
_SAME_ACCOUNT = {"wallet": "card"}
#: A movement by a sale comes with its order; goods that come back are a fact of their own (`restocked_by` in stores.yaml).
_BY_SALE = ("SOLD",)
#: The ERP's accounts of tax and of gift cards that are owed, as in stores.yaml.
_OWED = {"tax": "2.2.4", "gift cards owed": "2.2.2"}
_KEY = re.compile(r"XD[0-9A-F]{24}")


@dataclass
class Closing:
    """The figures of the day; `lost` and `doubled` list what they count."""

    facts: int = 0
    special: Mapping[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    money: list[tuple[str, list[Comparison]]] = field(default_factory=list)
    owed: list[tuple[str, list[Comparison]]] = field(default_factory=list)
    stock: list[tuple[str, list[Comparison]]] = field(default_factory=list)
    audit_broken_at: int | None = None
    refused_audited: int = 0
    surprises: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        return sum(len(divergences(rows)) for _, rows in (*self.money, *self.owed, *self.stock))

    @property
    def clean(self) -> bool:
        """Whether the promises held."""
        return not (self.lost or self.doubled or self.differences or self.surprises) and self.audit_broken_at is None


def close_books(stage: Stage, day: Day) -> Closing:
    """Read all books and compare."""
    closing = Closing(special=dict(day.special), acknowledged=len({(w.url, w.body) for w in stage.sender.acknowledged}))
    with stage.store.read() as uow:
        deliveries = _all(lambda after: uow.deliveries.page(TENANT, after, 200))
        messages = _all(lambda after: uow.messages.page(TENANT, after, 200))
        raws = _all(lambda after: uow.raws.page(TENANT, after, 200))
        closing.audit_broken_at = uow.audit.verify(TENANT)
        closing.refused_audited = sum(
            row["action"] == "webhook.refused" for row in uow.audit.page(TENANT, None, 100000, "connection/pos")
        )
    for row in deliveries:
        of = closing.states.setdefault(row["connection_id"], {})
        of[row["state"]] = of.get(row["state"], 0) + 1
    closing.quarantined = [row for row in raws if row["state"] == "quarantined"]
    closing.dead = [row for row in deliveries if row["state"] == "dead"]
    closing.waiting = [row for row in deliveries if row["state"] in ("pending", "held", "claimed", "sending", "ambiguous")]
    if closing.refused_audited != day.signature_refusals:
        closing.surprises.append(f"{day.signature_refusals} forged webhooks, {closing.refused_audited} audit lines")
    if len(closing.quarantined) != day.malformed:
        closing.surprises.append(f"{day.malformed} malformed payloads, {len(closing.quarantined)} in quarantine")
    _find_lost(stage, closing, messages, deliveries, raws)
    _find_doubled(stage, closing)
    _compare_money(stage, closing)
    _compare_owed(stage, closing)
    _compare_stock(stage, closing)
    return closing


def _all(page: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        found = page(after)
        rows += found[:200]
        if len(found) <= 200:
            return rows
        after = found[199]["id"]


def _find_lost(stage: Stage, closing: Closing, messages: list[Any], deliveries: list[Any], raws: list[Any]) -> None:
    """What the till knows and the hub does not; what was acknowledged and is not stored; what is applied and not there."""
    facts = {f"order:{order_id}" for order_id in stage.square.orders}
    for change in stage.square.changes:
        body = change.get("physical_count") or change["adjustment"]
        if not {body.get("from_state"), body.get("to_state")} & set(_BY_SALE):
            facts.add(f"inventory:{body['id']}")
    closing.facts = len(facts)
    known = {row["source_id"]: row for row in messages}
    closing.lost += [f"{fact}: the till knows it, the hub does not" for fact in sorted(facts - known.keys())]
    stored = {row["source_event_id"] for row in raws}
    for webhook in stage.sender.acknowledged:
        match = re.search(rb'"event_id":"([^"]+)"', webhook.body)
        if match and match[1].decode() not in stored:
            closing.lost.append(f"webhook {match[1].decode()}: answered 2xx and not stored")
    expected = {"erp": _TRANSACTIONS, "stock": (*_TRANSACTIONS, *_STOCK_FACTS)}
    for connection, types in expected.items():
        routed = {row["message_id"] for row in deliveries if row["connection_id"] == connection}
        for row in messages:
            if row["type"] in types and row["id"] not in routed:
                closing.lost.append(f"{row['source_id']}: no delivery to {connection}")
    there = {"erp": {i["reference"] for i in stage.erp.invoices() if i["state"] == "paid"}, "stock": _stock_keys(stage)}
    for row in deliveries:
        if row["state"] == "applied" and row["key"] not in there[row["connection_id"]]:
            closing.lost.append(f"delivery {row['id']} is applied, but {row['connection_id']} has no {row['key']}")


def _stock_keys(stage: Stage) -> set[str]:
    return {match[0] for note in stage.inventree.applied() if (match := _KEY.search(note))}


def _find_doubled(stage: Stage, closing: Closing) -> None:
    """The same reference twice in a target's own books."""
    for what, rows, name in (
        ("invoice", stage.erp.invoices(), "reference"),
        ("entry", stage.erp.entries(), "description"),
    ):
        seen: dict[str, int] = {}
        for row in rows:
            if _KEY.search(str(row[name] or "")):
                seen[row[name]] = seen.get(row[name], 0) + 1
        closing.doubled += [f"ERP {what} {key}: {count} times" for key, count in seen.items() if count > 1]
    closing.doubled += [f"stock note {note}: {count} times" for note, count in stage.inventree.applied().items() if count > 1]


def _compare_money(stage: Stage, closing: Closing) -> None:
    till = _by_account({_TENDER_OF[kind]: amount for kind, amount in stage.square.money().items()})
    everything = documents_of(stage.store, TENANT, tuple(TYPES))
    held = _by_account(money_by_tender(_held(stage), everything))
    hub = _by_account(money_by_tender(everything))
    missing = _by_account(money_by_tender(documents_open(stage.store, TENANT, "erp"), everything))
    missing = {kind: amount - held.get(kind, Decimal(0)) for kind, amount in missing.items()}
    closing.money = [
        ("till → hub", compare(till, hub, held)),
        ("hub → ERP", compare(hub, stage.erp.money(_ACCOUNTS), missing)),
    ]


def _compare_owed(stage: Stage, closing: Closing) -> None:
    """Tax, and gift cards that were sold: neither is revenue."""
    everything = documents_of(stage.store, TENANT, tuple(TYPES))
    hub, held, open_ = _owed(everything), _owed(_held(stage)), _owed(documents_open(stage.store, TENANT, "erp"))
    missing = {name: open_[name] - held[name] for name in _OWED}
    booked = {name: -value for name, value in stage.erp.money(_OWED).items()}
    closing.owed = [
        ("till → hub", compare(owed_by_till(stage.square.orders.values()), hub, held)),
        ("hub → ERP", compare(hub, booked, missing)),
    ]


def _owed(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Decimal]:
    """Tax and gift cards by documents; what a return gives back counts negative."""
    found = dict.fromkeys(_OWED, Decimal(0))
    for name, document in documents:
        if name in _TRANSACTIONS:
            sign = -1 if name.startswith("return.") else 1
            for parity, line in signed_lines(document):
                found["tax"] += sign * parity * total(tax["amount"] for tax in line.get("taxes", ()))
                if line.get("kind") == "gift_card":
                    found["gift cards owed"] += sign * parity * amount(line["total"])
    return found


def owed_by_till(orders: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Sum tax and gift cards of Square's own orders; what their returns give back counts negative."""
    cents = dict.fromkeys(_OWED, 0)
    for order in orders:
        back = order.get("return_amounts", {}).get("tax_money", {"amount": 0})
        cents["tax"] += order["total_tax_money"]["amount"] - back["amount"]
        cents["gift cards owed"] += _gift_cards(order.get("line_items", ()))
        cents["gift cards owed"] -= sum(_gift_cards(part["return_line_items"]) for part in order.get("returns", ()))
    return {name: Decimal(value).scaleb(-2) for name, value in cents.items()}


def _gift_cards(lines: Iterable[Mapping[str, Any]]) -> int:
    return sum(line["total_money"]["amount"] for line in lines if line["item_type"] == "GIFT_CARD")


def _by_account(totals: dict[str, Decimal]) -> dict[str, Decimal]:
    merged: dict[str, Decimal] = {}
    for kind, value in totals.items():
        account = _SAME_ACCOUNT.get(kind, kind)
        merged[account] = merged.get(account, Decimal(0)) + value
    return merged


def _compare_stock(stage: Stage, closing: Closing) -> None:
    everything = documents_of(stage.store, TENANT, tuple(TYPES))
    held = _held(stage)
    all_levels = stock_by_sku([*everything, *held])
    hub = stock_by_sku(everything)
    till = stage.square.stock()
    explained = {sku: all_levels.get(sku, Decimal(0)) - hub.get(sku, Decimal(0)) for sku in all_levels}
    missing_ids = {document["id"] for _, document in documents_open(stage.store, TENANT, "stock")}
    arrived = stock_by_sku([(name, document) for name, document in everything if document["id"] not in missing_ids])
    missing = {sku: hub[sku] - arrived.get(sku, Decimal(0)) for sku in hub}
    closing.stock = [
        ("till → hub", compare(till, hub, explained)),
        ("hub → stock", compare(hub, stage.inventree.stock(), missing)),
    ]


def _held(stage: Stage) -> list[tuple[str, dict[str, Any]]]:
    """Suspected duplicates that wait for a person."""
    with stage.store.read() as uow:
        held = {row["id"] for row in uow.messages.page(TENANT, None, 200, state="held")}
        rows = uow.deliveries.with_bodies(TENANT, "erp", ("held",))
    return [(row["type"], orjson.loads(row["body"])["data"]) for row in rows if row["message_id"] in held]


def print_closing(closing: Closing, console: Console, real_erp: bool) -> None:
    """The table people see at the end."""
    erp = "Tryton server" if real_erp else "Tryton simulator"
    console.rule("[bold]Closing the day")
    table = Table(title=f"Deliveries (targets: {erp}, InvenTree simulator)", title_justify="left")
    for column in ("to", "applied", "skipped", "waiting", "held", "dead-lettered"):
        table.add_column(column, justify="left" if column == "to" else "right")
    for connection, states in sorted(closing.states.items()):
        waiting = sum(states.get(state, 0) for state in ("pending", "claimed", "sending", "ambiguous"))
        numbers = (
            states.get("applied", 0),
            states.get("skipped", 0),
            waiting,
            states.get("held", 0),
            states.get("dead", 0),
        )
        table.add_row(connection, *(str(number) for number in numbers))
    console.print(f"Events at the till {closing.facts} · webhooks acknowledged {closing.acknowledged} · "
                  f"quarantined {len(closing.quarantined)} · "
                  f"forged webhooks refused and audited {closing.refused_audited}")  # fmt: skip
    among = " · ".join(f"{name} {count}" for name, count in sorted(closing.special.items()))
    console.print(f"Among them: {among}", highlight=False)
    console.print(table)
    for row in closing.quarantined:
        console.print(f"  quarantined   {row['cause_code']}: {row['cause']}\n    remedy      {row['remedy']}", highlight=False)
    for row in closing.dead:
        console.print(f"  dead-lettered {row['connection_id']}: {row['cause_code']}: {row['cause'].splitlines()[0]}\n"
                      f"    remedy      {row['remedy']}", highlight=False)  # fmt: skip
    for row in closing.waiting:
        console.print(
            f"  {row['state']:13} {row['connection_id']}: {row['cause_code'] or 'due'} {row['subject']}",
            highlight=False,
        )
    for title, form, comparisons in (
        ("Money per tender (USD)", ".2f", closing.money),
        ("Tax and gift cards (USD)", ".2f", closing.owed),
        ("Stock per SKU (pieces)", "f", closing.stock),
    ):
        console.print(_comparison_table(title, form, comparisons))
    for text in (*closing.lost, *closing.doubled, *closing.surprises):
        console.print(f"[red]{text}", highlight=False)
    chain = "whole" if closing.audit_broken_at is None else f"BROKEN at {closing.audit_broken_at}"
    style = "bold green" if closing.clean else "bold red"
    console.print(
        f"lost {len(closing.lost)} · doubled {len(closing.doubled)} · unexplained differences {closing.differences} · "
        f"audit chain {chain}", style=style, highlight=False,
    )  # fmt: skip


def _comparison_table(title: str, form: str, comparisons: list[tuple[str, list[Comparison]]]) -> Table:
    """One row per key: till, hub, target, and what explains a difference."""
    left, right = ({row.key: row for row in rows} for _, rows in comparisons)
    table = Table(title=title, title_justify="left")
    for column in ("", "till", "hub", "target", "held at hub", "not yet applied", "difference"):
        table.add_column(column, justify="left" if not column else "right")
    for key in sorted({*left, *right}):
        none = Comparison(key, Decimal(0), Decimal(0), Decimal(0))
        first, second = left.get(key, none), right.get(key, none)
        # Differences of opposite signs must not hide each other.
        difference = abs(first.difference) + abs(second.difference)
        numbers = (first.left, second.left, second.right, first.explained, second.explained, difference)
        table.add_row(key, *(format(number, form) for number in numbers), style="red" if difference else "")
    return table
