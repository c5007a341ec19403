"""What holds between documents: corrections net to zero (A7), closures are sums (A10), stock is conserved (A9)."""

import copy
import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from canonical_cases import Maker, seeds

from canonical.examples import EXAMPLES
from canonical.histories import check_closure
from canonical.money import amount
from canonical.movements import OUTSIDE, movements
from canonical.registry import TYPES, violations

Known = list[tuple[str, Any]]


def _history(name: str, document: Any, known: Known) -> list[str]:
    check = TYPES[name].history
    assert check is not None
    return [found.code for found in check(document, known)]


def _some_back(maker: Maker, sale: Any, chance: random.Random) -> dict[str, Any] | None:
    """A return of whole lines of a sale."""
    chosen = [line for line in sale["lines"] if chance.random() < 0.6]
    if not chosen:
        return None
    lines = [line | {"id": f"r{line['id']}", "original_line_id": line["id"]} for line in copy.deepcopy(chosen)]
    return maker.transaction(lines, prefix="R") | {"original": {"id": sale["id"]}}


def test_whatever_comes_back_of_a_sale_never_exceeds_it_and_all_of_it_nets_to_zero() -> None:
    """A7: what the rules let through sums to what is left of the sale, in money and in goods."""
    undone = 0
    for chance in seeds(1500):
        maker = Maker(chance)
        sale = maker.sale()
        known: Known = [("sale.completed.v1", sale)]
        left = {line["id"]: Decimal(line["quantity"]) for line in sale["lines"]}
        net = sum((amount(line["total"]) for line in sale["lines"]), Decimal(0))
        for _ in range(chance.randint(1, 6)):
            if chance.random() < 0.3:
                void = {"id": maker.next("V"), "original": {"id": sale["id"]}, "lines": sale["lines"], "total": sale["total"]}
                if not _history("sale.voided.v1", void, known):
                    assert len(known) == 1, "a void takes back all of a sale of which nothing came back yet"
                    known.append(("sale.voided.v1", void))
                    left, net = dict.fromkeys(left, Decimal(0)), Decimal(0)
                continue
            back = _some_back(maker, sale, chance)
            if back is None or _history("return.completed.v1", back, known):
                continue
            assert violations("return.completed.v1", back) == []
            known.append(("return.completed.v1", back))
            for line in back["lines"]:
                left[line["original_line_id"]] -= Decimal(line["quantity"])
                net -= amount(line["total"])
        assert min(left.values()) >= 0
        assert net >= 0
        undone += not any(left.values())
        assert (net == 0) or any(left.values())
    assert undone > 100, "the histories reach the end often enough to mean something"


def test_refunds_of_a_payment_never_exceed_what_was_captured() -> None:
    for chance in seeds(1000):
        maker = Maker(chance)
        captured = maker.amount(1000, 1)
        known: Known = [("payment.captured.v1", {"id": "c", "payment_id": "P", "amount": maker.money(captured)})]
        refunded = Decimal(0)
        for number in range(chance.randint(1, 8)):
            refund = {"id": f"r{number}", "payment_id": "P", "amount": maker.money(maker.amount(600, 1))}
            codes = _history("payment.refunded.v1", refund, known)
            assert codes == (["refund_exceeds_payment"] if refunded + amount(refund["amount"]) > captured else [])
            if not codes:
                known.append(("payment.refunded.v1", refund))
                refunded += amount(refund["amount"])
        assert refunded <= captured


@pytest.mark.parametrize(
    ("name", "document", "known", "code"),
    [
        ("sale.voided.v1", {"total": {"amount": "34.69", "currency": "USD"}}, [], "reversal_mismatch"),
        ("sale.voided.v1", {"lines": EXAMPLES["sale.voided.v1"]["lines"][:1]}, [], "reversal_mismatch"),
        ("sale.voided.v1", {"id": "V-2"}, ["sale.voided.v1"], "sale_voided"),
        ("sale.voided.v1", {}, ["return.completed.v1"], "reversal_mismatch"),
        ("return.completed.v1", {}, ["sale.voided.v1"], "sale_voided"),
        ("return.completed.v1", {}, ["return.completed.v1"], "return_exceeds_sale"),
        ("payment.refunded.v1", {"id": "again", "amount": {"amount": "21.63", "currency": "USD"}},
         ["payment.captured.v1", "payment.refunded.v1"], "refund_exceeds_payment"),
        ("transfer.received.v1", {"id": "again"}, ["transfer.sent.v1", "transfer.received.v1"], "transfer_exceeds_sent"),
        ("stock.released.v1", {"id": "again"}, ["stock.reserved.v1", "stock.released.v1"], "release_exceeds_reservation"),
    ],
)  # fmt: skip
def test_a_correction_that_goes_too_far_is_told_so(name: str, document: Any, known: list[str], code: str) -> None:
    about = [(other, EXAMPLES[other]) for other in ["sale.completed.v1", *known]]

    assert _history(name, EXAMPLES[name], about[:1] + [pair for pair in about[1:] if pair[0] != name and "void" not in pair[0]
                    and "return" not in pair[0]]) == []  # fmt: skip
    assert code in _history(name, EXAMPLES[name] | document, about)


