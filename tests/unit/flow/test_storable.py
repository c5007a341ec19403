"""Whatever a target or plugin answers becomes an outcome that both stores take."""

from collections.abc import Callable
from typing import Any

import pytest
from support import Shop, envelope

from canonical.examples import EXAMPLES
from hub.flow import outcome as outcomes
from hub.flow.ingest import accept_event
from hub.flow.outcome import Outcome
from hub.flow.storable import storable, storable_id, storable_run
from hub.identity.api_keys import Client
from hub.policies.text import clean
from hub.runtime.performer import Run
from hub.sdk.errors import RejectedByTargetError, RetryableError
from hub.sdk.steps import Written


class _SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even a message")


RESULTS: list[Any] = [
    Written("7" * 300), Written("a\x00b"), Written("half \ud800"), Written(42), Written(float("nan")), Written({"id": 1}),  # type: ignore[arg-type]
    RejectedByTargetError("half \ud83d a smile \x00", code="c" * 300, remedy="r\ud800" * 3000), RejectedByTargetError("x" * 10_000_000),
    RejectedByTargetError({"a": 1}), _SilentError(), ValueError("\udfff"),  # type: ignore[arg-type]
    RetryableError("x", retry_after=float("inf")), RetryableError("x", retry_after=1e300), RetryableError("x", retry_after=float("nan")),
]  # fmt: skip


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "x" * 50, "fine", "…"])
def test_text_is_cleaned_and_cut_when_no_store_takes_it(text: str) -> None:
    found = clean(text, 10)

    assert len(found) <= 10
    found.encode()
    assert "\x00" not in found
    assert clean("fine", 4) == "fine"
    assert clean("finer", 4) == "fin…"
    assert clean("\ud83d\x00") == "\ufffd\ufffd"


def test_two_long_ids_stay_two_when_they_are_cut() -> None:
    one, two = storable_id("7" * 300), storable_id("7" * 299 + "8")

    assert one[1] is two[1] is True
    assert one[0] != two[0]
    assert len(str(one[0])) == len(str(two[0])) == 255
    assert storable_id("7" * 255) == ("7" * 255, False)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300, -1.0])
def test_a_wait_is_bounded_when_an_outcome_is_stored(seconds: float) -> None:
    assert 0 <= storable(Outcome("pending", after_seconds=seconds)).after_seconds <= 2 * 86400


def test_steps_are_cut_when_a_try_made_thousands() -> None:
    run = storable_run(Run([{"n": n, "path": "/\ud800\x00", "ms": float("inf"), "status": 2**70} for n in range(5000)], 3))

    assert len(run.steps) == 401
    assert run.steps[-1] == {"n": 4999, "path": "/\ufffd\ufffd", "ms": "inf", "status": str(2**70)}
    assert run.effects == 3


@pytest.fixture
def shop_of(make_shop: Callable[..., Shop], database_url: str) -> Shop:
    """A shop whose workers do not run."""
    return make_shop(database_url=database_url)


def _deliver(shop: Shop, monkeypatch: pytest.MonkeyPatch, result: Any) -> tuple[dict[str, Any], list[int]]:
    """One sale, delivered until nothing is due for the ERP: (its delivery, how often it was written)."""
    written: list[int] = []

    def write(self: Any, type_name: str, document: Any, key: str) -> Any:
        written.append(1)
        if isinstance(result, Exception):
            raise result
        return result
        yield

    monkeypatch.setattr(shop.hub.ctx.plugins.connectors["tryton"], "write", write)
    document = EXAMPLES["sale.completed.v1"]
    accept_event(shop.hub.ctx, Client(shop.tenant, "k", "t", frozenset()), envelope(document, "sale.completed.v1"))
    (row,) = shop.deliveries(connection_id="erp")
    shop.hub.ctx.loop.submit(shop.hub.deliverer.deliver(shop.tenant, row["id"])).result(30)
    (row,) = shop.deliveries(connection_id="erp")
    return row, written


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: ascii(result)[:30])
def test_an_outcome_is_stored_when_a_plugin_answers_what_no_column_holds(
    shop_of: Shop, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    row, written = _deliver(shop_of, monkeypatch, result)

    assert written == [1]
    assert row["state"] in ("applied", "dead", "pending")
    assert row["attempts"] == 1
    with shop_of.hub.ctx.store.read() as uow:
        assert uow.audit.verify(shop_of.tenant) is None
        assert len(uow.attempts.of_delivery(shop_of.tenant, row["id"])) == 1


def test_a_dead_letter_is_stored_once_when_the_store_refuses_the_outcome(
    shop_of: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = outcomes.commit

    def refusing(uow: Any, endings: Any) -> Any:
        if any(item.outcome.state == "applied" for item in endings):
            raise ValueError("invalid byte sequence")
        return commit(uow, endings)

    monkeypatch.setattr(outcomes, "commit", refusing)
    row, written = _deliver(shop_of, monkeypatch, Written("42"))

    assert (row["state"], row["cause_code"], written) == ("dead", "outcome_not_stored", [1])
    assert row["remedy"]
