"""Tells refunds: returns, exchanges with new items, money of orders that were never sold, refunds that failed later."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from canonical.money import money, total
from hub.sdk import Document, Ignored, Refused
from hub_shopify.ledger import UNSETTLED, Exchange, Ledger
from hub_shopify.places import Places
from hub_shopify.sales import Sales, Told, foreign_total
from hub_shopify.shapes import (
    DELIVERY,
    DUTY,
    FEE,
    JSON,
    Articles,
    Json,
    Measure,
    UnsoundError,
    amount_line,
    delivery_id,
    figure,
    in_shop,
    item_worth,
    presented,
    sums,
    tail,
    tax_shares,
)

_FAILED = ("FAILURE", "ERROR")


@dataclass(kw_only=True)
class Back:
    """Parts of a refund: lines that come back with their worth, tip, fees that the shop keeps."""

    lines: list[Json] = field(default_factory=list)
    fees: list[Json] = field(default_factory=list)
    tip: Decimal = Decimal(0)
    worth: Decimal = Decimal(0)


@dataclass(frozen=True)
class Returns:
    """Refunds by a connection's settings."""

    articles: Articles
    places: Places
    sales: Sales

    def told(self, ledger: Ledger, has_sale: bool) -> Iterator[Told]:
        """Documents of an order's refunds; ``has_sale``: the order was sold, or a person has to book its sale."""
        for refund in ledger.order["refunds"]:
            if ledger.exchange_of(refund) is None:
                yield from self._refund(ledger, refund, has_sale)
        if has_sale:
            for exchange in ledger.exchanges:
                yield from self._exchange(ledger, exchange)

    # -- refunds ------------------------------------------------------------------------------------------------

    def _refund(self, ledger: Ledger, refund: JSON, has_sale: bool) -> Iterator[Told]:
        place, moved = tail(refund["id"]), _moved(refund)
        if any(item["status"] in UNSETTLED for item in moved):
            yield Ignored(f"refund {place} is pending; the return comes when it is done")
        elif not has_sale:
            yield from self._without_sale(ledger, refund, moved)
        elif moved or refund["refundLineItems"]["nodes"]:
            counted = self._counted(ledger, refund, moved)
            failed = [item for item in counted if item["status"] in _FAILED]
            if not failed:
                yield self._told(ledger, refund, counted)
            else:
                yield from self._failed(ledger, refund, counted, failed)

    def _told(self, ledger: Ledger, refund: JSON, counted: Sequence[JSON]) -> Document | Refused:
        try:
            return self._return(ledger, refund, counted)
        except UnsoundError as error:
            return Refused(f"refund:{tail(refund['id'])}", error.code, str(error))

    def _failed(self, ledger: Ledger, refund: JSON, counted: Sequence[JSON], failed: Sequence[JSON]) -> Iterator[Told]:
        """A refund whose money did not go, all or in part: no return. One told before stands, its money is reversed."""
        place, source_id = tail(refund["id"]), f"refund:{tail(refund['id'])}"
        if len(failed) == len(counted):
            yield Ignored(f"refund {place} failed: no money was given back")
        else:
            parts = [total(self.articles.tender(item, ledger.order)["amount"] for item in items) for items in (failed, counted)]
            said = f"{figure(parts[0])} of {figure(parts[1])} {ledger.currency} failed; book what was given back by hand"
            yield Refused(source_id, "refund_failed_in_part", f"refund {place} of order {ledger.order['name']}: {said}")
        for item in failed:
            about = {"sale_return": {"id": place}}
            yield self.sales.reversed(item, item, "payment.refunded", about, ledger.order, follows=source_id)

    def _without_sale(self, ledger: Ledger, refund: JSON, moved: Sequence[JSON]) -> Iterator[Told]:
        """Money of an order that never became a sale; goods of it were never sold, so none come back."""
        done = [item for item in moved if item["status"] == "SUCCESS"]
        if done and ledger.order["cancelledAt"]:
            yield from (self.sales.refunded(item, ledger.order) for item in done)
        elif done:
            given = sum((in_shop(item["amountSet"]) for item in done), Decimal(0))
            said = f"{figure(given)} {ledger.currency} is given back of an order that is not paid in full: there is no sale"
            yield Refused(f"refund:{tail(refund['id'])}", "refund_without_sale", f"order {ledger.order['name']}: {said}")
        else:
            yield Ignored("lines were removed from an order that is no sale")

    def _counted(self, ledger: Ledger, refund: JSON, moved: Sequence[JSON]) -> list[JSON]:
        """The transactions that gave the money back: those that succeeded, or with them those that failed later.

        A refund that failed may have been told as done before.
        """
        done = [item for item in moved if item["status"] == "SUCCESS"]
        failed = [item for item in moved if item["status"] in _FAILED]
        if not failed:
            return done
        worth = self._back(ledger, refund).worth
        for counted in ([done] if done else []) + [[*done, *failed]]:
            if sum((ledger.measure(item["amountSet"]) for item in counted), Decimal(0)) == worth:
                return counted
        return done or failed

    def _return(self, ledger: Ledger, refund: JSON, counted: Sequence[JSON]) -> Document:
        order, currency, measure = ledger.order, ledger.currency, ledger.measure
        given = sum((measure(item["amountSet"]) for item in counted), Decimal(0))
        self._check_refunded(ledger, refund, counted, given)
        back = self._back(ledger, refund)
        self._settle(back, given - back.worth, [refund], ledger)
        tenders = [self.articles.tender(item, order) for item in counted]
        rounding = sum((in_shop(item["amountRoundingSet"]) for item in counted), Decimal(0))
        whole = total(line["total"] for line in back.lines) + back.tip + rounding - total(fee["total"] for fee in back.fees)
        if not back.lines and back.tip:  # a return has a line; a tip that comes back alone has one of no money
            sku = str(self.articles.settings["adjustment_sku"])
            back.lines.append(amount_line("amount", sku, "tip", "Tip", Decimal(0), [], order))
        if not back.lines:
            raise UnsoundError("no_lines", f"{figure(given)} {currency} names nothing that comes back")
        shown = sum((presented(item["amountSet"]) + presented(item["amountRoundingSet"]) for item in counted), Decimal(0))
        data = {
            **self.places.head(order, tail(refund["id"]), refund["createdAt"]), "lines": back.lines,
            "original": self._original(ledger, refund), **sums(back.lines, back.fees), "total": money(whole, currency),
            "tenders": tenders, **({"fees": back.fees} if back.fees else {}),
            **({"tip": money(back.tip, currency)} if back.tip else {}),
            **({"rounding": money(rounding, currency)} if rounding else {}),
            **foreign_total(order, shown, total(item["amount"] for item in tenders) - whole),
        }  # fmt: skip
        return Document("return.completed.v1", f"refund:{tail(refund['id'])}", data)

    @staticmethod
    def _check_refunded(ledger: Ledger, refund: JSON, counted: Sequence[JSON], given: Decimal) -> None:
        """Raise UnsoundError unless the transactions are what Shopify states of the refund."""
        if any(item["status"] != "SUCCESS" for item in counted):
            return
        rounding = sum((ledger.measure(item["amountRoundingSet"]) for item in counted), Decimal(0))
        stated = ledger.measure(refund["totalRefundedSet"])
        if stated not in (given, given + rounding):
            said = f"its transactions gave back {figure(given)}, the refund says {figure(stated)} {ledger.currency}"
            raise UnsoundError("refund_differs", f"refund {tail(refund['id'])} of order {ledger.order['name']}: {said}")

    @staticmethod
    def _original(ledger: Ledger, refund: JSON) -> Json:
        """The sale that is given back, or the exchange that sold all of it."""
        lines = {item["lineItem"]["id"] for item in refund["refundLineItems"]["nodes"]}
        for exchange in ledger.exchanges:
            if lines and lines <= set(exchange.lines):
                return {"id": exchange.id, "number": ledger.order["name"]}
        return {"id": ledger.id, "number": ledger.order["name"]}

    # -- parts --------------------------------------------------------------------------------------------------

    def _back(self, ledger: Ledger, *refunds: JSON) -> Back:
        """Lines, delivery, duties and tip of refunds."""
        back, order, measure = Back(), ledger.order, ledger.measure
        sold = {line["id"]: line for line in order["lineItems"]["nodes"]}
        shipped = {line["id"]: (place, line) for place, line in enumerate(order["shippingLines"]["nodes"])}
        for refund in refunds:
            for item in refund["refundLineItems"]["nodes"]:
                back.worth += _worth(item["subtotalSet"], item["totalTaxSet"], measure, order)
                if item["lineItem"]["id"] in ledger.tip_ids:
                    back.tip += in_shop(item["subtotalSet"])
                else:
                    back.lines.append(self._line(sold[item["lineItem"]["id"]], item, ledger))
            for item in refund["refundShippingLines"]["nodes"]:
                back.worth += _worth(item["subtotalAmountSet"], item["taxAmountSet"], measure, order)
                if line := self._delivery(item, shipped, order):
                    back.lines.append(line)
            for place, item in enumerate(refund["duties"] or ()):
                back.worth += measure(item["amountSet"])
                back.lines.append(_duty(item, place, order))
        _number(back.lines)
        return back

    def _line(self, line: JSON, item: JSON, ledger: Ledger) -> Json:
        order, unit = ledger.order, in_shop(line["originalUnitPriceSet"])
        gross, subtotal, tax = unit * item["quantity"], in_shop(item["subtotalSet"]), in_shop(item["totalTaxSet"])
        if subtotal > gross:
            raise UnsoundError("refund_differs", f"{line['name']}: {figure(subtotal)} comes back of a price of {figure(gross)}")
        currency, added = ledger.currency, Decimal(0) if order["taxesIncluded"] else tax
        return {
            "id": tail(line["id"]), "original_line_id": tail(line["id"]), **self.articles.named(line),
            "quantity": str(item["quantity"]), "unit_price": money(unit, currency), "gross": money(gross, currency),
            "discount": money(gross - subtotal, currency), "taxes": tax_shares(tax, line["taxLines"], order),
            "total": money(subtotal + added, currency), "reason": str(item["restockType"]).lower().replace("_", " "),
            **self._restock(item, ledger),
        }  # fmt: skip

    def _restock(self, item: JSON, ledger: Ledger) -> Json:
        """Where goods are afterwards. What is cancelled before it was sent never left the stock, so nothing comes into it."""
        if item["restockType"] == "NO_RESTOCK" or (item["restockType"] == "CANCEL" and not ledger.at_till):
            return {"state": "none"}
        place = self.places.location(item["location"]["id"]) if item["location"] else None
        return {"restocked_at": place} if place and place != self.places.of_order(ledger.order) else {}

    @staticmethod
    def _delivery(item: JSON, shipped: Mapping[str | None, tuple[int, JSON]], order: JSON) -> Json | None:
        place, line = shipped.get(item["shippingLine"]["id"], (0, {"id": item["shippingLine"]["id"], "taxLines": ()}))
        price, tax = in_shop(item["subtotalAmountSet"]), in_shop(item["taxAmountSet"])
        if not price and not tax:
            return None
        identity = delivery_id(line, place)
        taxes = tax_shares(tax, line["taxLines"], order)
        return {**amount_line("delivery", DELIVERY, identity, line.get("title") or "Delivery", price, taxes, order),
                "original_line_id": identity}  # fmt: skip

    def _settle(self, back: Back, left: Decimal, refunds: Sequence[JSON], ledger: Ledger) -> None:
        """Add what Shopify states for ``left``, the money that lines do not explain: adjustments, fees of the return.

        Raises UnsoundError if what is stated does not come to it.
        """
        if not left:
            return
        adjustments = [item for refund in refunds for item in refund["orderAdjustments"]["nodes"]]
        fees = _return_fees(ledger.order, refunds)
        kept = sum((ledger.measure(fee["amountSet"]) for fee in fees), Decimal(0))
        for with_tax in (True, False):
            sum_ = sum((_adjusted(item, ledger.measure, with_tax) for item in adjustments), Decimal(0))
            for sign in (-1, 1):  # Shopify writes money that it keeps with the sign of the refund's own balance
                for used in ([], fees) if fees else ([],):
                    if left == sign * sum_ - (kept if used else 0) and (sum_ or used):
                        for item in adjustments if sum_ else ():
                            self._adjust(back, item, sign * _adjusted(item, in_shop, with_tax), ledger.order)
                        back.fees += [_fee(fee, "Return fee", in_shop(fee["amountSet"]), ledger.order) for fee in used]
                        return
        named = ", ".join(tail(refund["id"]) for refund in refunds)
        said = f"what comes back is worth {figure(back.worth)} {ledger.currency}, the money differs from it by {figure(left)}"
        adjusted = sum((_adjusted(item, ledger.measure, True) for item in adjustments), Decimal(0))
        stated = f"stated: adjustments of {figure(adjusted)}, fees of {figure(kept)}"
        raise UnsoundError("refund_differs", f"refund {named} of order {ledger.order['name']}: {said} ({stated})")

    def _adjust(self, back: Back, item: JSON, value: Decimal, order: JSON) -> None:
        """Money that is given back beyond the lines, or kept of them, with its reason."""
        reason = str(item["reason"] or "adjustment").lower().replace("_", " ")
        if value < 0:
            back.fees.append(_fee(item, reason, -value, order))
        elif value:
            line = amount_line("amount", str(self.articles.settings["adjustment_sku"]), f"adjustment:{tail(item['id'])}",
                               reason, value, [], order)  # fmt: skip
            back.lines.append(line)

    # -- exchanges ----------------------------------------------------------------------------------------------

    def _exchange(self, ledger: Ledger, exchange: Exchange) -> Iterator[Told]:
        source_id = f"exchange:{exchange.id}"
        refunds = [refund for refund in ledger.order["refunds"] if refund["id"] in exchange.refunds]
        moved = [item for refund in refunds for item in _moved(refund)]
        if not refunds:
            yield Ignored("an exchange whose items have not come back yet")
        elif any(item["status"] in UNSETTLED for item in moved):
            yield Ignored("an exchange whose refund is pending")
        else:
            try:
                yield from self._exchanged(ledger, exchange, refunds, [item for item in moved if item["status"] == "SUCCESS"])
            except UnsoundError as error:
                yield Refused(source_id, error.code, str(error))

    def _exchanged(
        self, ledger: Ledger, exchange: Exchange, refunds: Sequence[JSON], given: Sequence[JSON]
    ) -> Iterator[Told]:  # fmt: skip
        order, currency, measure = ledger.order, ledger.currency, ledger.measure
        items = [line for line in ledger.items() if line["id"] in exchange.lines]
        back = self._back(ledger, *refunds)
        sold = sum((item_worth(line, measure, order) for line in items), Decimal(0))
        refunded = sum((measure(item["amountSet"]) for item in given), Decimal(0))
        fees = _return_fees(order, refunds)
        kept = sum((measure(fee["amountSet"]) for fee in fees), Decimal(0))
        paid = None
        for used in ([], fees):
            due = sold + (kept if used else 0) - back.worth + refunded
            paid = ledger.payments.match(due)
            if paid is not None:
                break
        if paid is None:
            said = (f"{figure(sold)} was sold for {figure(back.worth)} that came back, fees are {figure(kept)}, "
                    f"{figure(refunded)} was given back")  # fmt: skip
            if due > 0 and not ledger.payments.left:
                yield Ignored(f"an exchange whose difference is not paid yet ({said})")
                return
            raise UnsoundError("exchange_differs", f"exchange {exchange.id} of order {order['name']}: {said} {currency}")
        lines = [self.articles.line(line, order, line["quantity"]) for line in items]
        lines += [_fee(fee, "Return fee", in_shop(fee["amountSet"]), order) for fee in used]
        tenders, change, rounding = self.sales.money(paid, order)
        tenders += [self.articles.tender(item, order, -1) for item in given]
        rounding -= sum((in_shop(item["amountRoundingSet"]) for item in given), Decimal(0))
        whole = total(line["total"] for line in lines) - total(line["total"] for line in back.lines) - back.tip + rounding
        at = str(refunds[0]["createdAt"])
        gone, came = sums(lines), sums(back.lines) if back.lines else None
        if came is None:
            raise UnsoundError("no_lines", f"exchange {exchange.id} of order {order['name']}: no item came back")
        data = {
            **self.places.head(order, exchange.id, at), "original": {"id": ledger.id, "number": order["name"]},
            "returned": back.lines, "lines": lines, "total": money(whole, currency), "tenders": tenders,
            **{name: money(total([gone[name]]) - total([came[name]]), currency) for name in ("discount", "tax")},
            **({"change": money(change, currency)} if change else {}),
            **({"tip": money(-back.tip, currency)} if back.tip else {}),
            **({"rounding": money(rounding, currency)} if rounding else {}),
            **foreign_total(order, sold + (kept if used else 0) - back.worth,
                            total(item["amount"] for item in tenders) - change - whole),
        }  # fmt: skip
        yield Document("exchange.completed.v1", f"exchange:{exchange.id}", data)
        yield from self.sales.gift_cards(items, order, at, {"id": exchange.id, "number": order["name"]})


