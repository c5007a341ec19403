"""Tryton's books say what the till said: amounts, taxes and accounts by kind of line and tender."""

import base64
import json
import random
from collections.abc import Callable
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hub_tryton import kit
from hub_tryton.connector import Tryton
from hub_tryton.simulator import TrytonSimulator

from canonical.examples import EXAMPLES
from canonical.money import scale
from canonical.registry import violations
from hub.sdk import ConnectorError, RejectedByTargetError, Response, Written
from hub.sdk.testing import SimRequest, drive

Json = dict[str, Any]
ACCOUNTS = {
    "receivable": "1.2.1", "revenue": "4.1.1", "tax": "2.2.4", "tip": "4.1.2", "service_charge": "4.3.3", "rounding": "6.1.1",
    "cash": "1.1.1", "card": "1.1.2", "gift_card_liability": "2.2.2", "deposit": "2.3.1", "donation": "2.3.4",
    "duty": "6.3.5", "exchange_difference": "6.2.1",
}  # fmt: skip
HEAD = {name: EXAMPLES["sale.completed.v1"][name] for name in ("location", "occurred_at", "business_date")}


def money(amount: str | Decimal, currency: str = "USD") -> dict[str, str]:
    return {"amount": str(amount), "currency": currency}


def line(kind: str, gross: str, taxes: list[Json] | None = None, quantity: str = "1", price: str = "", **more: Any) -> Json:
    """A line of one article (or of its kind); added taxes make its total."""
    added = sum(Decimal(tax["amount"]["amount"]) for tax in taxes or () if not tax.get("included"))
    off = Decimal(more.get("discount", {"amount": "0"})["amount"])
    return {
        "id": kind, "sku": "SKU-0001" if kind == "goods" else kind.upper(), "kind": kind, "quantity": quantity,
        "unit_price": money(price or gross), "gross": money(gross), "total": money(Decimal(gross) - off + added),
        **({"taxes": taxes} if taxes else {}), **more,
    }  # fmt: skip


def document(lines: list[Json], tenders: list[Json], total: str, tax: str = "0.00", **more: Any) -> Json:
    return {
        "id": "S-1", "number": "1", **HEAD, "lines": lines, "tax": money(tax), "total": money(total), "tenders": tenders, **more,
    }  # fmt: skip


def cash(amount: str) -> Json:
    return {"type": "cash", "amount": money(amount)}


class Books:
    """A connector, its simulator and what the accounts hold afterwards."""

    def __init__(self, currency: str = "USD", **accounts: str | None) -> None:
        self.simulator = TrytonSimulator(currency=currency)
        self.simulator.add_product("SKU-0001", "Coffee", unit=2)
        self.simulator.add_product("SKU-0002", "Mug")
        named = {name: code for name, code in {**ACCOUNTS, **accounts}.items() if code is not None}
        self.settings = {"database": "tryton", "currency": currency, "accounts": named}

    def headers(self) -> dict[str, str]:
        parameters = [self.simulator.username, {"password": self.simulator.password}, "en"]
        body = json.dumps({"id": 1, "method": "common.db.login", "params": parameters}).encode()
        answer = self.simulator.handle(SimRequest("POST", "/tryton/rpc/", body=body))
        user, token, _ = json.loads(answer.content)["result"]
        return {"Authorization": "Session " + base64.b64encode(f"{self.simulator.username}:{user}:{token}".encode()).decode()}

    def write(
        self, name: str, told: Json, key: str = "XD1", handle: Callable[[SimRequest], Response] | None = None, **change: Any
    ) -> Any:
        assert violations(name, told) == []
        tryton = Tryton({**self.settings, **change})
        return drive(tryton, tryton.write(name, told, key), handle or self.simulator.handle, self.headers())

    def find(self, name: str, told: Json, key: str = "XD1") -> str | None:
        tryton = Tryton(self.settings)
        found: str | None = drive(tryton, tryton.find(name, told, key), self.simulator.handle, self.headers())
        return found

    def balances(self) -> dict[str, Decimal]:
        """Account code → debit - credit, those that are not even."""
        codes = {row["code"]: row["code"] for row in self.simulator.rows["account.account"].values()}
        return {code: amount for code, amount in self.simulator.money(codes).items() if amount}

    def paid(self) -> tuple[Decimal, Decimal]:
        """Total and tax of the one invoice, which must be paid."""
        (invoice,) = self.simulator.invoices()
        assert invoice["state"] == "paid"
        return self.simulator._total(invoice), sum((tax["amount"] for tax in invoice["_taxes"]), Decimal(0))


