"""What must hold inside a document beyond its shape: totals, taxes, tenders, balances. Pure functions that report violations.

Formulas: line total = gross - discount + added taxes; lines + tip + service charge + shipping + rounding - fees = total;
tenders - change = total + exchange difference. Source: ARTS POSLog; EN 16931 BR-CO-10 to BR-CO-17, without their tolerance.
`histories` has the rules between documents.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from canonical.errors import Violation
from canonical.fields import UNSTORABLE, parse_timestamp
from canonical.identifiers import valid_key
from canonical.money import CURRENCIES, amount, each_money, scale, total
from canonical.totals import (
    category_rules,
    foreign_rules,
    not_negative,
    once_rules,
    rounding_rules,
    rounds_to,
    sum_rules,
    tax_rules,
    tax_sums,
    tender_keys,
    tender_sum,
    unique_ids,
    unknown_currency,
)

Document = Mapping[str, Any]


def currency_rules(document: Document, mixed: bool = False) -> Iterator[Violation]:
    """Known currencies, no amount finer than the minor unit, and one currency per document unless it may be ``mixed``."""
    first: str | None = None
    for pointer, value in each_money(document):
        currency = value["currency"]
        if currency not in CURRENCIES:
            yield unknown_currency(pointer, currency)
        first = first or currency
        if currency != first and not mixed:
            yield Violation("currency_mixed", pointer, f"{currency} in a document in {first}; convert it at the source")
        places = -int(Decimal(value["amount"]).as_tuple().exponent)
        if places > scale(currency):
            yield Violation("currency_scale", pointer, f"{currency} has {scale(currency)} decimal places, not {places}")


def currency_field_rules(document: Document) -> Iterator[Violation]:
    """A record's own currency, if it names one, is known."""
    if "currency" in document and document["currency"] not in CURRENCIES:
        yield unknown_currency("", document["currency"])


#: The fields that carry keys with a check digit.
KEYS = {"gtin": "GTIN", "gtins": "GTIN", "gln": "GLN", "packages": "SSCC"}


def text_rules(value: Any, pointer: str = "") -> Iterator[Violation]:
    """Every text can be stored and sent: it holds no NUL and no lone surrogate."""
    if isinstance(value, str):
        if found := UNSTORABLE.search(value):
            said = f"holds U+{ord(found[0]):04X} at character {found.start() + 1}, which is no text; leave it out"
            yield Violation("not_text", pointer, said)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            name = UNSTORABLE.sub("\ufffd", str(key))
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


def sale_rules(document: Document) -> Iterator[Violation]:
    """A sale adds up: lines, tax, discount, total, tenders; none of them is negative."""
    yield from _transaction_rules(document)
    yield from sum_rules(document)
    yield from _positive(document)


def return_rules(document: Document) -> Iterator[Violation]:
    """A return adds up, in positive amounts."""
    yield from _transaction_rules(document)
    yield from sum_rules(document)
    yield from _positive(document)


def exchange_rules(document: Document) -> Iterator[Violation]:
    """An exchange adds up: sold - returned = total = signed tenders."""
    yield from _transaction_rules(document)
    yield from sum_rules(document)
    yield from not_negative(document, "service_charge", "change")


def _transaction_rules(document: Document) -> Iterator[Violation]:
    yield from business_date_rules(document)
    yield from foreign_rules(document, "/presentment")


def _positive(document: Document) -> Iterator[Violation]:
    """The amounts of a transaction in one direction are zero or more."""
    yield from not_negative(document, "total", "tax", "discount", "tip", "service_charge", "change")
    for index, tender in enumerate(document["tenders"]):
        yield from not_negative(tender, "amount", "tip", pointer=f"/tenders/{index}")


def adjustment_rules(document: Document) -> Iterator[Violation]:
    """A movement moves."""
    yield from business_date_rules(document)
    if document["from_state"] == document["to_state"]:
        yield Violation("states_equal", "/to_state", f"from and to are both {document['to_state']}")


def void_rules(document: Document) -> Iterator[Violation]:
    """A void undoes a total that was to pay; what it says of tenders adds up to that."""
    yield from business_date_rules(document)
    yield from not_negative(document, "total", "tax", "change")
    if "tenders" in document:
        yield from tender_sum(document)


def payment_rules(document: Document) -> Iterator[Violation]:
    """A payment's facts have positive amounts."""
    yield from business_date_rules(document)
    yield from foreign_rules(document, "/settlement")
    yield from not_negative(document, "amount", "tip", "fee")


def gift_card_rules(document: Document) -> Iterator[Violation]:
    """A card's balance is never below zero, and never below what was just put on it."""
    yield from business_date_rules(document)
    yield from not_negative(document, "amount", "balance", "consideration")


def till_opened_rules(document: Document) -> Iterator[Violation]:
    """One float per tender."""
    yield from business_date_rules(document)
    yield from tender_keys(document.get("tenders", ()))


def cash_moved_rules(document: Document) -> Iterator[Violation]:
    """Cash goes from one place to another, in a positive amount."""
    yield from business_date_rules(document)
    if amount(document["amount"]) <= 0:
        yield Violation("negative_amount", "/amount", "must be more than zero; turn source and destination round instead")
    if document["source"] == document["destination"]:
        yield Violation("locations_equal", "/destination", f"source and destination are both {document['source']}")
    taxes = document.get("taxes", ())
    yield from tax_rules(taxes, amount(document["amount"]), "")
    if tax_sums(taxes)[1]:
        yield Violation("tax_mismatch", "/taxes", "the taxes of a cash movement are contained in its amount (included)")


