"""What must hold between documents about the same thing: returns, voids, refunds, transfers, releases, closures.

Each function gets a document and what is known about its subject, as (type, document) in the order of arrival. What has not
been seen cannot be checked: a return without its sale passes here and is found by reconciliation.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from canonical.errors import Violation
from canonical.money import amount, total
from canonical.totals import signed_lines
from canonical.versions import cast

Document = Mapping[str, Any]
Known = Sequence[tuple[str, Document]]


def _entity(name: str) -> str:
    return name.rpartition(".v")[0]


def _of(known: Known, *names: str) -> list[Document]:
    return [document for name, document in known if _entity(name) in names]


def return_history(document: Document, known: Known) -> Iterator[Violation]:
    """No more comes back than was sold and has not come back yet; nothing of a sale that was undone."""
    sales = _of(known, "sale.completed")
    if not sales or not document.get("original"):
        return
    if _of(known, "sale.voided"):
        yield Violation("sale_voided", "/original/id", f"sale {sales[0]['id']} was voided: nothing is left to come back")
        return
    yield from check_return_against_sale(document, sales[0], _of(known, "return.completed", "exchange.completed"))


def void_history(document: Document, known: Known) -> Iterator[Violation]:
    """A void takes back all of a sale, once, and only if nothing of it came back before."""
    sales = _of(known, "sale.completed")
    if not sales:
        return
    if document["total"] != sales[0]["total"]:
        said = f"sale {sales[0]['id']} was {sales[0]['total']['amount']} {sales[0]['total']['currency']}"
        yield Violation("reversal_mismatch", "/total", said)
    if _quantities(document) != _quantities(sales[0]):
        yield Violation("reversal_mismatch", "/lines", "a void takes back every line of its sale; part of it is a return")
    if any(earlier["id"] != document["id"] for earlier in _of(known, "sale.voided")):
        yield Violation("sale_voided", "/original/id", f"sale {sales[0]['id']} was voided before")
    if _of(known, "return.completed", "exchange.completed"):
        yield Violation("reversal_mismatch", "/original/id", "something of it came back already; return the rest instead")


def _quantities(document: Document) -> dict[str, Decimal]:
    by_sku: dict[str, Decimal] = {}
    for line in document["lines"]:
        by_sku[line["sku"]] = by_sku.get(line["sku"], Decimal(0)) + Decimal(line["quantity"])
    return by_sku


def refund_history(document: Document, known: Known) -> Iterator[Violation]:
    """All refunds of a payment together never exceed what was captured."""
    captured = _of(known, "payment.captured")
    if not captured:
        return
    void = {fact["fact"]["id"] for fact in _of(known, "payment.reversed")}
    taken = total(item["amount"] for item in captured if item["id"] not in void)
    others = [item for item in _of(known, "payment.refunded") if item["id"] != document["id"] and item["id"] not in void]
    left = taken - total(item["amount"] for item in others)
    if amount(document["amount"]) > left:
        yield Violation("refund_exceeds_payment", "/amount", f"{left:f} of payment {document['payment_id']} is left to refund")


def reversal_history(document: Document, known: Known) -> Iterator[Violation]:
    """A fact proves false once, by its whole amount."""
    fact = document["fact"]["id"]
    about = [item for item in _of(known, "payment.captured", "payment.refunded") if item["id"] == fact]
    if any(item["fact"]["id"] == fact for item in _of(known, "payment.reversed") if item["id"] != document["id"]):
        yield Violation("reversal_mismatch", "/fact/id", f"{fact} was reversed before")
    if about and about[0]["amount"] != document["amount"]:
        said = f"{fact} was {about[0]['amount']['amount']} {about[0]['amount']['currency']}"
        yield Violation("reversal_mismatch", "/amount", said)


def transfer_history(document: Document, known: Known) -> Iterator[Violation]:
    """No more arrives than was sent and has not arrived yet, per article and lot."""
    sent = _of(known, "transfer.sent")
    if not sent:
        return
    left: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for earlier in sent:
        for goods in earlier["goods"]:
            left[goods["sku"], goods.get("lot", "")] += Decimal(goods["quantity"])
    for earlier in _of(known, "transfer.received"):
        if earlier["id"] != document["id"]:
            for goods in earlier["goods"]:
                left[goods["sku"], goods.get("lot", "")] -= Decimal(goods["quantity"])
    for index, goods in enumerate(document["goods"]):
        key = goods["sku"], goods.get("lot", "")
        left[key] -= Decimal(goods["quantity"])
        if left[key] < 0:
            said = f"{-left[key]} more of {goods['sku']} than transfer {document['transfer_id']} sent"
            yield Violation("transfer_exceeds_sent", f"/goods/{index}/quantity", said)


def release_history(document: Document, known: Known) -> Iterator[Violation]:
    """No more is released than was reserved."""
    reserved = _of(known, "stock.reserved")
    if not reserved:
        return
    others = [earlier for earlier in _of(known, "stock.released") if earlier["id"] != document["id"]]
    left = sum(Decimal(item["quantity"]) for item in reserved) - sum(Decimal(item["quantity"]) for item in others)
    if Decimal(document["quantity"]) > left:
        yield Violation("release_exceeds_reservation", "/quantity", f"{left:f} of it is reserved")


def check_closure(document: Document, transactions: Known) -> Iterator[Violation]:
    """A till's closure equals the sum of the transactions of its session: count, sales, returns, each tender, each tax rate.

    A void counts with the tenders and taxes that it names itself, else with those of its sale, else it is reported.
    """
    cast_down = [cast(name, item, 1) or (name, item) for name, item in transactions]
    sold = [item for name, item in cast_down if _entity(name) in ("sale.completed", "exchange.completed")]
    back = _of(cast_down, "return.completed", "sale.voided")
    for pointer, items in (("/sales", sold), ("/returns", back)):
        value, named = total(item["total"] for item in items), amount(document.get(pointer[1:]))
        if named != value:
            yield Violation("closure_mismatch", pointer, f"its transactions sum to {value:f}, not {named:f}")
    if int(document["transactions"]) != len(transactions):
        yield Violation("closure_mismatch", "/transactions", f"there are {len(transactions)}")
    counted, unknown = _counted(cast_down)
    for void in unknown:
        said = f"void {void['id']} names no tenders and no sale that is known ({void['original']['id']})"
        yield Violation("closure_unverifiable", "/transactions", said)
    if unknown:
        return
    yield from _closure_tenders(document, counted)
    if "taxes" in document:
        yield from _closure_taxes(document, counted)


#: (sign, document) of transactions whose tenders and taxes count in a closure.
_Counted = list[tuple[int, Document]]


def _counted(transactions: Known) -> tuple[_Counted, list[Document]]:
    """Transactions with their sign in a closure, and the voids of which neither tenders nor sale are known."""
    by_id = {item["id"]: item for name, item in transactions if _entity(name) == "sale.completed"}
    counted: _Counted = []
    unknown = []
    for name, item in transactions:
        match _entity(name):
            case "sale.completed" | "exchange.completed":
                counted.append((1, item))
            case "return.completed":
                counted.append((-1, item))
            case "sale.voided" if "tenders" in item:
                counted.append((-1, item))
            case "sale.voided" if item["original"]["id"] in by_id:
                counted.append((-1, by_id[item["original"]["id"]]))
            case "sale.voided":
                unknown.append(item)
    return counted, unknown


def _closure_tenders(document: Document, counted: _Counted) -> Iterator[Violation]:
    """Each tender's sum; by provider where the closure names providers of that type."""
    by_provider = {tender["type"] for tender in document["tenders"] if "provider" in tender}
    moved: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for sign, item in counted:
        for tender in item["tenders"]:
            provider = tender.get("provider", "") if tender["type"] in by_provider else ""
            moved[tender["type"], provider] += sign * amount(tender["amount"])
        moved["cash", ""] -= sign * amount(item.get("change"))
    said: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    places: dict[tuple[str, str], int] = {}
    for index, tender in enumerate(document["tenders"]):
        key = tender["type"], tender.get("provider", "")
        said[key] += amount(tender["taken"]) - amount(tender.get("given_back"))
        places.setdefault(key, index)
    for key in sorted(said.keys() | moved.keys()):
        if said[key] != moved[key]:
            named = " ".join(filter(None, key))
            found = f"its transactions brought {moved[key]:f} in {named}, not {said[key]:f}"
            pointer = f"/tenders/{places[key]}" if key in places else "/tenders"
            yield Violation("closure_mismatch", pointer, found)


