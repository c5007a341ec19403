"""Canonical → Tryton: one paid invoice per transaction, to the cent, however often and wherever it is cut off."""

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hub_tryton.connector import Tryton
from hub_tryton.rpc import plain, typed
from hub_tryton.simulator import TrytonSimulator

from canonical.examples import EXAMPLES
from hub.sdk import ConnectorError, RejectedByTargetError, Request, Response, Written
from hub.sdk.testing import SimRequest, drive

ACCOUNTS = {
    "receivable": "1.2.1", "revenue": "4.1.1", "tax": "2.2.4", "tip": "4.1.2", "service_charge": "4.1.2", "rounding": "6.1.1",
    "cash": "1.1.1", "card": "1.1.2",
}  # fmt: skip
TRANSACTIONS = ("sale.completed.v1", "return.completed.v1", "exchange.completed.v1")


@pytest.fixture
def simulator() -> TrytonSimulator:
    simulator = TrytonSimulator()
    simulator.add_product("SKU-0001", "Coffee")
    simulator.add_product("SKU-0002", "Mug")
    return simulator


@pytest.fixture
def tryton() -> Tryton:
    return Tryton({"database": "tryton", "currency": "USD", "accounts": ACCOUNTS})


def _headers(simulator: TrytonSimulator) -> dict[str, str]:
    parameters = [simulator.username, {"password": simulator.password}, "en"]
    body = json.dumps({"id": 1, "method": "common.db.login", "params": parameters}).encode()
    user, token, _ = json.loads(simulator.handle(SimRequest("POST", "/tryton/rpc/", body=body)).content)["result"]
    return {"Authorization": "Session " + base64.b64encode(f"{simulator.username}:{user}:{token}".encode()).decode()}


def _write(
    tryton: Tryton, simulator: TrytonSimulator, name: str, handle: Callable[[SimRequest], Response] | None = None, **change: Any
) -> Any:
    steps = tryton.write(name, EXAMPLES[name] | change, f"XD{name}")
    return drive(tryton, steps, handle or simulator.handle, _headers(simulator))


def _signed(name: str, document: dict[str, Any]) -> Decimal:
    return Decimal(document["total"]["amount"]) * (-1 if name == "return.completed.v1" else 1)


@pytest.mark.parametrize("name", TRANSACTIONS)
def test_a_transaction_becomes_one_paid_invoice_to_the_cent(tryton: Tryton, simulator: TrytonSimulator, name: str) -> None:
    result = _write(tryton, simulator, name)

    (invoice,) = simulator.invoices()
    assert result == Written("account.invoice,1", {"number": "1"})
    assert (invoice["state"], simulator._total(invoice)) == ("paid", _signed(name, EXAMPLES[name]))
    money = simulator.money({"cash": "1.1.1", "card": "1.1.2", "open": "1.2.1"})
    assert money["cash"] + money["card"] == _signed(name, EXAMPLES[name])
    assert money["open"] == 0, "nothing stays receivable"


@pytest.mark.parametrize("name", TRANSACTIONS)
def test_cut_off_after_any_request_it_goes_on_and_doubles_nothing(
    tryton: Tryton, simulator: TrytonSimulator, name: str
) -> None:
    """Every crash point: the n-th answer is lost, then the write runs again from its start."""

    class Lost(ConnectorError):
        pass

    for cut in range(1, 40):
        left = [cut]

        def losing(request: SimRequest, left: list[int] = left) -> Response:
            response = simulator.handle(request)
            left[0] -= 1
            if left[0] == 0:
                raise Lost("the answer was lost")
            return response

        try:
            _write(tryton, simulator, name, losing)
            break
        except Lost:
            tryton = Tryton(dict(tryton.settings))
    else:
        raise AssertionError("the write never came to its end")

    assert [row["state"] for row in simulator.invoices()] == ["paid"]
    assert len(simulator.entries()) == 2
    assert len(simulator.rows["account.move.reconciliation"]) == 1
    found = drive(tryton, tryton.find(name, EXAMPLES[name], f"XD{name}"), simulator.handle, _headers(simulator))
    (invoice,) = simulator.invoices()
    assert found == f"account.invoice,{invoice['id']}", "a draft that was left behind is made anew, so its id may differ"