def _day(maker: Maker, chance: random.Random, transactions: int) -> tuple[dict[str, Any], Known]:
    """A till's day and its closure, summed up by other means than the rules use: integer minor units."""
    known: Known = []
    taken: defaultdict[str, int] = defaultdict(int)
    given: defaultdict[str, int] = defaultdict(int)
    taxes: defaultdict[str, int] = defaultdict(int)
    sums = {"sales": 0, "returns": 0}

    def minor(value: Any) -> int:
        return int(Decimal(value["amount"]) / maker.minor)

    def count(document: Any, sign: int, tenders: dict[str, int]) -> None:
        for tender in document["tenders"]:
            tenders[tender["type"]] += minor(tender["amount"])
        tenders["cash"] -= minor(document.get("change", maker.money(Decimal(0))))
        for name, parity in (("lines", sign), ("returned", -sign)):
            for line in document.get(name, ()):
                for tax in line.get("taxes", ()):
                    taxes[tax["rate"]] += parity * minor(tax["amount"])

    for _ in range(transactions):
        sale = maker.sale()
        known.append(("sale.completed.v1", sale))
        sums["sales"] += minor(sale["total"])
        count(sale, 1, taken)
        if chance.random() < 0.1:
            known.append(("sale.voided.v1", {"id": maker.next("V"), "original": {"id": sale["id"]}, "total": sale["total"]}))
            sums["returns"] += minor(sale["total"])
            count(sale, -1, given)
        elif chance.random() < 0.2:
            exchange = maker.exchange(sale)
            assert violations("exchange.completed.v1", exchange) == []
            known.append(("exchange.completed.v1", exchange))
            sums["sales"] += minor(exchange["total"])
            count(exchange, 1, taken)
        elif (back := _some_back(maker, sale, chance)) is not None and chance.random() < 0.2:
            known.append(("return.completed.v1", back))
            sums["returns"] += minor(back["total"])
            count(back, -1, given)

    def money(value: int) -> dict[str, str]:
        return maker.money(value * maker.minor)

    tenders = []
    for kind in sorted(taken.keys() | given.keys()):
        opening, moved = (15_000, taken[kind] - given[kind]) if kind == "cash" else (0, taken[kind] - given[kind])
        off = chance.choice((0, 0, -5, 7))
        tenders.append({
            "type": kind, "opening": money(opening), "taken": money(taken[kind]), "given_back": money(given[kind]),
            "expected": money(opening + moved), "counted": money(opening + moved + off), "difference": money(off),
        })  # fmt: skip
    closure = EXAMPLES["till.closed.v1"] | {
        "transactions": str(len(known)), "sales": money(sums["sales"]), "returns": money(sums["returns"]), "tenders": tenders,
        "taxes": [{"rate": rate, "amount": money(value)} for rate, value in taxes.items()],
    }  # fmt: skip
    return closure, known


def test_a_closure_is_the_sum_of_its_transactions_to_the_minor_unit() -> None:
    """A10, and every amount of it moved by one minor unit is noticed."""
    for chance in seeds(60):
        maker = Maker(chance)
        closure, known = _day(maker, chance, chance.randint(1, 40))
        assert violations("till.closed.v1", closure) == []
        assert list(check_closure(closure, known)) == []

        wrong = copy.deepcopy(closure)
        place = chance.choice(
            [wrong["sales"], wrong["returns"], wrong["tenders"][0]["taken"], *[t["amount"] for t in wrong["taxes"]]]
        )
        place["amount"] = maker.money(Decimal(place["amount"]) + maker.minor)["amount"]
        assert "closure_mismatch" in {found.code for found in check_closure(wrong, known)}
        assert "closure_mismatch" in {found.code for found in check_closure(closure, known[:-1])}
        miscounted = closure | {"transactions": str(len(known) + 1)}
        assert [found.field for found in check_closure(miscounted, known)] == ["/transactions"]