def _moved(refund: JSON) -> list[JSON]:
    """Transactions of a refund that give money back, whatever became of them."""
    return [item for item in refund["transactions"]["nodes"] if item["kind"] == "REFUND"]


def _worth(subtotal: JSON, tax: JSON, measure: Measure, order: JSON) -> Decimal:
    return measure(subtotal) + (Decimal(0) if order["taxesIncluded"] else measure(tax))


def _adjusted(item: JSON, measure: Measure, with_tax: bool) -> Decimal:
    return measure(item["amountSet"]) + (measure(item["taxAmountSet"]) if with_tax else Decimal(0))


def _return_fees(order: JSON, refunds: Sequence[JSON]) -> list[JSON]:
    """Fees of the returns that refunds belong to; of several refunds of one return the first carries them."""
    found: list[JSON] = []
    for item in order["returns"]["nodes"]:
        first = next((refund["id"] for refund in order["refunds"] if (refund["return"] or {}).get("id") == item["id"]), None)
        if first in {refund["id"] for refund in refunds}:
            found += [node["restockingFee"] for node in item["returnLineItems"]["nodes"] if node.get("restockingFee")]
            found += item["returnShippingFees"]
    return found


def _fee(item: JSON, name: str, value: Decimal, order: JSON) -> Json:
    return amount_line("fee", FEE, f"fee:{tail(item['id'])}", name, value, [], order)


def _duty(item: JSON, place: int, order: JSON) -> Json:
    original = f"duty:{tail(item['originalDuty']['id'])}" if item["originalDuty"] else None
    line = amount_line("duty", DUTY, original or f"duty:{place}", "Duty", in_shop(item["amountSet"]), [], order)
    return {**line, **({"original_line_id": original} if original else {})}


def _number(lines: Sequence[Json]) -> None:
    """Make line ids unique: one line may come back in parts, to different places."""
    seen: dict[str, int] = {}
    for line in lines:
        times = seen[line["id"]] = seen.get(line["id"], 0) + 1
        if times > 1:
            line["id"] = f"{line['id']}:{times}"