def _refused(books: Books, name: str, told: Json) -> RejectedByTargetError:
    with pytest.raises(RejectedByTargetError) as caught:
        books.write(name, told)
    assert (books.simulator.invoices(), books.simulator.entries()) == ([], []), "nothing is left behind"
    return caught.value


VAT = {"name": "VAT", "rate": "21", "amount": money("29.76"), "included": True}


@pytest.mark.parametrize(
    "told",
    [
        line("goods", "0.53", quantity="1.5", price="0.35"),  # half up; Tryton: 0.52
        line("goods", "0.52", quantity="1.5", price="0.35"),
        line("goods", "171.50", [VAT], quantity="350", price="0.49"),  # at four decimals: 171.51
        line("goods", "1.42", quantity="0.355", price="3.99"),
        line("goods", "9.94", quantity="0.355", price="27.99", discount=money("0.01")),
    ],
)
def test_a_line_is_booked_as_the_till_rounded_it_when_tryton_rounds_otherwise(told: Json) -> None:
    books = Books()
    total, tax = told["total"]["amount"], told.get("taxes", [{"amount": money("0.00")}])[0]["amount"]["amount"]

    more = {"discount": told["discount"]} if "discount" in told else {}
    books.write("sale.completed.v1", document([told], [cash(total)], total, tax, **more))

    assert books.paid() == (Decimal(total), Decimal(tax))
    (invoice,) = books.simulator.invoices()
    assert Decimal(str(invoice["_lines"][0]["quantity"])) == Decimal(told["quantity"]), "the quantity stays right"


def test_a_quantity_finer_than_the_products_unit_keeps_the_quantity_and_loses_the_link() -> None:
    """Tryton refuses 1.5 of a product that is kept in whole units (seen on 8.0)."""
    books = Books()
    halves = line("goods", "1.50", quantity="1.5", price="1.00", sku="SKU-0002")

    books.write("sale.completed.v1", document([halves, line("goods", "2.00", id="2")], [cash("3.50")], "3.50"))

    (invoice,) = books.simulator.invoices()
    assert [(item["quantity"], item.get("product")) for item in invoice["_lines"]] == [(1.5, None), (1, 1)]


def test_taxes_keep_the_tills_base_when_a_tax_is_compound_or_a_fixed_amount() -> None:
    taxes = [
        {"name": "GST", "rate": "5", "amount": money("5.00")},
        {"name": "PST", "rate": "10", "amount": money("10.50"), "base": money("105.00"), "jurisdiction": "CA-QC"},
        {"name": "Bottle tax", "rate": "0", "per_unit": money("0.25"), "amount": money("0.50")},
    ]
    books = Books()
    told = line("goods", "100.00", taxes, quantity="2", price="50.00")

    books.write("sale.completed.v1", document([told], [cash("116.00")], "116.00", "16.00"))

    (invoice,) = books.simulator.invoices()
    assert [(tax["description"], tax["base"], tax["amount"]) for tax in invoice["_taxes"]] == [
        ("GST 5%", Decimal("100.00"), Decimal("5.00")),
        ("PST 10% CA-QC", Decimal("105.00"), Decimal("10.50")),
        ("Bottle tax 0.25 per unit", Decimal("100.00"), Decimal("0.50")),
    ]
    assert books.balances() == {"1.1.1": Decimal("116.00"), "4.1.1": Decimal("-100.00"), "2.2.4": Decimal("-16.00")}


@pytest.mark.parametrize(
    ("kind", "account"),
    [
        ("goods", "4.1.1"), ("service", "4.1.1"), ("amount", "4.1.1"), ("delivery", "4.3.3"), ("service_charge", "4.3.3"),
        ("fee", "4.3.3"), ("gift_card", "2.2.2"), ("deposit", "2.3.1"), ("donation", "2.3.4"), ("duty", "6.3.5"),
    ],
)  # fmt: skip
def test_a_kind_of_line_is_booked_on_its_account_and_the_invoice_shows_the_whole_total(kind: str, account: str) -> None:
    books = Books()
    told = document([line(kind, "20.00")], [cash("20.00")], "20.00")

    result = books.write("sale.completed.v1", told)

    assert books.balances() == {"1.1.1": Decimal("20.00"), account: Decimal("-20.00")}
    assert books.paid() == (Decimal("20.00"), Decimal(0))
    assert books.find("sale.completed.v1", told) == result.external_id