def _stock_document(chance: random.Random, number: int) -> tuple[str, Any]:
    """One random document that moves goods, or moves none."""
    places, skus = ("STORE-1", "STORE-2", "WH-1"), ("SKU-1", "SKU-2", "SKU-3")
    first, second = chance.sample(places, 2)
    goods = [{"sku": chance.choice(skus), "quantity": str(chance.randint(1, 9)), "lot": chance.choice(("", "L-1"))}
             for _ in range(chance.randint(1, 3))]  # fmt: skip
    at, one = {"location": {"code": first}}, {"sku": goods[0]["sku"], "quantity": goods[0]["quantity"]}
    name = chance.choice(("sale.completed.v1", "sale of an order", "return.completed.v1", "fulfillment.completed.v1",
                          "transfer", "stock.reserved.v1", "stock.released.v1", "purchase.received.v1", "stock.adjusted.v1",
                          "stock.counted.v1", "payment.captured.v1", "shipment.dispatched.v1"))  # fmt: skip
    match name:
        case "sale of an order":
            return "sale.completed.v1", {"lines": goods, "order": {"id": "O"}, **at}
        case "transfer":
            ends = {"origin": {"code": first}, "destination": {"code": second}, "goods": goods, "transfer_id": str(number)}
            return "transfer.sent.v1", ends
        case "purchase.received.v1":
            return name, {"lines": [{"sku": item["sku"], "accepted": item["quantity"]} for item in goods], **at}
        case "stock.adjusted.v1":
            states = chance.sample(("available", "damaged", "none"), 2)
            return name, {"from_state": states[0], "to_state": states[1], **one, **at}
        case "fulfillment.completed.v1" | "shipment.dispatched.v1":
            return name, {"goods": goods, "reserved": chance.random() < 0.5, **at}
    return name, {"lines": goods, **one, **at}


def _net(name: str, document: Any) -> Decimal:
    """By how much a document changes what the retailer has, wherever and in whatever state: transfers and states change nothing."""

    def pieces(key: str, of: str = "quantity") -> Decimal:
        return sum((Decimal(item[of]) for item in document[key]), Decimal(0))

    match name:
        case "sale.completed.v1":
            return Decimal(0) if "order" in document else -pieces("lines")
        case "return.completed.v1":
            return pieces("lines")
        case "fulfillment.completed.v1":
            return -pieces("goods")
        case "purchase.received.v1":
            return pieces("lines", "accepted")
        case "stock.adjusted.v1":
            sign = (document["from_state"] == OUTSIDE) - (document["to_state"] == OUTSIDE)
            return sign * Decimal(document["quantity"])
    return Decimal(0)


def test_the_sum_of_movements_is_what_is_on_hand_in_any_order() -> None:
    """A9: transfers conserve, an order's goods leave once, counts and shipments move nothing."""
    for chance in seeds(40):
        documents = [_stock_document(chance, number) for number in range(200)]
        sent = [document for name, document in documents if name == "transfer.sent.v1"]
        arrived: Known = [("transfer.received.v1", document) for document in sent if chance.random() < 0.7]
        documents += arrived
        books: list[dict[tuple[str, str, str, str], Decimal]] = []
        for _ in range(2):
            chance.shuffle(documents)
            on_hand: defaultdict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
            for name, document in documents:
                for move in movements(name, document):
                    assert move.quantity > 0
                    on_hand[move.sku, move.place, move.lot, move.from_state] -= move.quantity
                    on_hand[move.sku, move.place, move.lot, move.to_state] += move.quantity
            books.append({key: value for key, value in on_hand.items() if value and key[3] != OUTSIDE})
            assert sum(on_hand.values()) == 0, "nothing appears from nowhere"
        assert books[0] == books[1], "the order of arrival does not matter"
        assert sum(books[0].values()) == sum((_net(name, document) for name, document in documents), Decimal(0))
        under_way = sum((Decimal(goods["quantity"]) for document in sent for goods in document["goods"]), Decimal(0))
        under_way -= sum((Decimal(goods["quantity"]) for _, document in arrived for goods in document["goods"]), Decimal(0))
        assert sum(value for key, value in books[0].items() if key[3] == "in_transit") == under_way


def test_an_orders_goods_leave_with_its_fulfilment_and_not_again_with_its_sale() -> None:
    sale = EXAMPLES["sale.completed.v1"]

    assert len(list(movements("sale.completed.v1", sale))) == len(sale["lines"])
    assert list(movements("sale.completed.v1", sale | {"order": {"id": "O-5001"}})) == []
    assert list(movements("stock.counted.v1", EXAMPLES["stock.counted.v1"])) == []
    (left,) = movements("fulfillment.completed.v1", EXAMPLES["fulfillment.completed.v1"])
    assert (left.from_state, left.to_state, left.quantity) == ("reserved", OUTSIDE, Decimal(2))