def store_day_rules(document: Document) -> Iterator[Violation]:
    """The declared tenders hold the declared sales less returns; each tender is there once."""
    yield from business_date_rules(document)
    yield from not_negative(document, "returns")
    yield from tender_keys(document.get("tenders", ()))
    if "sales" in document and "tenders" in document:
        due, came = amount(document["sales"]) - amount(document.get("returns")), total(t["amount"] for t in document["tenders"])
        if due != came:
            yield Violation("closure_mismatch", "/tenders", f"the tenders sum to {came:f}, sales - returns is {due:f}")


def payout_rules(document: Document) -> Iterator[Violation]:
    """Each line's net is gross - fee - fee tax, and the payout's net is their sum."""
    yield from business_date_rules(document)
    yield from unique_ids(document["lines"], "/lines")
    for index, line in enumerate(document["lines"]):
        net = amount(line["gross"]) - amount(line.get("fee")) - amount(line.get("fee_tax"))
        if net != amount(line["net"]):
            yield Violation("line_total_mismatch", f"/lines/{index}/net", f"gross - fee - fee tax is {net:f}")
    if (net := total(line["net"] for line in document["lines"])) != amount(document["net"]):
        yield Violation("net_mismatch", "/net", f"the lines sum to {net:f}")


def bank_line_rules(document: Document) -> Iterator[Violation]:
    """A bank line has a positive amount; its indicator gives the direction."""
    if amount(document["amount"]) <= 0:
        yield Violation("negative_amount", "/amount", "must be more than zero; the indicator gives the direction")


def till_closed_rules(document: Document) -> Iterator[Violation]:
    """Each tender's expected and difference are what they say; the tenders hold what the transactions brought."""
    yield from business_date_rules(document)
    yield from not_negative(document, "returns")
    yield from tender_keys(document["tenders"])
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


def order_rules(document: Document) -> Iterator[Violation]:
    """An order adds up: lines, tax, discount, shipping, total."""
    yield from sum_rules(document)
    yield from not_negative(document, "shipping", "total", "tax", "discount")


def transfer_rules(document: Document) -> Iterator[Violation]:
    """A transfer goes somewhere else."""
    if document["origin"]["code"] == document["destination"]["code"]:
        yield Violation("locations_equal", "/destination/code", f"origin and destination are both {document['origin']['code']}")
    yield from business_date_rules(document)


def level_rules(document: Document) -> Iterator[Violation]:
    """Each state once."""
    yield from once_rules(document["levels"], "state", "/levels")


def purchase_order_rules(document: Document) -> Iterator[Violation]:
    """Lines are quantity x cost, the total is their sum."""
    for index, line in enumerate(document["lines"]):
        exact = Decimal(line["quantity"]) * amount(line["unit_cost"])
        if not rounds_to(exact, line["total"]):
            said = f"quantity x unit cost is {exact.normalize():f}"
            yield Violation("line_total_mismatch", f"/lines/{index}/total", said)
    due = total(line["total"] for line in document["lines"])
    if due != amount(document["total"]):
        yield Violation("total_mismatch", "/total", f"the lines sum to {due:f}")


def received_rules(document: Document) -> Iterator[Violation]:
    """Something came."""
    yield from business_date_rules(document)
    yield from not_negative(document, "freight")
    for index, line in enumerate(document["lines"]):
        if Decimal(line["accepted"]) + Decimal(line.get("rejected", "0")) == 0:
            yield Violation("nothing_moved", f"/lines/{index}/accepted", "neither accepted nor rejected: leave the line out")


def bill_rules(document: Document) -> Iterator[Violation]:
    """An invoice or credit note adds up: EN 16931 BR-CO-10 to BR-CO-17, to the minor unit."""
    based: defaultdict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    net = Decimal(0)
    for index, line in enumerate(document["lines"]):
        exact = Decimal(line["quantity"]) * amount(line["unit_price"]) - amount(line.get("discount"))
        if not rounds_to(exact, line["net"]):
            said = f"quantity x unit price - discount is {exact.normalize():f}"
            yield Violation("line_total_mismatch", f"/lines/{index}/net", said)
        yield from category_rules(line, f"/lines/{index}")
        net += amount(line["net"])
        based[line["category"], Decimal(line["rate"])] += amount(line["net"])
    for index, allowance in enumerate(document.get("allowances", ())):
        yield from not_negative(allowance, "amount", pointer=f"/allowances/{index}")
        yield from category_rules(allowance, f"/allowances/{index}")
        signed = amount(allowance["amount"]) if allowance["charge"] else -amount(allowance["amount"])
        net += signed
        based[allowance["category"], Decimal(allowance["rate"])] += signed
    if net != amount(document["net"]):
        yield Violation("net_mismatch", "/net", f"lines - allowances + charges is {net:f} (BR-CO-13)")
    yield from _bill_taxes(document, based)
    gross = amount(document["net"]) + amount(document["tax"])
    if gross != amount(document["gross"]):
        yield Violation("gross_mismatch", "/gross", f"net + tax is {gross:f} (BR-CO-15)")
    if "rounding" in document:
        yield from rounding_rules(document["rounding"])
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
        if not rounds_to(exact, tax["amount"]):
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
            if not rounds_to(exact, converted["amount"]):
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
    yield from category_rules(document, "")
    yield from _period(document, "valid_from", "valid_until", date.fromisoformat)


def place_rules(document: Document) -> Iterator[Violation]:
    """A place has a known currency and is opened before it is closed."""
    yield from currency_field_rules(document)
    yield from _period(document, "opened_on", "closed_on", date.fromisoformat)
