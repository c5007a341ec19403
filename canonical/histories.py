"""What must hold between documents about the same thing: returns, voids, refunds, transfers, releases, closures.

Each function gets a document and what is known about its subject, as (type, document) in the order of arrival. What has not
been seen cannot be checked: a return without its sale passes here and is found by reconciliation.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from canonical.errors import Violation
from canonical.money import amount, total

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
    others = [earlier for earlier in _of(known, "payment.refunded") if earlier["id"] != document["id"]]
    left = total(item["amount"] for item in captured) - total(item["amount"] for item in others)
    if amount(document["amount"]) > left:
        yield Violation("refund_exceeds_payment", "/amount", f"{left:f} of payment {document['payment_id']} is left to refund")


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
    """A till's closure equals the sum of the transactions of its session: count, sales, returns, each tender, each tax rate."""
    sold = _of(transactions, "sale.completed", "exchange.completed")
    undone, back = _of(transactions, "sale.voided"), _of(transactions, "return.completed")
    expected = {"/sales": total(item["total"] for item in sold), "/returns": total(item["total"] for item in (*back, *undone))}
    for pointer, value in expected.items():
        said = amount(document.get(pointer[1:]))
        if said != value:
            yield Violation("closure_mismatch", pointer, f"its transactions sum to {value:f}, not {said:f}")
    if int(document["transactions"]) != len(transactions):
        yield Violation("closure_mismatch", "/transactions", f"there are {len(transactions)}")
    by_id = {item["id"]: item for item in sold}
    moved: defaultdict[str, Decimal] = defaultdict(Decimal)
    taxed: defaultdict[Decimal, Decimal] = defaultdict(Decimal)
    for sign, items in ((1, sold), (-1, back), (-1, [by_id[void["original"]["id"]] for void in undone])):
        for item in items:
            for tender in item["tenders"]:
                moved[tender["type"]] += sign * amount(tender["amount"])
            moved["cash"] -= sign * amount(item.get("change"))
            for parity, line in _signed_lines(item):
                for tax in line.get("taxes", ()):
                    taxed[Decimal(tax["rate"])] += sign * parity * amount(tax["amount"])
    for index, tender in enumerate(document["tenders"]):
        came = amount(tender["taken"]) - amount(tender.get("given_back"))
        if came != (there := moved.pop(tender["type"], Decimal(0))):
            found = f"its transactions brought {there:f} in {tender['type']}"
            yield Violation("closure_mismatch", f"/tenders/{index}", found)
    for kind, there in moved.items():
        if there:
            yield Violation("closure_mismatch", "/tenders", f"its transactions brought {there:f} in {kind}, which is missing")
    if "taxes" in document:
        said_by_rate: defaultdict[Decimal, Decimal] = defaultdict(Decimal)
        for tax in document["taxes"]:
            said_by_rate[Decimal(tax["rate"])] += amount(tax["amount"])
        for rate in sorted(said_by_rate.keys() | taxed.keys()):
            if said_by_rate[rate] != taxed[rate]:
                yield Violation(
                    "closure_mismatch", "/taxes", f"its transactions' tax at {rate.normalize():f} % is {taxed[rate]:f}"
                )


def _signed_lines(document: Document) -> Iterator[tuple[int, Document]]:
    """Lines with their sign: what came back in an exchange counts negative."""
    for line in document["lines"]:
        yield 1, line
    for line in document.get("returned", ()):
        yield -1, line


def returned_lines(document: Document) -> Sequence[Document]:
    """The lines that come back in a return or an exchange."""
    lines: Sequence[Document] = document.get("returned") or document["lines"]
    return lines


def check_return_against_sale(document: Document, sale: Document, earlier: Iterable[Document] = ()) -> Iterator[Violation]:
    """No more comes back than was sold, counting ``earlier`` returns and exchanges of the same sale.

    Lines are matched by ``original_line_id`` where the return names it, else by SKU.
    """
    by_line = {line["id"]: Decimal(line["quantity"]) for line in sale["lines"]}
    by_sku: dict[str, Decimal] = {}
    for line in sale["lines"]:
        by_sku[line["sku"]] = by_sku.get(line["sku"], Decimal(0)) + Decimal(line["quantity"])
    for before in earlier:
        for line in returned_lines(before):
            _take(line, by_line, by_sku)
    pointer = "/returned" if "returned" in document else "/lines"
    for index, line in enumerate(returned_lines(document)):
        original = line.get("original_line_id")
        if (original not in by_line) if original is not None else (line["sku"] not in by_sku):
            named = f"line {original!r}" if original is not None else f"SKU {line['sku']!r}"
            yield Violation("return_line_unknown", f"{pointer}/{index}", f"{named} is not on sale {sale['id']}")
            continue
        left = _take(line, by_line, by_sku)
        if left < 0:
            yield Violation(
                "return_exceeds_sale", f"{pointer}/{index}/quantity",
                f"{-left:f} more of {line['sku']} than was sold and not yet returned on sale {sale['id']}",
            )  # fmt: skip


def _take(line: Document, by_line: dict[str, Decimal], by_sku: dict[str, Decimal]) -> Decimal:
    quantity = Decimal(line["quantity"])
    left = by_sku[line["sku"]] = by_sku.get(line["sku"], Decimal(0)) - quantity
    original = line.get("original_line_id")
    if original in by_line:
        left = by_line[original] = by_line[original] - quantity
    return left
