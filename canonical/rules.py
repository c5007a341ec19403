"""What must hold inside a document beyond its shape: totals, tenders, returns. Pure functions that report violations.

Formulas (DESIGN section 6): line total = gross - discount + added taxes; lines + tip + service charge + rounding = total;
tenders - change = total. Source: ARTS POSLog; EN 16931 BR-CO-10 to BR-CO-17, without their tolerance.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from canonical.errors import Violation
from canonical.money import amount, each_money, scale, total

Document = Mapping[str, Any]


def currency_rules(document: Document) -> Iterator[Violation]:
    """One currency per document, and no amount finer than the currency's minor unit."""
    first: str | None = None
    for pointer, value in each_money(document):
        currency = value["currency"]
        first = first or currency
        if currency != first:
            yield Violation("currency_mixed", pointer, f"{currency} in a document in {first}; convert it at the source")
        places = -int(Decimal(value["amount"]).as_tuple().exponent)
        if places > scale(currency):
            yield Violation("currency_scale", pointer, f"{currency} has {scale(currency)} decimal places, not {places}")


def line_rules(lines: Sequence[Document], pointer: str) -> Iterator[Violation]:
    """Each line adds up on its own."""
    for index, line in enumerate(lines):
        here = f"{pointer}/{index}"
        currency = line["gross"]["currency"]
        half = Decimal("0.5").scaleb(-scale(currency))
        exact = Decimal(line["quantity"]) * amount(line["unit_price"])
        if abs(exact - amount(line["gross"])) > half:
            yield Violation("line_gross_mismatch", f"{here}/gross", f"quantity x unit price is {exact.normalize():f}")
        taxes = line.get("taxes", ())
        added = total(tax["amount"] for tax in taxes if not tax.get("included"))
        expected = amount(line["gross"]) - amount(line.get("discount")) + added
        if expected != amount(line["total"]):
            yield Violation("line_total_mismatch", f"{here}/total", f"gross - discount + added tax is {expected:f}")
        for name in ("unit_price", "gross", "discount", "total"):
            if amount(line.get(name)) < 0:
                yield Violation("negative_amount", f"{here}/{name}", "must not be negative; use a return instead")


def _sums(document: Document, sold: Sequence[Document], returned: Sequence[Document] = ()) -> Iterator[Violation]:
    """Document totals against its lines; ``returned`` lines count negative."""

    def signed(pick: Any) -> Decimal:
        return sum((pick(line) for line in sold), Decimal(0)) - sum((pick(line) for line in returned), Decimal(0))

    tax = signed(lambda line: total(tax["amount"] for tax in line.get("taxes", ())))
    if tax != amount(document["tax"]):
        yield Violation("tax_mismatch", "/tax", f"the lines' taxes sum to {tax:f}")
    discount = signed(lambda line: amount(line.get("discount")))
    if "discount" in document and discount != amount(document["discount"]):
        yield Violation("discount_mismatch", "/discount", f"the lines' discounts sum to {discount:f}")
    due = signed(lambda line: amount(line["total"]))
    due += total(document.get(name) for name in ("tip", "service_charge", "rounding"))
    if due != amount(document["total"]):
        yield Violation("total_mismatch", "/total", f"lines + tip + service charge + rounding is {due:f}")
    paid = total(tender["amount"] for tender in document["tenders"]) - amount(document.get("change"))
    if paid != amount(document["total"]):
        yield Violation("tenders_mismatch", "/tenders", f"tenders - change is {paid:f}")


def sale_rules(document: Document) -> Iterator[Violation]:
    """A sale adds up: lines, tax, discount, total, tenders."""
    yield from currency_rules(document)
    yield from line_rules(document["lines"], "/lines")
    yield from _sums(document, document["lines"])


def return_rules(document: Document) -> Iterator[Violation]:
    """A return adds up, in positive amounts."""
    yield from currency_rules(document)
    yield from line_rules(document["lines"], "/lines")
    yield from _sums(document, document["lines"])
    if amount(document["total"]) < 0:
        yield Violation("negative_amount", "/total", "what is given back is written as a positive amount")


def exchange_rules(document: Document) -> Iterator[Violation]:
    """An exchange adds up: sold - returned = total = signed tenders."""
    yield from currency_rules(document)
    yield from line_rules(document["lines"], "/lines")
    yield from line_rules(document["returned"], "/returned")
    yield from _sums(document, document["lines"], document["returned"])


def adjustment_rules(document: Document) -> Iterator[Violation]:
    """A movement moves."""
    if document["from_state"] == document["to_state"]:
        yield Violation("states_equal", "/to_state", f"from and to are both {document['to_state']}")


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
