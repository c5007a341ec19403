"""The kit's rule that runs a connector in the hub's own engine: it sees what is doubled, lost and left."""

from typing import Any

import pytest
from kit_model import ModelSystem, subject, system

from hub.rehearsal.trial import rehearse
from hub.sdk.kit import RULES, engine
from hub.sdk.kit.rules import InapplicableError
from hub.sdk.testing import answer, route


class _Forgetful(ModelSystem):
    """Declared to know our key, and does not."""

    @route("POST", "/sales")
    def sale(self, request: Any) -> Any:
        self.sales[str(len(self.sales))] = request.json()
        return answer(200, {"id": f"sale/{len(self.sales)}"})


class _Unfindable(ModelSystem):
    """Never says what it has."""

    @route("GET", "/moves")
    def list_moves(self, request: Any) -> Any:
        return answer(503)


def test_what_holds_leaves_no_line() -> None:
    assert list(rehearse(subject())) == []


def test_a_target_that_doubles_is_told_by_each_place_where_it_did() -> None:
    lines = list(rehearse(subject(system=lambda: system(_Forgetful))))

    assert "sale.completed.v1: answer lost: applied 2 instead of 1" in lines
    assert "sale.completed.v1: arrives late: applied 2 instead of 1" in lines
    assert any("crashed before commit" in line and "applied 2 instead of 1" in line for line in lines)
    assert not any("connection refused" in line for line in lines), "what never arrived is not applied twice"


def test_a_delivery_that_no_look_up_can_settle_is_told() -> None:
    lines = list(rehearse(subject(system=lambda: system(_Unfindable))))

    assert any(line.startswith("stock.adjusted.v1: answer lost") for line in lines), lines


def test_beside_the_base_alone_the_rule_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking:
        def load(self) -> Any:
            raise ModuleNotFoundError("no", name="sqlalchemy")

    monkeypatch.setattr(engine, "entry_points", lambda group: [Lacking()])

    with pytest.raises(InapplicableError, match="needs sqlalchemy"):
        list(RULES["survives-the-hub"].check(subject()))


def test_beside_no_engine_the_rule_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "entry_points", lambda group: [])

    with pytest.raises(InapplicableError, match="engine is not here"):
        list(RULES["survives-the-hub"].check(subject()))