@pytest.mark.parametrize("kind", ["service", "amount", "delivery", "service_charge", "fee"])
def test_a_kind_that_is_revenue_has_an_account_of_its_own_or_falls_back_to_revenue(kind: str) -> None:
    own, none = Books(**{kind: "4.1.2"}), Books(service_charge=None)

    for books in (own, none):
        books.write("sale.completed.v1", document([line(kind, "20.00")], [cash("20.00")], "20.00"))

    assert own.balances() == {"1.1.1": Decimal("20.00"), "4.1.2": Decimal("-20.00")}
    assert none.balances() == {"1.1.1": Decimal("20.00"), "4.1.1": Decimal("-20.00")}


@pytest.mark.parametrize(
    ("kind", "setting"),
    [("gift_card", "gift_card_liability"), ("deposit", "deposit"), ("donation", "donation"), ("duty", "duty")],
)
def test_a_kind_that_is_no_revenue_is_refused_and_named_when_it_has_no_account(kind: str, setting: str) -> None:
    error = _refused(Books(**{setting: None}), "sale.completed.v1", document([line(kind, "20.00")], [cash("20.00")], "20.00"))

    assert (error.code, error.field, error.value) == ("unknown_account", "/lines/0/kind", setting)
    assert f"settings.accounts.{setting}" in error.remedy


@pytest.mark.parametrize("type_", ["voucher", "check", "pay_later", "store_credit", "loyalty", "house_account", "other"])
def test_a_tender_without_an_account_is_refused_before_anything_is_written(type_: str) -> None:
    tenders = [cash("5.00"), {"type": type_, "amount": money("15.00")}]

    error = _refused(Books(), "sale.completed.v1", document([line("goods", "20.00")], tenders, "20.00"))

    assert (error.code, error.field) == ("unknown_account", "/tenders/1/type")
    assert f"settings.accounts.{type_}" in error.remedy


def test_a_tenders_provider_may_have_an_account_of_its_own() -> None:
    books = Books(**{"card/adyen": "1.1.4"})
    tenders = [{"type": "card", "amount": money("12.00"), "provider": "adyen"}, {"type": "card", "amount": money("8.00")}]

    books.write("sale.completed.v1", document([line("goods", "20.00")], tenders, "20.00"))

    assert books.balances() == {"1.1.4": Decimal("12.00"), "1.1.2": Decimal("8.00"), "4.1.1": Decimal("-20.00")}


def test_a_tender_on_the_receivable_account_is_refused() -> None:
    error = _refused(Books(cash="1.2.1"), "sale.completed.v1", document([line("goods", "20.00")], [cash("20.00")], "20.00"))

    assert (error.code, error.field) == ("account_refused", "/tenders/0/type")


def test_rounding_and_exchange_difference_have_accounts_of_their_own() -> None:
    books = Books()
    foreign = {"type": "cash", "amount": money("20.10"), "foreign": {"amount": "18.00", "currency": "EUR"}}
    told = document([line("goods", "19.98")], [foreign], "20.00", rounding=money("0.02"), exchange_difference=money("0.10"))

    books.write("sale.completed.v1", told)

    assert books.paid()[0] == Decimal("20.00")
    assert books.balances() == {
        "1.1.1": Decimal("20.10"), "4.1.1": Decimal("-19.98"), "6.1.1": Decimal("-0.02"), "6.2.1": Decimal("-0.10"),
    }  # fmt: skip


def test_a_return_gives_back_charges_tips_and_money_and_keeps_its_fees() -> None:
    books = Books()
    fee = line("fee", "3.00", [{"name": "VAT", "rate": "10", "amount": money("0.30")}])
    told = document(
        [line("goods", "20.00", [{"name": "VAT", "rate": "10", "amount": money("2.00")}]), line("delivery", "5.00"),
         line("amount", "4.00"), line("gift_card", "10.00")],
        [cash("42.70")], "42.70", "1.70", fees=[fee], tip=money("3.00"), service_charge=money("2.00"),
    )  # fmt: skip

    books.write("return.completed.v1", told)

    assert books.paid() == (Decimal("-42.70"), Decimal("-1.70"))
    assert books.balances() == {
        "1.1.1": Decimal("-42.70"), "4.1.1": Decimal("24.00"), "4.3.3": Decimal("4.00"), "4.1.2": Decimal("3.00"),
        "2.2.2": Decimal("10.00"), "2.2.4": Decimal("1.70"),
    }  # fmt: skip


