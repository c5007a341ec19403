"""The books: allocation (A3), money (A2), invoices (A4), journals (A1), and every rule with the document that breaks it."""

import copy
import csv
import io
import random
import xml.etree.ElementTree as ET
from decimal import Decimal
from typing import Any

import orjson
import pytest
from canonical_cases import CURRENCIES, Maker, seeds

from canonical.examples import EXAMPLES
from canonical.identifiers import check_digit, valid_key
from canonical.money import allocate, amount, from_minor, money, scale, to_minor, total
from canonical.registry import violations
from canonical.rules import DAYS_AFTER, DAYS_BEFORE


def test_what_is_allocated_sums_to_the_whole_and_nobody_is_off_by_a_unit() -> None:
    """A3: exact, within one minor unit of the proportional share, sign-safe, the same for the same weights."""
    for chance in seeds(3000):
        currency = chance.choice(CURRENCIES)
        value = from_minor(chance.randint(-(10 ** chance.randint(1, 12)), 10 ** chance.randint(1, 12)), currency)
        weights = [chance.choice((0, 1, chance.randint(0, 10**6), Decimal(chance.randint(0, 999)) / 7))
                   for _ in range(chance.randint(1, 12))]  # fmt: skip
        parts = allocate(value, weights)

        assert total(parts) == amount(value)
        whole = sum(Decimal(weight) for weight in weights)
        for part, weight in zip(parts, weights, strict=True):
            share = to_minor(value) * Decimal(weight) / whole if whole else Decimal(to_minor(value)) / len(weights)
            assert abs(to_minor(part) - share) < 1
            assert to_minor(part) == 0 or (to_minor(part) > 0) == (to_minor(value) > 0)
        opposite = allocate(from_minor(-to_minor(value), currency), weights)
        assert [to_minor(part) for part in opposite] == [-to_minor(part) for part in parts]
        # The same parts whatever the order, and the same part to each weight that is there once.
        order = chance.sample(range(len(weights)), len(weights))
        shuffled = allocate(value, [weights[place] for place in order])
        assert sorted(zip(weights, map(to_minor, parts), strict=True)) == sorted(
            zip((weights[place] for place in order), map(to_minor, shuffled), strict=True)
        )


@pytest.mark.parametrize("weights", [[], [1, -1]])
def test_weights_that_mean_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        allocate(money("1.00", "USD"), weights)


def test_ties_go_to_the_larger_weight_and_then_to_the_first() -> None:
    assert [to_minor(part) for part in allocate(money("0.05", "USD"), [1, 1, 1])] == [2, 2, 1]
    assert [to_minor(part) for part in allocate(money("1.00", "USD"), [0, 0])] == [50, 50]
    assert [to_minor(part) for part in allocate(money("0.02", "USD"), [1, 3])] == [0, 2]


def test_an_amount_survives_json_csv_and_xml_unchanged() -> None:
    """A2 outside the stores (`tests/integration` has PostgreSQL, SQLite, broker and API)."""
    for chance in seeds(3000):
        currency = chance.choice(CURRENCIES)
        value = from_minor(chance.randint(-(10**14), 10**14), currency)
        assert orjson.loads(orjson.dumps(value)) == value
        sheet = io.StringIO()
        csv.writer(sheet).writerow(value.values())
        assert next(csv.reader(io.StringIO(sheet.getvalue()))) == list(value.values())
        element = ET.Element("Amount", currencyID=value["currency"])
        element.text = value["amount"]
        read = ET.fromstring(ET.tostring(element))
        assert (read.text, read.get("currencyID")) == (value["amount"], value["currency"])
        assert from_minor(to_minor(value), currency) == value