def _closure_taxes(document: Document, counted: _Counted) -> Iterator[Violation]:
    taxed: defaultdict[Decimal, Decimal] = defaultdict(Decimal)
    for sign, item in counted:
        for parity, line in signed_lines(item):
            for tax in line.get("taxes", ()):
                taxed[Decimal(tax["rate"])] += sign * parity * amount(tax["amount"])
    said: defaultdict[Decimal, Decimal] = defaultdict(Decimal)
    for tax in document["taxes"]:
        said[Decimal(tax["rate"])] += amount(tax["amount"])
    for rate in sorted(said.keys() | taxed.keys()):
        if said[rate] != taxed[rate]:
            found = f"its transactions' tax at {rate.normalize():f} % is {taxed[rate]:f}"
            yield Violation("closure_mismatch", "/taxes", found)


def returned_lines(document: Document) -> Sequence[Document]:
    """The lines that come back in a return or an exchange."""
    lines: Sequence[Document] = document["returned"] if "returned" in document else document["lines"]
    return lines


def check_return_against_sale(document: Document, sale: Document, earlier: Iterable[Document] = ()) -> Iterator[Violation]:
    """No more comes back than was sold, in goods and in money, counting ``earlier`` returns and exchanges of the sale.

    Lines are matched by ``original_line_id`` where the return names it, else by SKU. Goods are limited by their quantity, lines
    of other kinds (delivery, fees) by their amount. An `amount` that names no line of the sale is money without goods: only the
    sale's sum limits it.
    """
    before = list(earlier)
    left = _Left.of(sale)
    for item in before:
        for line in returned_lines(item):
            left.take(line)
    pointer = "/returned" if "returned" in document else "/lines"
    for index, line in enumerate(returned_lines(document)):
        yield from _line_back(line, left, f"{pointer}/{index}", sale["id"])
    money = amount(sale["total"]) - amount(sale.get("rounding")) - sum(map(_given_back, before), Decimal(0))
    if (given := _given_back(document)) > money:
        said = f"{given:f} is given back, {money:f} of sale {sale['id']} is left"
        yield Violation("return_exceeds_paid", "/returned" if "returned" in document else "/total", said)