def test_an_exchange_with_everything_comes_out_as_the_till_said() -> None:
    books = Books()
    told = document(
        [line("goods", "0.53", quantity="1.5", price="0.35"), line("fee", "2.00"), line("gift_card", "10.00")],
        [{"type": "card", "amount": money("-9.00")}, cash("5.00")], "-4.50",
        returned=[line("goods", "20.00", id="r1"), line("delivery", "5.00", id="r2")], tip=money("-1.00"),
        service_charge=money("8.95"), rounding=money("0.02"), change=money("0.50"),
    )  # fmt: skip

    books.write("exchange.completed.v1", told)

    assert books.paid()[0] == Decimal("-4.50")
    assert books.balances() == {
        "1.1.2": Decimal("-9.00"), "1.1.1": Decimal("4.50"), "4.1.1": Decimal("19.47"), "4.3.3": Decimal("-5.95"),
        "4.1.2": Decimal("1.00"), "2.2.2": Decimal("-10.00"), "6.1.1": Decimal("-0.02"),
    }  # fmt: skip


def test_a_void_nets_to_zero_with_its_sale() -> None:
    books = Books(card=None)

    books.write("sale.completed.v1", EXAMPLES["sale.completed.v1"], "XDSALE")
    books.write("sale.voided.v1", kit._VOID, "XDVOID")

    assert books.balances() == {}
    assert [invoice["state"] for invoice in books.simulator.invoices()] == ["paid", "paid"]


def test_a_void_is_refused_with_the_reason_when_it_does_not_say_how_the_money_went() -> None:
    silent = EXAMPLES["sale.voided.v1"]
    unexplained = {**kit._VOID, "tenders": [cash("40.00")]}

    without, beside = _refused(Books(), "sale.voided.v1", silent), _refused(Books(), "sale.voided.v1", unexplained)

    assert (without.code, without.field) == ("void_without_tenders", "/tenders")
    assert (beside.code, beside.field, beside.value) == ("void_unexplained", "/total", "2.00")
    assert "S-1001" in without.remedy


@pytest.mark.parametrize("kinds", [("gift_card",), ("gift_card", "goods"), ("delivery",)])
def test_cut_off_after_any_request_the_accounts_are_right_in_the_end(kinds: tuple[str, ...]) -> None:
    """Also for an invoice whose whole amount moves on to a liability, and with `find` before each attempt."""

    class Lost(ConnectorError):
        pass

    books = Books()
    total = f"{20 * len(kinds)}.00"
    told = document([line(kind, "20.00") for kind in kinds], [cash(total)], total)
    for cut in range(1, 60):
        left = [cut]

        def losing(request: SimRequest, left: list[int] = left) -> Response:
            response = books.simulator.handle(request)
            left[0] -= 1
            if left[0] == 0:
                raise Lost("the answer was lost")
            return response

        if books.find("sale.completed.v1", told) is not None:
            break
        try:
            books.write("sale.completed.v1", told, handle=losing)
        except Lost:
            continue
    assert books.paid()[0] == Decimal(total)
    assert books.balances()["1.1.1"] == Decimal(total)
    assert books.balances().get("4.1.1", Decimal(0)) == (Decimal("-20.00") if "goods" in kinds else 0)


def test_a_draft_that_a_refusal_left_is_made_anew_when_the_settings_were_corrected() -> None:
    books = Books()
    books.simulator.add_product("TAXED", "Taxed", (1,))
    told = document([line("goods", "20.00", sku="TAXED")], [cash("20.00")], "20.00")
    with pytest.raises(RejectedByTargetError, match="default taxes"):
        books.write("sale.completed.v1", told)

    result = books.write("sale.completed.v1", told, link_products=False)

    assert isinstance(result, Written)
    assert books.paid()[0] == Decimal("20.00")


def test_a_draft_is_deleted_when_tryton_still_computes_another_total() -> None:
    books = Books()
    books.simulator.rounding = Decimal("0.05")  # somebody's module rounds lines to five cents
    told = document([line("goods", "20.02")], [cash("20.02")], "20.02")

    error = _refused(books, "sale.completed.v1", told)
    books.simulator.rounding = Decimal("0.01")
    books.write("sale.completed.v1", told)

    assert error.code == "total_mismatch"
    assert books.paid()[0] == Decimal("20.02")


