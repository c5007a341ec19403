"""A stateful Square: orders, payments, refunds, catalogue, inventory, webhooks. Written from Square's OpenAPI description
2025-08-20 and its webhook documentation; every webhook is Square's own example with this seller's ids and amounts in it.
"""

import json
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import Any

from canonical.money import allocate, from_minor, to_minor
from hub.sdk.webhook import SignatureScheme, sign
from hub_square import payments, till, wire
from hub_square.api import SquareApi
from hub_square.till import Charge, Rung

#: developer.squareup.com/docs/webhooks/step3validate
SIGNATURE = SignatureScheme("x-square-hmacsha256-signature", over=("url", "body"))

Json = dict[str, Any]


def sample(name: str) -> Json:
    """One of Square's own example payloads (see samples/SOURCE.md)."""
    loaded: Json = json.loads((resources.files("hub_square") / f"samples/{name}.json").read_text("utf-8"))
    return loaded


class SquareSimulator(SquareApi):
    """One seller; what is rung up is rung up at `location_id`.

    Attributes:
        token, signature_key: credentials the hub must use.
        webhooks: (event type, body, headers without signature) not yet taken by `take_webhooks`.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), timezone: str = "America/New_York") -> None:
        super().__init__(clock)
        self.token, self.signature_key = f"EAAA{secrets.token_hex(20)}", secrets.token_urlsafe(16)
        self.location_id, self.merchant_id = "S8GWD5R9QB376", "6SSW7HV8K2ST5"
        self.webhooks: list[Json] = []
        self._number = 1000
        self.add_location(self.location_id, timezone, name="Harbour Street")

    def add_location(
        self, location_id: str, timezone: str, country: str = "US", currency: str = wire.CURRENCY, name: str = "",
    ) -> str:  # fmt: skip
        """A location of the seller; returns its id."""
        self.locations[location_id] = {
            "id": location_id, "name": name or location_id, "timezone": timezone, "country": country, "currency": currency,
            "merchant_id": self.merchant_id, "status": "ACTIVE",
        }  # fmt: skip
        return location_id

    # -- the catalogue ------------------------------------------------------------------------------------------

    def add_item(self, sku: str, name: str, price_minor: int, opening: int, product_type: str = "REGULAR") -> str:
        """A catalogue item of one variation with opening stock; returns the variation's id."""
        variation_id, item_id = wire.new_id(24), wire.new_id(24)
        now = self._now()
        shared = {
            "updated_at": now, "version": len(self.variations) + 1, "is_deleted": False, "present_at_all_locations": True,
        }  # fmt: skip
        self.items[item_id] = {
            "type": "ITEM", "id": item_id, **shared, "item_data": {"name": name, "product_type": product_type},
        }  # fmt: skip
        self.variations[variation_id] = {
            "type": "ITEM_VARIATION", "id": variation_id, **shared,
            "item_variation_data": {
                "item_id": item_id, "name": name, "sku": sku, "pricing_type": "FIXED_PRICING", "ordinal": 1,
                "price_money": self._money(price_minor), "track_inventory": product_type == "REGULAR",
            },
        }  # fmt: skip
        if opening:
            self._change("PHYSICAL_COUNT", variation_id, opening, state="IN_STOCK")
        return variation_id

    def delete_item(self, variation_id: str) -> str:
        """Take a variation out of the catalogue: searches that include deleted objects still list it."""
        self.variations[variation_id] |= {"is_deleted": True, "updated_at": self._now()}
        self.variations[variation_id]["version"] += 1
        return variation_id

    def rung(self, variation_id: str, quantity: int | str = 1, **more: Any) -> Rung:
        """A line of an article at its price."""
        data = self.variations[variation_id]["item_variation_data"]
        given = {"name": data["name"], "price": data["price_money"]["amount"]} | more
        return Rung(object_id=variation_id, quantity=str(quantity), **given)

    def typed_in(self, name: str, price: int, item_type: str = "CUSTOM_AMOUNT", is_taxed: bool = True) -> Rung:
        """A line without an article: a bare amount, or a gift card (item_type GIFT_CARD)."""
        return Rung(name=name, price=price, item_type=item_type, taxes=till.SALES_TAX if is_taxed else ())

    def charge(self, name: str, taxes: Mapping[str, str], **size: Any) -> Charge:
        """A service charge of an ``amount`` or a ``percentage``, with taxes on top: name → percentage."""
        declared = [
            {"uid": tax.lower().replace(" ", "-"), "name": tax, "percentage": rate, "type": "ADDITIVE", "scope": "LINE_ITEM"}
            for tax, rate in taxes.items()
        ]
        return Charge(name=name, taxes=declared, **size)

    # -- what happens in the shop -------------------------------------------------------------------------------

    def ring_sale(
        self, lines: Iterable[tuple[str, int] | Rung], tender: str | Sequence[tuple[str, int]] = "CARD", discount: int = 0,
        tip: int = 0, announce: bool = True, ticket: str = "", charges: Sequence[Charge] = (), rounding: int = 0,
    ) -> Json:  # fmt: skip
        """A completed sale; ``discount`` minor units off the first line; ``tender``: one for all, or (type, amount) of each."""
        order = self._new_order()
        if ticket:
            order["ticket_name"] = ticket
        self._sell(order, self._rung(lines, discount), charges, tip, rounding)
        due = order["total_money"]["amount"]
        shares = [(tender, due)] if isinstance(tender, str) else tender
        order["tenders"] = [self._tender(order, kind, amount, tip if place == 0 else 0)
                            for place, (kind, amount) in enumerate(shares)]  # fmt: skip
        order["net_amounts"] = self._amounts(order, tip, rounding)
        self._store(order)
        self._goods_leave(order)
        if announce:
            self._announce_order(order)
            self._announce_payment(order)
        return order

    def ring_return(
        self, sale: Json, quantities: Mapping[str, int], announce: bool = True, tip: int = 0, amount: int = 0,
        rounding: int = 0, status: str = "COMPLETED", restock: bool = True,
    ) -> Json:  # fmt: skip
        """Lines and service charges of ``sale`` come back (uid → quantity), a tip, or an amount without goods; the money goes
        back to the sale's tender.
        """
        return self.ring_returns([(sale, till.returned(sale, quantities, tip, rounding, amount))], announce, status, restock)

    def ring_returns(
        self, parts: Sequence[tuple[Json, Json]], announce: bool = True, status: str = "COMPLETED", restock: bool = True
    ) -> Json:
        """One return order of (sale, its OrderReturn), one for each receipt."""
        order = self._new_order()
        back = self._bring_back(order, [part for _, part in parts])
        order["net_amounts"] = till.less(till.summed([], [], 0, 0, self.currency()), back)
        till.fill(order, till.summed([], [], 0, 0, self.currency()))
        order["refunds"] = [
            self._refund(order, sale, part["return_amounts"]["total_money"]["amount"], status) for sale, part in parts
        ]
        self._store(order)
        if restock:
            self._came_back(order)
        if announce:
            self._announce_order(order)
            self._announce_refund(order)
        return order

    def ring_exchange(
        self, sale: Json, quantities: Mapping[str, int], lines: Iterable[tuple[str, int] | Rung], tip: int = 0,
        others: Sequence[tuple[Json, Mapping[str, int]]] = (),
    ) -> Json:  # fmt: skip
        """Goods of ``sale`` (and of ``others``) come back and others are taken; the difference is paid or given back."""
        order = self._new_order()
        self._sell(order, self._rung(lines, 0), (), tip, 0)
        back = self._bring_back(order, [till.returned(each, counts) for each, counts in [(sale, quantities), *others]])
        order["net_amounts"] = till.less(self._amounts(order, tip, 0), back)
        difference = order["net_amounts"]["total_money"]["amount"]
        if difference > 0:
            order["tenders"] = [self._tender(order, "CARD", difference, tip)]
        elif difference < 0:
            order["refunds"] = [self._refund(order, sale, -difference, "COMPLETED")]
        self._store(order)
        self._came_back(order)
        self._goods_leave(order)
        self._announce_order(order)
        return order

    def settle_refund(self, order: Json, status: str) -> None:
        """The refunds of a return order end: COMPLETED or FAILED (PaymentRefund.status); its order says APPROVED or FAILED."""
        now = self._now()
        for refund in order["refunds"]:
            refund["status"] = "APPROVED" if status == "COMPLETED" else status
            self.refunds[refund["id"]] |= {"status": status, "updated_at": now}
        self.touch(order)
        self._announce_refund(order)

    def touch(self, order: Json) -> None:
        """Square changes an order later: it gets the fees of its payments, a new version and a new time of change."""
        for tender in order.get("tenders", []):
            fee = till.rounded(Decimal(tender["amount_money"]["amount"]) * 26 / 1000) + 10
            tender["processing_fee_money"] = self._money(fee)
        order |= {"version": order["version"] + 1, "updated_at": self._now()}
        self._announce_order(order)

    def count(self, variation_id: str, quantity: int, announce: bool = True) -> Json:
        """Somebody counted."""
        change = self._change("PHYSICAL_COUNT", variation_id, quantity, state="IN_STOCK")
        if announce:
            self._announce_inventory(variation_id)
        return change

    def adjust(self, variation_id: str, quantity: int, from_state: str, to_state: str, announce: bool = True) -> Json:
        """Stock moved between states, e.g. IN_STOCK to WASTE."""
        change = self._change("ADJUSTMENT", variation_id, quantity, from_state=from_state, to_state=to_state)
        if announce:
            self._announce_inventory(variation_id)
        return change

    # -- the seller's own books, for comparing ------------------------------------------------------------------

    def money(self) -> dict[str, Decimal]:
        """Tender type (Square's words) → what came in less what went out, of every completed order."""
        taken: dict[str, Decimal] = {}
        with self.lock:
            kinds = {t["id"]: t["type"] for order in self.orders.values() for t in order.get("tenders", [])}
            for order in self.orders.values():
                for tender in order.get("tenders", []):
                    amount = Decimal(tender["amount_money"]["amount"]) / 100
                    taken[tender["type"]] = taken.get(tender["type"], Decimal(0)) + amount
                for refund in order.get("refunds", []):
                    kind = kinds[refund["tender_id"]]
                    taken[kind] = taken.get(kind, Decimal(0)) - Decimal(refund["amount_money"]["amount"]) / 100
        return taken

    # -- webhooks -----------------------------------------------------------------------------------------------

    def take_webhooks(self, url: str) -> list[tuple[str, bytes, dict[str, str]]]:
        """(event id, body, headers with signature) of what happened since the last call."""
        with self.lock:
            taken, self.webhooks = self.webhooks, []
        return [(event["event_id"], *self.signed(event, url)) for event in taken]

    def signed(self, event: Json | bytes, url: str) -> tuple[bytes, dict[str, str]]:
        """(body, headers) as Square would send them to ``url``."""
        body = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
        signature = sign(SIGNATURE, self.signature_key, body, url)
        headers = {SIGNATURE.header: signature, "square-environment": "Production", "user-agent": "Square Connect v2"}
        return body, headers

    def _event(self, name: str, object_id: str, fill: Mapping[str, Any]) -> None:
        event = sample(name)
        event |= {"event_id": str(uuid.uuid4()), "created_at": self._now(), "merchant_id": self.merchant_id}
        event["data"]["id"] = object_id
        inner = event["data"]["object"]
        key = next(iter(inner))
        inner[key] = fill if isinstance(inner[key], list) else {**inner[key], **fill}
        with self.lock:
            self.webhooks.append(event)

    def _announce_order(self, order: Json) -> None:
        shown = {key: order[key] for key in ("created_at", "updated_at", "location_id", "state", "version")}
        self._event("order.updated", order["id"], {"order_id": order["id"], **shown})

    def _announce_payment(self, order: Json) -> None:
        for tender in order["tenders"][:1]:
            payment = self.payments[tender["payment_id"]]
            self._event("payment.updated", payment["id"], payment)

    def _announce_refund(self, order: Json) -> None:
        for refund in order["refunds"]:
            self._event("refund.updated", refund["id"], self.refunds[refund["id"]])

    def _announce_inventory(self, variation_id: str) -> None:
        level = self.stock().get(self.sku(variation_id), Decimal(0))
        self._event("inventory.count.updated", str(uuid.uuid4()), [{  # type: ignore[arg-type]
            "calculated_at": self._now(), "catalog_object_id": variation_id, "catalog_object_type": "ITEM_VARIATION",
            "location_id": self.location_id, "quantity": str(level), "state": "IN_STOCK",
        }])  # fmt: skip

    # -- inside -------------------------------------------------------------------------------------------------

    def currency(self) -> str:
        """The currency of the location that rings up."""
        return str(self._place()["currency"])

    def _place(self) -> Json:
        return self.locations.get(self.location_id) or {"country": "US", "currency": wire.CURRENCY}

    def _money(self, amount: int) -> Json:
        return wire.money(amount, self.currency())

    def _new_order(self) -> Json:
        now = self._now()
        self._number += 1
        return {
            "id": wire.new_id(29), "location_id": self.location_id, "ticket_name": str(self._number), "state": "COMPLETED",
            "source": {"name": "Square Point of Sale"}, "version": 2, "created_at": now, "updated_at": now, "closed_at": now,
        }  # fmt: skip

    def _store(self, order: Json) -> None:
        with self.lock:
            self.orders[order["id"]] = order

    def _rung(self, lines: Iterable[tuple[str, int] | Rung], discount: int) -> list[Rung]:
        given = [line if isinstance(line, Rung) else self.rung(*line) for line in lines]
        return [replace(line, discount=discount) if place == 0 and discount else line for place, line in enumerate(given)]

    def _sell(self, order: Json, lines: Sequence[Rung], charges: Sequence[Charge], tip: int, rounding: int) -> None:
        """Ring up lines and service charges: an apportioned charge is shared by the lines' prices after discounts."""
        country = str(self._place()["country"])
        prices = [till.line(line, self.currency(), country) for line in lines]
        net = [item["variation_total_price_money"]["amount"] - item["total_discount_money"]["amount"] for item in prices]
        made = [till.service_charge(charge, sum(net), self.currency()) for charge in charges]
        whole = sum(each["applied_money"]["amount"] for each in made if each["treatment_type"] == "APPORTIONED_TREATMENT")
        shares = _allocated(whole, net, self.currency())
        order["line_items"] = [
            till.line(line, self.currency(), country, share) for line, share in zip(lines, shares, strict=True)
        ]
        if made:
            order["service_charges"] = made
        if rounding:
            order["rounding_adjustment"] = {"uid": wire.new_id(10), "name": "Cash rounding",
                                            "amount_money": self._money(rounding)}  # fmt: skip
        applied = [*(tax for line in lines for tax in line.taxes), *(tax for charge in charges for tax in charge.taxes)]
        every = {tax["uid"]: tax for tax in applied}
        order["taxes"] = till.declared(list(every.values()), [*order["line_items"], *made], self.currency())
        till.fill(order, self._amounts(order, tip, rounding))

    def _amounts(self, order: Json, tip: int, rounding: int) -> Json:
        return till.summed(order["line_items"], order.get("service_charges", []), tip, rounding, self.currency())

    def _bring_back(self, order: Json, parts: Sequence[Json]) -> Json:
        """Put returns on an order; returns their sum."""
        order["returns"] = list(parts)
        back = till.summed([], [], 0, 0, self.currency())
        for part in parts:
            back = {name: self._money(back[name]["amount"] + part["return_amounts"][name]["amount"]) for name in back}
        order["return_amounts"] = back
        return back

    def _tender(self, order: Json, kind: str, amount: int, tip: int) -> Json:
        payment_id = wire.new_id(31)
        tender = {
            "id": payment_id, "type": kind, "location_id": self.location_id, "amount_money": self._money(amount),
            "tip_money": self._money(tip), "created_at": order["created_at"], "payment_id": payment_id,
        }  # fmt: skip
        if kind == "CASH":
            handed = -(-amount // 1000) * 1000  # the next ten-dollar note
            tender["cash_details"] = {
                "buyer_tendered_money": self._money(handed), "change_back_money": self._money(handed - amount),
            }  # fmt: skip
        tender |= payments.details(kind)
        self.payments[payment_id] = payments.payment(order, tender, kind)
        return tender

    def _refund(self, order: Json, sale: Json, amount: int, status: str) -> Json:
        now, tender = self._now(), sale["tenders"][0]
        refund = {
            "id": f"{tender['payment_id']}_{wire.new_id(20)}", "location_id": self.location_id, "tender_id": tender["id"],
            "reason": "Returned goods", "amount_money": self._money(amount),
            "status": "APPROVED" if status == "COMPLETED" else status, "created_at": now,
        }  # fmt: skip
        self.refunds[refund["id"]] = payments.refund(order, tender, refund, status)
        return refund

    def _goods_leave(self, order: Json) -> None:
        for line in order["line_items"]:
            if self._is_tracked(line):
                self._change("ADJUSTMENT", line["catalog_object_id"], line["quantity"], from_state="IN_STOCK", to_state="SOLD",
                             transaction_id=order["id"])  # fmt: skip

    def _came_back(self, order: Json) -> None:
        for line in (line for part in order["returns"] for line in part["return_line_items"]):
            if self._is_tracked(line):
                self._change("ADJUSTMENT", line["catalog_object_id"], line["quantity"], from_state="UNLINKED_RETURN",
                             to_state="IN_STOCK", transaction_id=order["id"])  # fmt: skip

    def _is_tracked(self, line: Json) -> bool:
        variation = self.variations.get(line.get("catalog_object_id", ""))
        return bool(variation and variation["item_variation_data"]["track_inventory"])

    def _change(self, kind: str, variation_id: str, quantity: int | str, **more: str) -> Json:
        now = self._now()
        body = {
            "id": wire.new_id(24), "catalog_object_id": variation_id, "catalog_object_type": "ITEM_VARIATION",
            "location_id": self.location_id, "quantity": str(quantity), "occurred_at": now, "created_at": now, **more,
        }  # fmt: skip
        change = {"type": kind, "physical_count" if kind == "PHYSICAL_COUNT" else "adjustment": body}
        with self.lock:
            self.changes.append(change)
        return change


def _allocated(amount: int, weights: Sequence[int], currency: str) -> list[int]:
    """Shares of an amount, in minor units, by weight."""
    if not weights:
        return []
    return [to_minor(share) for share in allocate(from_minor(amount, currency), weights)]