def _bill(chance: random.Random) -> dict[str, Any]:
    """An invoice computed as EN 16931 says: parts rounded separately, sums of rounded values not rounded again."""
    maker = Maker(chance, chance.choice(("EUR", "USD", "JPY", "KWD")))
    based: dict[tuple[str, str], Decimal] = {}
    lines, allowances = [], []
    for number in range(chance.randint(1, 8)):
        category, rate = chance.choice((("S", "19"), ("S", "7"), ("S", "8.875"), ("Z", "0"), ("E", "0"), ("AE", "0")))
        quantity, price = Decimal(chance.randint(1, 9999)) / chance.choice((1, 10, 1000)), maker.amount(50_000)
        discount = maker.amount(100) if chance.random() < 0.3 else None
        net = maker.rounded(quantity * price - (discount or 0))
        based[category, rate] = based.get((category, rate), Decimal(0)) + net
        lines.append({
            "id": str(number), "description": "Something", "quantity": f"{quantity:f}", "unit_price": maker.money(price),
            "net": maker.money(net), "category": category, "rate": rate,
            **({"discount": maker.money(discount)} if discount is not None else {}),
        })  # fmt: skip
    for (category, rate), base in list(based.items()):
        if chance.random() < 0.3:
            value, charge = maker.amount(500), chance.random() < 0.5
            based[category, rate] = base + (value if charge else -value)
            allowances.append({"charge": charge, "amount": maker.money(value), "category": category, "rate": rate})
    taxes = [{"category": category, "rate": rate, "taxable": maker.money(base),
              "amount": maker.money(maker.rounded(base * Decimal(rate) / 100))} for (category, rate), base in based.items()]  # fmt: skip
    net, tax = sum(based.values(), Decimal(0)), total(item["amount"] for item in taxes)
    prepaid, rounding = maker.amount(100), maker.amount(4) - maker.amount(4)
    return EXAMPLES["invoice.v1"] | {
        "lines": lines, "allowances": allowances, "taxes": taxes, "net": maker.money(net), "tax": maker.money(tax),
        "gross": maker.money(net + tax), "prepaid": maker.money(prepaid), "rounding": maker.money(rounding),
        "payable": maker.money(net + tax - prepaid + rounding),
    }  # fmt: skip


def _off_by_one(value: dict[str, str]) -> None:
    value["amount"] = from_minor(to_minor(value) + 1, value["currency"])["amount"]


def test_an_invoice_adds_up_to_the_minor_unit_and_any_amount_off_by_one_is_noticed() -> None:
    """A4 without its tolerance: BR-CO-10 to BR-CO-17."""
    for chance in seeds(400):
        bill = _bill(chance)
        assert violations("invoice.v1", bill) == [], bill
        wrong = copy.deepcopy(bill)
        tax = chance.choice(wrong["taxes"])
        places = ["net", "tax", "gross", "prepaid", "rounding", "payable"]
        _off_by_one(chance.choice([*(wrong[name] for name in places), tax["taxable"], tax["amount"]]))
        assert violations("invoice.v1", wrong), "an amount that is off by one minor unit"


def _journal(chance: random.Random) -> dict[str, Any]:
    lines: list[dict[str, Any]] = []
    for currency in chance.sample(CURRENCIES, chance.randint(1, 3)):
        maker = Maker(chance, currency)
        whole = maker.amount(10**9, 1)
        for side in ("debit", "credit"):
            shares = allocate(maker.money(whole), [chance.randint(0, 9) for _ in range(chance.randint(1, 6))])
            lines += [{"id": str(len(lines) + n), "account": {"code": str(chance.randint(1000, 9999))}, "side": side,
                       "amount": share} for n, share in enumerate(shares)]  # fmt: skip
    chance.shuffle(lines)
    return {"id": "J", "booking_date": "2026-11-21", "lines": lines}


def test_a_journal_balances_in_every_currency_and_one_unit_is_noticed() -> None:
    """A1: the sum of debits is the sum of credits, exactly."""
    for chance in seeds(1000):
        entry = _journal(chance)
        assert violations("journal_entry.v1", entry) == []
        balance: dict[str, int] = {}
        for line in entry["lines"]:
            sign = 1 if line["side"] == "debit" else -1
            balance[line["amount"]["currency"]] = balance.get(line["amount"]["currency"], 0) + sign * to_minor(line["amount"])
        assert set(balance.values()) == {0}
        _off_by_one(chance.choice(entry["lines"])["amount"])
        assert [found.code for found in violations("journal_entry.v1", entry)] == ["journal_unbalanced"]


def _set(*path: Any, to: Any) -> Any:
    def change(document: Any) -> None:
        inner = document
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to

    return change


_EUR1 = {"amount": "1.00", "currency": "EUR"}
_MINUS = {"amount": "-1.00", "currency": "USD"}