@dataclass
class _Left:
    """Rest of a sale that may still come back, by line id and by SKU: pieces of goods and services, money of other kinds.

    The sale's line decides which of the two counts, whatever kind the returned line has.
    """

    by_line: dict[str, Decimal]
    by_sku: dict[str, Decimal]
    #: Ids of lines, and SKUs, of which money is counted.
    in_money: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, sale: Document) -> "_Left":
        by_line: defaultdict[str, Decimal] = defaultdict(Decimal)
        by_sku: defaultdict[str, Decimal] = defaultdict(Decimal)
        in_money = set()
        for line in sale["lines"]:
            is_money = line.get("kind", "goods") not in ("goods", "service")
            if is_money:
                in_money |= {("id", line["id"]), ("sku", line["sku"])}
            by_line[line["id"]] += _size(line, is_money)
            by_sku[line["sku"]] += _size(line, is_money)
        return cls(dict(by_line), dict(by_sku), frozenset(in_money))

    def knows(self, line: Document) -> bool:
        original = line.get("original_line_id")
        return original in self.by_line if original is not None else line["sku"] in self.by_sku

    def take(self, line: Document) -> Decimal:
        """Take a returned line off; returns the rest, negative if it is more than was left."""
        sku, original = line["sku"], line.get("original_line_id")
        if sku in self.by_sku:
            self.by_sku[sku] -= _size(line, ("sku", sku) in self.in_money)
        if original is None or original not in self.by_line:
            return self.by_sku.get(sku, Decimal(0))
        self.by_line[original] -= _size(line, ("id", original) in self.in_money)
        return self.by_line[original]


def _size(line: Document, is_money: bool) -> Decimal:
    return amount(line["total"]) if is_money else Decimal(line["quantity"])


def _line_back(line: Document, left: _Left, pointer: str, sale_id: str) -> Iterator[Violation]:
    original = line.get("original_line_id")
    if line.get("kind") == "amount" and original is None:
        return
    if not left.knows(line):
        named = f"line {original!r}" if original is not None else f"SKU {line['sku']!r}"
        yield Violation("return_line_unknown", pointer, f"{named} is not on sale {sale_id}")
        return
    if (rest := left.take(line)) < 0:
        said = f"{-rest:f} more of {line['sku']} than was sold and not yet returned on sale {sale_id}"
        yield Violation("return_exceeds_sale", f"{pointer}/quantity", said)


def _given_back(document: Document) -> Decimal:
    """Value of what comes back, before fees and cash rounding."""
    if "returned" in document:
        return total(line["total"] for line in document["returned"])
    fees = total(fee["total"] for fee in document.get("fees", ()))
    return amount(document["total"]) - amount(document.get("rounding")) + fees
