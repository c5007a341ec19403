"""Check the sums inside a document: lines, taxes, tenders, totals. Pure functions that report violations."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from canonical.errors import Violation
from canonical.money import CURRENCIES, MoneyDict, amount, cash_step, scale, total

Document = Mapping[str, Any]


def unknown_currency(pointer: str, currency: str) -> Violation:
    """The violation of a code that is no active currency of ISO 4217."""
    return Violation("currency_unknown", f"{pointer}/currency", f"{currency} is no active currency of ISO 4217")


def not_negative(document: Document, *names: str, pointer: str = "") -> Iterator[Violation]:
    """These amounts are zero or more."""
    for name in names:
        if amount(document.get(name)) < 0:
            yield Violation("negative_amount", f"{pointer}/{name}", "must not be negative; reversals have types of their own")


@dataclass(frozen=True)
class Sums:
    """Sums over lines: tax, discount and the amount due."""

    tax: Decimal
    discount: Decimal
    due: Decimal


def line_rules(lines: Sequence[Document], pointer: str) -> Generator[Violation, None, Sums]:
    """Each line adds up on its own; returns their sums."""
    tax = discounts = sum_ = zero = Decimal(0)
    yield from unique_ids(lines, pointer)
    for index, line in enumerate(lines):
        gross, price, due = (Decimal(line[name]["amount"]) for name in ("gross", "unit_price", "total"))
        discount = Decimal(line["discount"]["amount"]) if "discount" in line else zero
        exact = Decimal(line["quantity"]) * price
        if exact != gross and abs(exact - gross) > Decimal("0.5").scaleb(-scale(line["gross"]["currency"])):
            said = f"quantity x unit price is {exact.normalize():f}"
            yield Violation("line_gross_mismatch", f"{pointer}/{index}/gross", said)
        net = expected = gross - discount
        if taxes := line.get("taxes"):
            every, added, is_sound = tax_sums(taxes)
            tax += every
            expected = net + added
            if not is_sound or every - added > net:
                yield from tax_rules(taxes, net, f"{pointer}/{index}")
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


def unique_ids(items: Sequence[Document], pointer: str) -> Iterator[Violation]:
    """Ids are unique within a list."""
    if len({item["id"] for item in items}) != len(items):
        yield from once_rules(items, "id", pointer)


def tax_sums(taxes: Sequence[Document]) -> tuple[Decimal, Decimal, bool]:
    """(sum of all taxes, of those on top of the price, whether none is negative)."""
    every = added = zero = Decimal(0)
    is_sound = True
    for tax in taxes:
        value = Decimal(tax["amount"]["amount"])
        every += value
        if not tax.get("included"):
            added += value
        if value < zero:
            is_sound = False
    return every, added, is_sound


def tax_rules(taxes: Sequence[Document], price: Decimal, pointer: str) -> Iterator[Violation]:
    """Taxes of one line are not negative, and included ones are no more than its price."""
    for index, tax in enumerate(taxes):
        if amount(tax["amount"]) < 0:
            said = "must not be negative; what is given back has a document of its own"
            yield Violation("negative_amount", f"{pointer}/taxes/{index}/amount", said)
    every, added, _ = tax_sums(taxes)
    if every - added > price:
        said = f"included taxes of {every - added:f} are more than the price of {price:f}"
        yield Violation("tax_exceeds_price", f"{pointer}/taxes", said)


#: Lists of lines of a transaction or an order, with the sign of their amounts in its total.
LINE_SIGNS = {"lines": 1, "returned": -1, "fees": -1}


def signed_lines(document: Document) -> Iterator[tuple[int, Document]]:
    """(sign in the document's total, line) of each line of a transaction, void or order."""
    for name, sign in LINE_SIGNS.items():
        for line in document.get(name, ()):
            yield sign, line


def sum_rules(document: Document) -> Iterator[Violation]:
    """Lines add up, and so do the document's totals."""
    tax = discount = due = Decimal(0)
    for name, sign in LINE_SIGNS.items():
        if lines := document.get(name):
            sums = yield from line_rules(lines, f"/{name}")
            tax, discount, due = tax + sign * sums.tax, discount + sign * sums.discount, due + sign * sums.due
    if tax != amount(document["tax"]):
        yield Violation("tax_mismatch", "/tax", f"the lines' taxes sum to {tax:f}")
    if "discount" in document and discount != amount(document["discount"]):
        yield Violation("discount_mismatch", "/discount", f"the lines' discounts sum to {discount:f}")
    if "taxes" in document:
        yield from breakdown_rules(document)
    due += total(document.get(name) for name in ("tip", "service_charge", "rounding", "shipping"))
    if due != amount(document["total"]):
        said = f"lines + tip + service charge + shipping + rounding - fees is {due:f}"
        yield Violation("total_mismatch", "/total", said)
    if "rounding" in document:
        yield from rounding_rules(document["rounding"])
    if "tenders" in document:
        yield from tender_sum(document)


def rounding_rules(value: MoneyDict) -> Iterator[Violation]:
    """Cash is rounded by less than the largest step that is usual in its currency."""
    if abs(amount(value)) >= cash_step(value["currency"]):
        said = f"cash in {value['currency']} is rounded by less than {cash_step(value['currency'])}; tell what this amount is"
        yield Violation("rounding_implausible", "/rounding", said)


#: Largest difference between a payment's rate and the document's, as a share of the foreign payments.
MOST_EXCHANGE_DIFFERENCE = Decimal("0.1")


def tender_sum(document: Document) -> Iterator[Violation]:
    """Tenders - change make the total, and the exchange difference where payments were in another currency."""
    difference = amount(document.get("exchange_difference"))
    paid = total(tender["amount"] for tender in document["tenders"]) - amount(document.get("change"))
    if paid != amount(document["total"]) + difference:
        more = " + exchange difference" if difference else ""
        yield Violation("tenders_mismatch", "/tenders", f"tenders - change is {paid:f}, not the total{more}")
    foreign = sum((abs(amount(item["amount"])) for item in document["tenders"] if "foreign" in item), Decimal(0))
    if abs(difference) > foreign * MOST_EXCHANGE_DIFFERENCE:
        said = "is more than a tenth of what was paid in another currency (tenders with `foreign`)"
        yield Violation("exchange_difference_implausible", "/exchange_difference", said)
    for index, tender in enumerate(document["tenders"]):
        yield from foreign_rules(tender, f"/tenders/{index}/foreign")


def foreign_rules(holder: Document, pointer: str) -> Iterator[Violation]:
    """An amount in a foreign currency has a known currency and no more decimal places than that has minor units."""
    found = holder.get(pointer.rpartition("/")[2])
    if found is None:
        return
    if found["currency"] not in CURRENCIES:
        yield unknown_currency(pointer, found["currency"])
    places = -int(Decimal(found["amount"]).as_tuple().exponent)
    if places > scale(found["currency"]):
        said = f"{found['currency']} has {scale(found['currency'])} decimal places, not {places}"
        yield Violation("currency_scale", f"{pointer}/amount", said)


def breakdown_rules(document: Document) -> Iterator[Violation]:
    """The tax by category and rate is the sum over the lines (by rate alone where a line names no category)."""
    taxes = [(tax, sign) for sign, line in signed_lines(document) for tax in line.get("taxes", ())]
    told = all("category" in tax for tax, _ in taxes)

    def key(tax: Document) -> tuple[str, Decimal]:
        return (tax["category"] if told else "", Decimal(tax["rate"]))

    expected: defaultdict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    for tax, sign in taxes:
        expected[key(tax)] += sign * amount(tax["amount"])
    for index, tax in enumerate(document["taxes"]):
        expected[key(tax)] -= amount(tax["amount"])
        yield from category_rules(tax, f"/taxes/{index}")
    for (category, rate), left in expected.items():
        if left:
            what = f"{category} {rate.normalize():f} %".strip()
            yield Violation(
                "tax_breakdown_mismatch", "/taxes", f"the lines' tax at {what} is {left:+f} against what is said here"
            )


def category_rules(tax: Document, pointer: str) -> Iterator[Violation]:
    """Only standard-rated supplies (and the Canaries', Ceuta's) have a rate. Source: EN 16931 BR-Z-05, BR-E-05, BR-AE-05 …"""
    if (Decimal(tax["rate"]) != 0) != (tax["category"] in ("S", "L", "M")) and tax["category"] not in ("L", "M"):
        yield Violation("tax_category_rate", f"{pointer}/rate", f"category {tax['category']} does not go with {tax['rate']} %")


def tender_key(tender: Document) -> tuple[str, str, str]:
    """The identity of a tender in a closure: type, provider and, for foreign cash, its currency."""
    return tender["type"], tender.get("provider", ""), tender.get("foreign", {}).get("currency", "")


def tender_keys(tenders: Iterable[Document]) -> Iterator[Violation]:
    """A till's opening or closing names each tender once."""
    for key, times in Counter(map(tender_key, tenders)).items():
        if times > 1:
            named = " ".join(filter(None, key))
            yield Violation("repeated_key", "/tenders", f"{named!r} is there {times} times; sum them up in one entry")


def once_rules(items: Iterable[Document], name: str, pointer: str) -> Iterator[Violation]:
    """Each value of a field occurs once in a list."""
    for value, times in Counter(item[name] for item in items).items():
        if times > 1:
            yield Violation("repeated_key", pointer, f"{name} {value!r} is there {times} times; sum them up in one entry")


def rounds_to(exact: Decimal, value: MoneyDict) -> bool:
    """Whether an amount is the exact value, rounded either way (EN 16931: parts are rounded separately)."""
    return abs(exact - amount(value)) <= Decimal("0.5").scaleb(-scale(value["currency"]))