def test_a_half_done_invoice_is_not_found_as_done(tryton: Tryton, simulator: TrytonSimulator) -> None:
    steps = tryton.write("sale.completed.v1", EXAMPLES["sale.completed.v1"], "XDHALF")
    request = next(steps)
    while '"model.account.invoice.post"' not in (request.body() or b"").decode():
        request = steps.send(simulator.handle(SimRequest.of(request, {k.lower(): v for k, v in _headers(simulator).items()})))

    found = drive(
        tryton, tryton.find("sale.completed.v1", EXAMPLES["sale.completed.v1"], "XDHALF"), simulator.handle, _headers(simulator)
    )
    assert found is None
    assert [row["state"] for row in simulator.invoices()] == ["draft"]


def test_an_unknown_sku_is_named_with_its_field_and_remedy(tryton: Tryton, simulator: TrytonSimulator) -> None:
    lines = [EXAMPLES["sale.completed.v1"]["lines"][0] | {"sku": "GHOST"}, EXAMPLES["sale.completed.v1"]["lines"][1]]

    with pytest.raises(RejectedByTargetError) as caught:
        _write(tryton, simulator, "sale.completed.v1", lines=lines)

    assert (caught.value.code, caught.value.field) == ("unknown_sku", "/lines/0/sku")
    assert simulator.invoices() == []


def test_another_currency_and_a_missing_account_are_refused_before_anything_is_written(simulator: TrytonSimulator) -> None:
    in_euro = Tryton({"database": "tryton", "currency": "EUR", "accounts": ACCOUNTS})
    no_tip = Tryton({"database": "tryton", "currency": "USD", "accounts": {k: v for k, v in ACCOUNTS.items() if k != "tip"}})

    for connector, code in ((in_euro, "currency_refused"), (no_tip, "unknown_account")):
        with pytest.raises(RejectedByTargetError) as caught:
            _write(connector, simulator, "sale.completed.v1")
        assert caught.value.code == code
    assert simulator.invoices() == []


def test_trytons_tax_warning_is_a_rejection_that_names_it(tryton: Tryton) -> None:
    simulator = TrytonSimulator()
    simulator.add_product("SKU-0001", "Coffee", (1,))
    simulator.add_product("SKU-0002", "Mug")

    with pytest.raises(RejectedByTargetError) as caught:
        _write(tryton, simulator, "sale.completed.v1")
    assert caught.value.code == "user_warning"
    assert "link_products" in caught.value.remedy

    Unlinked = type("Unlinked", (Tryton,), {})
    unlinked = Unlinked({**tryton.settings, "link_products": False})
    assert isinstance(drive(unlinked, unlinked.write("sale.completed.v1", EXAMPLES["sale.completed.v1"], "XDOTHER"),
                            simulator.handle, _headers(simulator)), Written)  # fmt: skip


def test_no_float_carries_money_or_rate() -> None:
    requests: list[Request] = []
    simulator = TrytonSimulator()
    simulator.add_product("SKU-0001", "Coffee")
    simulator.add_product("SKU-0002", "Mug")
    tryton = Tryton({"database": "tryton", "currency": "USD", "accounts": ACCOUNTS})
    drive(
        tryton,
        tryton.write("sale.completed.v1", EXAMPLES["sale.completed.v1"], "XD1"),
        simulator.handle,
        _headers(simulator),
        requests,
    )

    def floats(value: Any, name: str = "") -> list[str]:
        if isinstance(value, dict):
            return [found for key, item in value.items() for found in floats(item, key)]
        if isinstance(value, list):
            return [found for item in value for found in floats(item, name)]
        return [name] if isinstance(value, float) else []

    assert {name for request in requests for name in floats(request.json)} <= {"quantity"}, "Tryton's quantity is a float field"


def test_typed_values_survive_the_wire() -> None:
    from datetime import date

    value = {"a": Decimal("12.50"), "b": [date(2026, 11, 21)], "c": None, "d": "x"}

    assert plain(json.loads(json.dumps(typed(value)))) == value