def test_only_articles_need_a_product() -> None:
    books = Books()
    kinds = ("service", "delivery", "amount", "gift_card", "duty", "donation", "deposit", "fee", "service_charge")
    told = document([line(kind, "1.00") for kind in kinds], [cash("9.00")], "9.00")

    assert isinstance(books.write("sale.completed.v1", told), Written)


# -- random documents ------------------------------------------------------------------------------------------------


def priced(chance: random.Random, currency: str, index: int) -> Json:
    """A line as some till computes it: rounded half up or half down, several taxes, compound, included or added."""
    step = Decimal(1).scaleb(-scale(currency))
    how = chance.choice([ROUND_HALF_UP, ROUND_HALF_DOWN])
    price = chance.randint(0, 99999) * step
    quantity = chance.choice([Decimal(1), Decimal(3), Decimal(350), Decimal(chance.randint(1, 2_000_000)) / 1000])
    gross = (quantity * price).quantize(step, how)
    discount = (gross * chance.choice([Decimal(0), Decimal("0.1"), Decimal("0.333")])).quantize(step, how)
    taxes: list[Json] = []
    included = chance.random() < 0.5
    net = gross - discount
    for name in chance.sample(["A", "B", "C"], chance.randint(0, 3)):
        rate = chance.choice([Decimal(0), Decimal(5), Decimal("9.975"), Decimal(21)])
        based = net + sum((Decimal(tax["amount"]["amount"]) for tax in taxes), Decimal(0)) if not included else net
        value = (based * rate / (100 + rate if included else 100)).quantize(step, how)
        if included and value + sum((Decimal(tax["amount"]["amount"]) for tax in taxes), Decimal(0)) > net:
            continue
        compound = {} if included or not taxes else {"base": money(based, currency)}
        taxes.append({"name": name, "rate": str(rate), "amount": money(value, currency), "included": included, **compound})
    added = Decimal(0) if included else sum((Decimal(tax["amount"]["amount"]) for tax in taxes), Decimal(0))
    return {
        "id": str(index), "sku": "SKU-0001", "quantity": str(quantity), "unit_price": money(price, currency),
        "gross": money(gross, currency), "total": money(net + added, currency), "taxes": taxes,
        "kind": chance.choice(["goods", "goods", "gift_card", "delivery"]),
        **({"discount": money(discount, currency)} if discount else {}),
    }  # fmt: skip


def transaction(chance: random.Random) -> tuple[str, str, Json]:
    currency = chance.choice(["USD", "JPY", "KWD"])
    name = chance.choice(["sale.completed.v1", "return.completed.v1", "exchange.completed.v1"])
    lines = [priced(chance, currency, index) for index in range(chance.randint(1, 4))]
    back = [priced(chance, currency, 9)] if name.startswith("exchange") else []
    kept = [priced(chance, currency, 8) | {"kind": "fee"}] if name.startswith("return") and (chance.random() < 0.5) else []

    def summed(of: Callable[[Json], Decimal]) -> Decimal:
        return sum((of(item) for item in lines), Decimal(0)) - sum((of(item) for item in [*back, *kept]), Decimal(0))

    total = summed(lambda item: Decimal(item["total"]["amount"]))
    tax = summed(lambda item: sum((Decimal(one["amount"]["amount"]) for one in item["taxes"]), Decimal(0)))
    told = {
        "id": "1", "number": "1", **HEAD, "lines": lines, "tax": money(tax, currency), "total": money(total, currency),
        "tenders": [{"type": "cash", "amount": money(total, currency)}], **({"returned": back} if back else {}),
        **({"fees": kept} if kept else {}),
    }  # fmt: skip
    return currency, name, told


@pytest.mark.parametrize("seed", range(150))
def test_any_document_is_booked_to_the_minor_unit(seed: int) -> None:
    currency, name, told = transaction(random.Random(seed))
    if violations(name, told):  # a return of less than its fees, for example
        return
    books = Books(currency)

    books.write(name, told)

    sign = -1 if name.startswith("return") else 1
    assert books.paid() == (sign * Decimal(told["total"]["amount"]), sign * Decimal(told["tax"]["amount"]))
    balances = books.balances()
    assert balances.get("1.1.1", Decimal(0)) == sign * Decimal(told["total"]["amount"])
    assert balances.get("2.2.4", Decimal(0)) == -sign * Decimal(told["tax"]["amount"])
    assert balances.get("1.2.1", Decimal(0)) == 0
