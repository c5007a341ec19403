"""What must hold inside a document beyond its shape: totals, taxes, tenders, balances. Pure functions that report violations.

Formulas (DESIGN section 6): line total = gross - discount + added taxes; lines + tip + service charge + rounding = total;
tenders - change = total. Source: ARTS POSLog; EN 16931 BR-CO-10 to BR-CO-17, without their tolerance. What must hold between
documents is in `histories`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from canonical.errors import Violation
from canonical.fields import parse_timestamp
from canonical.identifiers import valid_key
from canonical.money import MoneyDict, amount, each_money, scale, total

Document = Mapping[str, Any]


def currency_rules(document: Document, mixed: bool = False) -> Iterator[Violation]:
    """No amount finer than its currency's minor unit, and one currency per document unless it may be ``mixed``."""
    first: str | None = None
    for pointer, value in each_money(document):
        currency = value["currency"]
        first = first or currency
        if currency != first and not mixed:
            yield Violation("currency_mixed", pointer, f"{currency} in a document in {first}; convert it at the source")
        places = -int(Decimal(value["amount"]).as_tuple().exponent)
        if places > scale(currency):
            yield Violation("currency_scale", pointer, f"{currency} has {scale(currency)} decimal places, not {places}")


#: The fields that carry keys with a check digit.
KEYS = {"gtin": "GTIN", "gtins": "GTIN", "gln": "GLN", "packages": "SSCC"}


_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