@pytest.mark.parametrize(
    ("name", "change", "code", "field"),
    [
        ("invoice.v1", _set("lines", 0, "net", to=_EUR1), "line_total_mismatch", "/lines/0/net"),
        ("invoice.v1", _set("net", to=_EUR1), "net_mismatch", "/net"),
        ("invoice.v1", _set("tax", to=_EUR1), "tax_mismatch", "/tax"),
        ("invoice.v1", _set("gross", to=_EUR1), "gross_mismatch", "/gross"),
        ("invoice.v1", _set("payable", to=_EUR1), "payable_mismatch", "/payable"),
        ("invoice.v1", _set("taxes", 0, "taxable", to=_EUR1), "tax_breakdown_mismatch", "/taxes/0/taxable"),
        ("invoice.v1", _set("taxes", 0, "amount", to=_EUR1), "tax_amount_mismatch", "/taxes/0/amount"),
        ("invoice.v1", _set("taxes", 0, "category", to="Z"), "tax_breakdown_mismatch", "/taxes"),
        ("invoice.v1", _set("lines", 0, "category", to="E"), "tax_category_rate", "/lines/0/rate"),
        ("tax_rate.v1", _set("category", to="Z"), "tax_category_rate", "/rate"),
        ("tax_rate.v1", _set("valid_until", to="2019-12-31"), "period_reversed", "/valid_until"),
        ("price.changed.v1", _set("valid_until", to="2026-10-01T00:00:00Z"), "period_reversed", "/valid_until"),
        ("price.v1", _set("amount", to=_MINUS), "negative_amount", "/amount"),
        ("location.v1", _set("closed_on", to="2019-05-03"), "period_reversed", "/closed_on"),
        ("location.v1", _set("gln", to="4012345000017"), "check_digit", "/gln"),
        ("shipment.dispatched.v1", _set("packages", 0, to="106141412345678909"), "check_digit", "/packages/0"),
        ("journal_entry.v1", _set("lines", 0, "converted", "amount", to={"amount": "32.05", "currency": "EUR"}),
         "conversion_mismatch", "/lines/0/converted/amount"),
        ("journal_entry.v1", _set("lines", 0, "converted", to={"amount": {"amount": "32.03", "currency": "EUR"}, "rate": "0.923",
                                                              "source": "ECB", "on": "2026-11-20"}),
         "journal_unbalanced", "/lines"),
        ("till.closed.v1", _set("tenders", 0, "expected", to=_MINUS), "tender_count_mismatch", "/tenders/0/expected"),
        ("till.closed.v1", _set("tenders", 0, "difference", to=_MINUS), "tender_count_mismatch", "/tenders/0/difference"),
        ("till.closed.v1", _set("sales", to={"amount": "41.25", "currency": "USD"}), "closure_mismatch", "/tenders"),
        ("till.closed.v1", _set("tenders", 1, "type", to="cash"), "repeated_key", "/tenders"),
        ("till.closed.v1", _set("business_date", to="2026-11-24"), "business_date_implausible", "/business_date"),
        ("transfer.sent.v1", _set("destination", "code", to="WH-1"), "locations_equal", "/destination/code"),
        ("stock_level.v1", _set("levels", 1, "state", to="available"), "repeated_key", "/levels"),
        ("purchase.received.v1", _set("lines", 0, to={"sku": "S", "accepted": "0"}), "nothing_moved", "/lines/0/accepted"),
        ("purchase_order.v1", _set("total", to=_MINUS), "total_mismatch", "/total"),
        ("order.placed.v1", _set("shipping", to={"amount": "4.91", "currency": "USD"}), "total_mismatch", "/total"),
        ("sale.completed.v2", _set("taxes", 0, "amount", to={"amount": "2.69", "currency": "USD"}),
         "tax_breakdown_mismatch", "/taxes"),
        ("payment.captured.v1", _set("fee", to=_MINUS), "negative_amount", "/fee"),
        ("gift_card.redeemed.v1", _set("balance", to=_MINUS), "negative_amount", "/balance"),
    ],
)  # fmt: skip
def test_each_rule_names_the_field_of_the_document_that_breaks_it(name: str, change: Any, code: str, field: str) -> None:
    document = copy.deepcopy(EXAMPLES[name])
    change(document)

    assert (code, field) in {(found.code, found.field) for found in violations(name, document)}


@pytest.mark.parametrize("key", ["4006381333931", "96385074", "036000291452", "106141412345678908", "00012345600012"])
def test_gs1_keys_end_with_their_check_digit_and_any_changed_digit_is_noticed(key: str) -> None:
    assert valid_key(key)
    assert check_digit(key[:-1]) == int(key[-1])
    assert not valid_key(key + "0")
    for place, digit in enumerate(key):
        for other in "0123456789":
            assert valid_key(key[:place] + other + key[place + 1 :]) == (other == digit)


@pytest.mark.parametrize(("days", "right"), [(-DAYS_BEFORE - 1, False), (-DAYS_BEFORE, True), (0, True), (DAYS_AFTER, True),
                                             (DAYS_AFTER + 1, False)])  # fmt: skip
def test_a_trading_day_is_judged_by_the_local_day_of_its_event(days: int, right: bool) -> None:
    """23:40 on the 21st in New York is the 22nd in UTC: the offset of the event time says which day it was there."""
    document = EXAMPLES["sale.completed.v1"] | {"business_date": f"2026-11-{21 + days}"}

    assert (violations("sale.completed.v1", document) == []) == right


def test_every_currency_has_a_scale_from_zero_to_four() -> None:
    assert {currency: scale(currency) for currency in CURRENCIES} == {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4}
