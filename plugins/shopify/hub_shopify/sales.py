"""Tells the sale of an order once it is paid, the gift cards sold with it, and payments that belong to no sale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from canonical.money import money, total
from hub.sdk import Document, Ignored, Refused
from hub_shopify.ledger import Ledger
from hub_shopify.places import Places
from hub_shopify.shapes import (
    JSON,
    Articles,
    Json,
    UnsoundError,
    charges,
    figure,
    in_shop,
    is_foreign,
    kind_of,
    presented,
    sums,
    tail,
)

Told = Document | Ignored | Refused


@dataclass(frozen=True)
class Sales:
    """Sales by a connection's settings."""

    articles: Articles
    places: Places

    def told(self, ledger: Ledger) -> tuple[list[Told], bool]:
        """(the sale of an order or why there is none, whether its refunds are returns of a sale)."""
        order, measure = ledger.order, ledger.measure
        due = measure(ledger.base)
        has_payments = bool(ledger.payments.left)
        taken, received = ledger.payments.take(due)
        figures = f"{figure(received)} of {figure(due)} {order['presentmentCurrencyCode']}"
        completed_at = ledger.at(taken[-1]) if taken else str(order["processedAt"])
        if order["edited"] and not (received == due and ledger.is_original(completed_at)):
            if not has_payments and due:
                return [Ignored(f"{figures} is paid; the sale comes when it is paid")], False
            return [self._refused(ledger, "edited_sale", "was edited before it was paid: what of it is booked is not "
                                  f"knowable ({figures} of the order as it was made is paid)")], True  # fmt: skip
        if received < due:
            return self._unpaid(ledger, taken, figures), False
        if received > due:
            return [self._refused(ledger, "overpaid", f"takes {figures}: the payments are more than the order")], True
        try:
            sale = self._sale(ledger, taken, completed_at)
        except UnsoundError as error:
            return [Refused(f"order:{ledger.id}:sale", error.code, str(error))], True
        cards = self.gift_cards(ledger.original_items(), order, completed_at, {"id": ledger.id, "number": order["name"]})
        return [sale, *cards], True

    @staticmethod
    def _refused(ledger: Ledger, code: str, said: str) -> Refused:
        told = f"order {ledger.order['name']} {said}; book it by hand, then discard this"
        return Refused(f"order:{ledger.id}:sale", code, told)

    def _unpaid(self, ledger: Ledger, taken: Sequence[JSON], figures: str) -> list[Told]:
        """An order that is not paid in full: its sale may come, or never will."""
        order = ledger.order
        void = {payment["id"] for _, payment in ledger.voided()}
        if not [item for item in taken if item["id"] not in void]:
            if order["cancelledAt"]:
                return [Ignored(f"cancelled and not paid ({figures}): nothing was sold")]
            return [Ignored(f"{figures} is paid; the sale comes when it is paid")]
        has_left = ledger.at_till or any(item["status"] == "SUCCESS" for item in order["fulfillments"])
        found: list[Told] = []
        if order["cancelledAt"]:  # no sale will come: its money is told on its own
            found += [self.captured(item, order) for item in taken if item["kind"] != "CHANGE"]
        if has_left or (order["cancelledAt"] and self._kept(order, taken)):
            said = f"is paid in part ({figures}), and " + ("goods have left" if has_left else "cancelled; its money was kept")
            return [*found, self._refused(ledger, "part_paid", said)]
        return found or [Ignored(f"{figures} is paid; the sale comes when it is paid")]

    @staticmethod
    def _kept(order: JSON, taken: Sequence[JSON]) -> Decimal:
        """What was taken, less change, and has not been given back."""
        came = sum(((-1 if item["kind"] == "CHANGE" else 1) * in_shop(item["amountSet"]) for item in taken), Decimal(0))
        back = sum((in_shop(item["amountSet"]) for item in order["transactions"]
                    if item["kind"] == "REFUND" and item["status"] == "SUCCESS"), Decimal(0))  # fmt: skip
        return came - back

    def _sale(self, ledger: Ledger, taken: Sequence[JSON], completed_at: str) -> Document:
        ledger.check_total()
        order, currency = ledger.order, ledger.currency
        lines = [self.articles.line(line, order, line["quantity"]) for line in ledger.original_items()]
        lines += [charge.line(order) for charge in charges(order)]
        tenders, change, rounding = self.money(taken, order)
        whole = total(line["total"] for line in lines) + ledger.tip + rounding
        data = {
            **self.places.head(order, ledger.id, completed_at), "lines": lines, **sums(lines),
            "total": money(whole, currency), "tenders": tenders, "change": money(change, currency),
            "tip": money(ledger.tip, currency), **customer(order),
            **({"rounding": money(rounding, currency)} if rounding else {}),
            **({} if ledger.at_till else {"order": {"id": ledger.id, "number": order["name"]}}),
            **foreign_total(order, presented(ledger.base), total(item["amount"] for item in tenders) - change - whole),
        }  # fmt: skip
        return Document("sale.completed.v1", f"order:{ledger.id}:sale", data)

    def money(self, taken: Sequence[JSON], order: JSON) -> tuple[list[Json], Decimal, Decimal]:
        """(tenders, change, cash rounding) of payments."""
        tenders = [self.articles.tender(item, order) for item in taken if item["kind"] != "CHANGE"]
        change = [item for item in taken if item["kind"] == "CHANGE"]
        given = sum((in_shop(item["amountSet"]) + in_shop(item["amountRoundingSet"]) for item in change), Decimal(0))
        rounding = sum((in_shop(item["amountRoundingSet"]) for item in taken if item["kind"] != "CHANGE"), Decimal(0))
        rounding -= sum((in_shop(item["amountRoundingSet"]) for item in change), Decimal(0))
        return tenders, given, rounding

    def gift_cards(self, items: Sequence[JSON], order: JSON, at: str, sale: Json) -> Iterator[Document]:
        """One card per piece. Shopify does not tell which card a line became, so the line names it."""
        for line in items:
            if kind_of(line) == "gift_card":
                for place in range(1, line["quantity"] + 1):
                    identity = tail(line["id"]) if line["quantity"] == 1 else f"{tail(line['id'])}:{place}"
                    data = {
                        "id": identity, "gift_card": {"id": identity}, "occurred_at": at,
                        "business_date": self.places.business_date(at), "location": self.places.of_order(order),
                        "amount": money(in_shop(line["originalUnitPriceSet"]), order["currencyCode"]), "sale": sale,
                    }  # fmt: skip
                    yield Document("gift_card.issued.v1", f"gift_card:{identity}", data)

    # -- payments beside sales ----------------------------------------------------------------------------------

    def rest(self, ledger: Ledger, is_sold: bool) -> Iterator[Told]:
        """Payments that were taken back and, of an order that ``is_sold``, those that no document of it pays."""
        order, back = ledger.order, Decimal(0)
        for void, payment in ledger.voided():
            back += ledger.measure(payment["amountSet"])
            yield self.reversed(void, payment, "payment.captured", {"sale": {"id": ledger.id, "number": order["name"]}}, order)
        left = list(ledger.payments.left) if is_sold else []
        came = sum((ledger.measure(item["amountSet"]) for item in left), Decimal(0))
        if left and came <= back:  # they replace what was taken back
            yield from (self.captured(item, order) for item in left)
        elif left:
            named = ", ".join(tail(item["id"]) for item in left)
            said = f"order {order['name']}: payments of {figure(came)} ({named}) came after it was paid"
            yield Refused(f"order:{ledger.id}:later", "later_payment", f"{said}; book them by hand")

    def captured(self, item: JSON, order: JSON) -> Document:
        """Money that was taken and is part of no sale."""
        kind, _ = self.articles.gateway(item)
        data = {**self._payment(item, tail(item["id"]), order), "type": kind,
                "order": {"id": tail(order["id"]), "number": order["name"]}}  # fmt: skip
        return Document("payment.captured.v1", f"payment:{tail(item['id'])}", data)

    def refunded(self, item: JSON, order: JSON) -> Document:
        """Money that was given back and is part of no return."""
        parent = item["parentTransaction"]
        data = self._payment(item, tail(parent["id"]) if parent else tail(item["id"]), order)
        return Document("payment.refunded.v1", f"payment:{tail(item['id'])}", data)

    def reversed(
        self, item: JSON, fact: JSON, fact_type: str, about: Json, order: JSON, *, follows: str = "",
    ) -> Document:  # fmt: skip
        """A fact that proved false: ``item`` says so of the transaction ``fact``, which ``follows`` told."""
        parent = fact["parentTransaction"] if fact["kind"] == "REFUND" else None
        data = {
            **self._payment(fact, tail((parent or fact)["id"]), order), "id": f"{tail(fact['id'])}:reversed",
            "fact": {"id": tail(fact["id"])}, "fact_type": fact_type, **about,
        }  # fmt: skip
        at = item["processedAt"] or order["processedAt"]
        data |= {"occurred_at": at, "business_date": self.places.business_date(at)}
        return Document("payment.reversed.v1", f"payment:{tail(fact['id'])}:reversed", data, follows=follows)

    def _payment(self, item: JSON, payment_id: str, order: JSON) -> Json:
        at, (_, provider) = item["processedAt"] or order["processedAt"], self.articles.gateway(item)
        return {
            "id": tail(item["id"]), "payment_id": payment_id, "occurred_at": at,
            "business_date": self.places.business_date(at), "location": self.places.of_order(order),
            "amount": money(in_shop(item["amountSet"]) + in_shop(item["amountRoundingSet"]), order["currencyCode"]),
            **({"provider": provider} if provider else {}),
        }  # fmt: skip


def customer(order: JSON) -> Json:
    """The customer by id alone: a name that changes later must not change what was told."""
    return {"customer": {"id": tail(order["customer"]["id"])}} if order["customer"] else {}


def foreign_total(order: JSON, shown: Decimal, difference: Decimal) -> Json:
    """The total as the customer saw it, and what the rates of the payments made of it."""
    if not is_foreign(order):
        return {}
    found: Json = {"presentment": money(shown, order["presentmentCurrencyCode"])}
    return found | ({"exchange_difference": money(difference, order["currencyCode"])} if difference else {})