def text_rules(value: Any, pointer: str = "") -> Iterator[Violation]:
    """Every text can be stored and sent: it holds no NUL and no lone surrogate."""
    if isinstance(value, str):
        if found := _NO_TEXT.search(value):
            said = f"holds U+{ord(found[0]):04X} at character {found.start() + 1}, which is no text; leave it out"
            yield Violation("not_text", pointer, said)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            name = _NO_TEXT.sub("\ufffd", str(key))
            if name != key and isinstance(key, str):
                yield Violation("not_text", f"{pointer}/{name}", "the name holds NUL or a lone surrogate; leave it out")
            yield from text_rules(item, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from text_rules(item, f"{pointer}/{index}")


def identifier_rules(value: Any, pointer: str = "") -> Iterator[Violation]:
    """GTIN, GLN and SSCC end with their check digit, wherever they stand."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        here = f"{pointer}/{key}"
        if key in KEYS:
            for place, number in [("", item)] if isinstance(item, str) else [(f"/{n}", each) for n, each in enumerate(item)]:
                if not valid_key(number):
                    yield Violation("check_digit", here + place, f"{number} is no {KEYS[key]}: its check digit is wrong")
        elif isinstance(item, dict | list) and key != "extensions":
            yield from identifier_rules(item, here)


#: How far a trading day may lie before and after the local day of its event: a session runs past midnight, or over a weekend.
DAYS_BEFORE, DAYS_AFTER = 3, 1


def business_date_rules(document: Document) -> Iterator[Violation]:
    """A trading day is near the day on which it happened, by the clock of the place (the event time's own offset)."""
    booked, happened = date.fromisoformat(document["business_date"]), parse_timestamp(document["occurred_at"]).date()
    if not happened - timedelta(days=DAYS_BEFORE) <= booked <= happened + timedelta(days=DAYS_AFTER):
        said = f"{booked} is too far from {happened}, the local day of occurred_at; send the day it belongs to"
        yield Violation("business_date_implausible", "/business_date", said)


def not_negative(document: Document, *names: str, pointer: str = "") -> Iterator[Violation]:
    """These amounts are zero or more."""
    for name in names:
        if amount(document.get(name)) < 0:
            yield Violation("negative_amount", f"{pointer}/{name}", "must not be negative; reversals have types of their own")


@dataclass(frozen=True)
class Sums:
    """What lines come to together."""

    tax: Decimal
    discount: Decimal
    due: Decimal


def line_rules(lines: Sequence[Document], pointer: str) -> Generator[Violation, None, Sums]:
    """Each line adds up on its own; returns what they come to together."""
    tax = discounts = sum_ = zero = Decimal(0)
    for index, line in enumerate(lines):
        gross, price, due = (Decimal(line[name]["amount"]) for name in ("gross", "unit_price", "total"))
        discount = Decimal(line["discount"]["amount"]) if "discount" in line else zero
        exact = Decimal(line["quantity"]) * price
        if exact != gross and abs(exact - gross) > Decimal("0.5").scaleb(-scale(line["gross"]["currency"])):
            said = f"quantity x unit price is {exact.normalize():f}"
            yield Violation("line_gross_mismatch", f"{pointer}/{index}/gross", said)
        expected = gross - discount
        for item in line.get("taxes", ()):
            part = Decimal(item["amount"]["amount"])
            tax += part
            if not item.get("included"):
                expected += part
        if expected != due:
            yield Violation("line_total_mismatch", f"{pointer}/{index}/total", f"gross - discount + added tax is {expected:f}")
        if price < zero or gross < zero or discount < zero or due < zero:
            said = "must not be negative; use a return instead"
            for name, value in (("unit_price", price), ("gross", gross), ("discount", discount), ("total", due)):
                if value < zero:
                    yield Violation("negative_amount", f"{pointer}/{index}/{name}", said)
        discounts += discount
        sum_ += due
    return Sums(tax, discounts, sum_)


def _sums(document: Document, sold: Sums, returned: Sums | None = None) -> Iterator[Violation]:
    """Document totals against its lines; what is returned counts negative."""
    tax, discount, due = sold.tax, sold.discount, sold.due
    if returned is not None:
        tax, discount, due = tax - returned.tax, discount - returned.discount, due - returned.due
    if tax != amount(document["tax"]):
        yield Violation("tax_mismatch", "/tax", f"the lines' taxes sum to {tax:f}")
    if "discount" in document and discount != amount(document["discount"]):
        yield Violation("discount_mismatch", "/discount", f"the lines' discounts sum to {discount:f}")
    if "taxes" in document:
        yield from _breakdown(document)
    due += total(document.get(name) for name in ("tip", "service_charge", "rounding", "shipping"))
    if due != amount(document["total"]):
        yield Violation("total_mismatch", "/total", f"lines + tip + service charge + shipping + rounding is {due:f}")
    if "tenders" not in document:
        return
    paid = total(tender["amount"] for tender in document["tenders"]) - amount(document.get("change"))
    if paid != amount(document["total"]):
        yield Violation("tenders_mismatch", "/tenders", f"tenders - change is {paid:f}")


def _breakdown(document: Document) -> Iterator[Violation]:
    """The tax by category and rate says what the lines say (by rate alone where a line names no category)."""
    lines = [(line, 1) for line in document["lines"]] + [(line, -1) for line in document.get("returned", ())]
    taxes = [(tax, sign) for line, sign in lines for tax in line.get("taxes", ())]
    told = all("category" in tax for tax, _ in taxes)

    def key(tax: Document) -> tuple[str, Decimal]:
        return (tax["category"] if told else "", Decimal(tax["rate"]))

    expected: defaultdict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    for tax, sign in taxes:
        expected[key(tax)] += sign * amount(tax["amount"])
    for index, tax in enumerate(document["taxes"]):
        expected[key(tax)] -= amount(tax["amount"])
        yield from _category(tax, f"/taxes/{index}")
    for (category, rate), left in expected.items():
        if left:
            what = f"{category} {rate.normalize():f} %".strip()
            yield Violation(
                "tax_breakdown_mismatch", "/taxes", f"the lines' tax at {what} is {left:+f} against what is said here"
            )


def _category(tax: Document, pointer: str) -> Iterator[Violation]:
    """Only standard-rated supplies (and the Canaries', Ceuta's) have a rate. Source: EN 16931 BR-Z-05, BR-E-05, BR-AE-05 …"""
    if (Decimal(tax["rate"]) != 0) != (tax["category"] in ("S", "L", "M")) and tax["category"] not in ("L", "M"):
        yield Violation("tax_category_rate", f"{pointer}/rate", f"category {tax['category']} does not go with {tax['rate']} %")


def sale_rules(document: Document) -> Iterator[Violation]:
    """A sale adds up: lines, tax, discount, total, tenders."""
    yield from business_date_rules(document)
    sold = yield from line_rules(document["lines"], "/lines")
    yield from _sums(document, sold)


def return_rules(document: Document) -> Iterator[Violation]:
    """A return adds up, in positive amounts."""
    yield from business_date_rules(document)
    sold = yield from line_rules(document["lines"], "/lines")
    yield from _sums(document, sold)
    if amount(document["total"]) < 0:
        yield Violation("negative_amount", "/total", "what is given back is written as a positive amount")


def exchange_rules(document: Document) -> Iterator[Violation]:
    """An exchange adds up: sold - returned = total = signed tenders."""
    yield from business_date_rules(document)
    sold = yield from line_rules(document["lines"], "/lines")
    returned = yield from line_rules(document["returned"], "/returned")
    yield from _sums(document, sold, returned)


def adjustment_rules(document: Document) -> Iterator[Violation]:
    """A movement moves."""
    yield from business_date_rules(document)
    if document["from_state"] == document["to_state"]:
        yield Violation("states_equal", "/to_state", f"from and to are both {document['to_state']}")


def void_rules(document: Document) -> Iterator[Violation]:
    """A void undoes a total that was to pay."""
    yield from business_date_rules(document)
    yield from not_negative(document, "total")


def payment_rules(document: Document) -> Iterator[Violation]:
    """A payment's facts have positive amounts."""
    yield from business_date_rules(document)
    yield from not_negative(document, "amount", "tip", "fee")


def gift_card_rules(document: Document) -> Iterator[Violation]:
    """A card's balance is never below zero, and never below what was just put on it."""
    yield from business_date_rules(document)
    yield from not_negative(document, "amount", "balance")


def till_opened_rules(document: Document) -> Iterator[Violation]:
    """One float per tender."""
    yield from business_date_rules(document)
    yield from _once(document.get("tenders", ()), "type", "/tenders")


def till_closed_rules(document: Document) -> Iterator[Violation]:
    """Each tender's expected and difference are what they say; the tenders hold what the transactions brought."""
    yield from business_date_rules(document)
    yield from not_negative(document, "returns")
    yield from _once(document["tenders"], "type", "/tenders")
    came = Decimal(0)
    for index, tender in enumerate(document["tenders"]):
        here = f"/tenders/{index}"
        moved = amount(tender["taken"]) - amount(tender.get("given_back"))
        came += moved
        expected = amount(tender.get("opening")) + moved + amount(tender.get("paid_in")) - amount(tender.get("paid_out"))
        if expected != amount(tender["expected"]):
            said = f"opening + taken - given back + paid in - paid out is {expected:f}"
            yield Violation("tender_count_mismatch", f"{here}/expected", said)
        difference = amount(tender["counted"]) - amount(tender["expected"])
        if difference != amount(tender["difference"]):
            yield Violation("tender_count_mismatch", f"{here}/difference", f"counted - expected is {difference:f}")
    due = amount(document["sales"]) - amount(document.get("returns"))
    if came != due:
        yield Violation("closure_mismatch", "/tenders", f"taken - given back is {came:f}, sales - returns is {due:f}")


def _once(items: Iterable[Document], name: str, pointer: str) -> Iterator[Violation]:
    for value, times in Counter(item[name] for item in items).items():
        if times > 1:
            yield Violation("repeated_key", pointer, f"{name} {value!r} is there {times} times; sum them up in one entry")


def order_rules(document: Document) -> Iterator[Violation]:
    """An order adds up: lines, tax, discount, shipping, total."""
    sold = yield from line_rules(document["lines"], "/lines")
    yield from _sums(document, sold)
    yield from not_negative(document, "shipping")


def transfer_rules(document: Document) -> Iterator[Violation]:
    """A transfer goes somewhere else."""
    if document["origin"]["code"] == document["destination"]["code"]:
        yield Violation("locations_equal", "/destination/code", f"origin and destination are both {document['origin']['code']}")
    yield from business_date_rules(document)


def level_rules(document: Document) -> Iterator[Violation]:
    """Each state once."""
    yield from _once(document["levels"], "state", "/levels")


def _rounds_to(exact: Decimal, value: MoneyDict) -> bool:
    """Whether an amount is the exact value, rounded either way (EN 16931: parts are rounded separately)."""
    return abs(exact - amount(value)) <= Decimal("0.5").scaleb(-scale(value["currency"]))


def purchase_order_rules(document: Document) -> Iterator[Violation]:
    """Lines are quantity x cost, the total is their sum."""
    for index, line in enumerate(document["lines"]):
        exact = Decimal(line["quantity"]) * amount(line["unit_cost"])
        if not _rounds_to(exact, line["total"]):
            said = f"quantity x unit cost is {exact.normalize():f}"
            yield Violation("line_total_mismatch", f"/lines/{index}/total", said)
    due = total(line["total"] for line in document["lines"])
    if due != amount(document["total"]):
        yield Violation("total_mismatch", "/total", f"the lines sum to {due:f}")


def received_rules(document: Document) -> Iterator[Violation]:
    """Something came."""
    yield from business_date_rules(document)
    for index, line in enumerate(document["lines"]):
        if Decimal(line["accepted"]) + Decimal(line.get("rejected", "0")) == 0:
            yield Violation("nothing_moved", f"/lines/{index}/accepted", "neither accepted nor rejected: leave the line out")


def bill_rules(document: Document) -> Iterator[Violation]:
    """An invoice or credit note adds up: EN 16931 BR-CO-10 to BR-CO-17, to the minor unit."""
    based: defaultdict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    net = Decimal(0)
    for index, line in enumerate(document["lines"]):
        exact = Decimal(line["quantity"]) * amount(line["unit_price"]) - amount(line.get("discount"))
        if not _rounds_to(exact, line["net"]):
            said = f"quantity x unit price - discount is {exact.normalize():f}"
            yield Violation("line_total_mismatch", f"/lines/{index}/net", said)
        yield from _category(line, f"/lines/{index}")
        net += amount(line["net"])
        based[line["category"], Decimal(line["rate"])] += amount(line["net"])
    for index, allowance in enumerate(document.get("allowances", ())):
        yield from not_negative(allowance, "amount", pointer=f"/allowances/{index}")
        yield from _category(allowance, f"/allowances/{index}")
        signed = amount(allowance["amount"]) if allowance["charge"] else -amount(allowance["amount"])
        net += signed
        based[allowance["category"], Decimal(allowance["rate"])] += signed
    if net != amount(document["net"]):
        yield Violation("net_mismatch", "/net", f"lines - allowances + charges is {net:f} (BR-CO-13)")
    yield from _bill_taxes(document, based)
    gross = amount(document["net"]) + amount(document["tax"])
    if gross != amount(document["gross"]):
        yield Violation("gross_mismatch", "/gross", f"net + tax is {gross:f} (BR-CO-15)")
    payable = amount(document["gross"]) - amount(document.get("prepaid")) + amount(document.get("rounding"))
    if payable != amount(document["payable"]):
        yield Violation("payable_mismatch", "/payable", f"gross - prepaid + rounding is {payable:f} (BR-CO-16)")


def _bill_taxes(document: Document, based: Mapping[tuple[str, Decimal], Decimal]) -> Iterator[Violation]:
    left = dict(based)
    for index, tax in enumerate(document["taxes"]):
        here, key = f"/taxes/{index}", (tax["category"], Decimal(tax["rate"]))
        taxable = left.pop(key, None)
        if taxable is None or taxable != amount(tax["taxable"]):
            found = "nothing" if taxable is None else f"{taxable:f}"
            said = f"{found} is taxed at {tax['category']} {tax['rate']} % (one entry per category and rate)"
            yield Violation("tax_breakdown_mismatch", f"{here}/taxable", said)
        exact = amount(tax["taxable"]) * Decimal(tax["rate"]) / 100
        if not _rounds_to(exact, tax["amount"]):
            yield Violation("tax_amount_mismatch", f"{here}/amount", f"taxable x rate is {exact.normalize():f} (BR-CO-17)")
    for category, rate in left:
        yield Violation("tax_breakdown_mismatch", "/taxes", f"no entry for {category} {rate.normalize():f} %")
    tax_sum = total(tax["amount"] for tax in document["taxes"])
    if tax_sum != amount(document["tax"]):
        yield Violation("tax_mismatch", "/tax", f"the taxes sum to {tax_sum:f} (BR-CO-14)")


def journal_rules(document: Document) -> Iterator[Violation]:
    """Debits equal credits in every currency, and in the books' currency where amounts were converted."""
    balance: defaultdict[str, Decimal] = defaultdict(Decimal)
    booked: defaultdict[str, Decimal] = defaultdict(Decimal)
    for index, line in enumerate(document["lines"]):
        here, sign = f"/lines/{index}", 1 if line["side"] == "debit" else -1
        yield from not_negative(line, "amount", pointer=here)
        balance[line["amount"]["currency"]] += sign * amount(line["amount"])
        converted = line.get("converted")
        if converted:
            booked[converted["amount"]["currency"]] += sign * amount(converted["amount"])
            exact = amount(line["amount"]) * Decimal(converted["rate"])
            if not _rounds_to(exact, converted["amount"]):
                said = f"amount x rate is {exact.normalize():f}"
                yield Violation("conversion_mismatch", f"{here}/converted/amount", said)
    for found in (balance, booked):
        for currency, left in found.items():
            if left:
                yield Violation("journal_unbalanced", "/lines", f"debits - credits is {left:f} {currency}")


def _period(document: Document, first: str, last: str, convert: Any) -> Iterator[Violation]:
    if first in document and last in document and convert(document[first]) > convert(document[last]):
        yield Violation("period_reversed", f"/{last}", f"{last} lies before {first}")


def price_rules(document: Document) -> Iterator[Violation]:
    """A price is not negative and its time does not run backwards."""
    yield from not_negative(document, "amount", "before", "after")
    yield from _period(document, "valid_from", "valid_until", parse_timestamp)
    yield from _period(document, "occurred_at", "valid_until", parse_timestamp)


def tax_rate_rules(document: Document) -> Iterator[Violation]:
    """The rate goes with its category; its time does not run backwards."""
    yield from _category(document, "")
    yield from _period(document, "valid_from", "valid_until", date.fromisoformat)


def place_rules(document: Document) -> Iterator[Violation]:
    """A place is opened before it is closed."""
    yield from _period(document, "opened_on", "closed_on", date.fromisoformat)
