"""What comes together is admitted as if it had come one after the other, whatever depends on what."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import Shop, envelope

from canonical.examples import EXAMPLES
from hub.errors import HubError
from hub.flow.ingest import Event, check_envelope, take_events
from hub.identity.api_keys import SCOPES, Client
from hub.store import Store

SALE, RETURN, VOID = (EXAMPLES[f"{name}.v1"] for name in ("sale.completed", "return.completed", "sale.voided"))


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[list[Shop]]:
    made = [Shop(tmp_path / name) for name in ("one", "many")]
    yield made
    for shop in made:
        shop.close()


def _events(seed: int) -> list[dict[str, Any]]:
    """Sales, returns of them before and after, repetitions with the same and another document, the same sale under another id."""
    chance = random.Random(seed)
    found = []
    for _ in range(40):
        number = chance.randrange(8)
        sale = SALE | {"id": f"S-{number}", "number": str(number)}
        match chance.randrange(6):
            case 0 | 1:
                found.append(envelope(sale, "sale.completed.v1", f"e-{number}"))
            case 2:
                found.append(envelope(sale | {"extensions": {"acme": {"till": "2"}}}, "sale.completed.v1", f"e-{number}"))
            case 3:
                found.append(envelope(sale, "sale.completed.v1", f"again-{chance.randrange(100)}"))
            case 4:
                back = RETURN | {"id": f"R-{chance.randrange(30)}", "original": {"id": sale["id"], "number": sale["number"]}}
                found.append(envelope(back, "return.completed.v1", f"r-{back['id']}"))
            case 5:
                void = VOID | {"id": f"V-{number}", "original": {"id": sale["id"], "number": sale["number"]}}
                found.append(envelope(void, "sale.voided.v1", f"v-{number}"))
    return [item for item in found if _fits(item)]


def _fits(item: Any) -> bool:
    try:
        check_envelope(item)
    except HubError:
        return False
    return True


def _admitted(shop: Shop, events: list[Any], size: int) -> list[Any]:
    """What each caller is told, ids as numbers in the order of their appearance."""
    ctx, client, told = shop.hub.ctx, Client("acme", "", "api", frozenset(SCOPES)), []
    for start in range(0, len(events), size):
        with ctx.store.begin() as uow:
            told += take_events(uow, [Event(ctx, client, item) for item in events[start : start + size]])
    numbers: dict[str | None, int] = {None: -1}
    return [
        item.code if isinstance(item, HubError)
        else (numbers.setdefault(item.message_id, len(numbers)), item.duplicate, numbers.get(item.suspect_of), len(item.deliveries))
        for item in told
    ]  # fmt: skip


def _books(shop: Shop) -> Any:
    with shop.hub.ctx.store.read() as uow:
        messages = [(row["source_id"], row["state"]) for row in uow.messages.page("acme", None, 200)]
        deliveries = sorted(
            (row["connection_id"], row["subject"], row["state"], row["behind"], row["key"])
            for row in uow.deliveries.page("acme", None, 200)
        )
        audit = [(row["action"], row["detail"].get("source_id")) for row in uow.audit.page("acme", None, 500)]
        assert uow.audit.verify("acme") is None
    return sorted(messages), deliveries, [item for item in audit if item[0].startswith("message.")]


@pytest.mark.parametrize("seed", range(12))
def test_a_group_is_admitted_as_its_events_would_be_one_by_one(shops: list[Shop], seed: int) -> None:
    events = _events(seed)
    one, many = shops

    assert len(events) > 20
    assert _admitted(one, events, 1) == _admitted(many, events, 17)
    assert _books(one) == _books(many)


def test_a_young_table_is_analysed_as_soon_as_it_has_changed(postgres_url: str) -> None:
    """Until then the planner takes any index that begins with the tenant."""
    store = Store(postgres_url)
    try:
        store.upgrade()
        for start in range(0, 600, 200):
            with store.begin() as uow:
                uow.records.put([
                    {"tenant_id": "acme", "connection_id": "pos", "object": "item", "ref": str(n), "digest": "", "changes": 1,
                     "changed_at": store.now(), "seen_at": store.now()}
                    for n in range(start, start + 200)
                ])  # fmt: skip
        assert _known_rows(postgres_url) < 600, "not looked at since"
        end = time.monotonic() + 30
        while _known_rows(postgres_url) != 600 and time.monotonic() < end:
            store.analyze()
            time.sleep(0.3)  # what a transaction changed is counted after a second or later

        assert _known_rows(postgres_url) == 600
        assert store.analyze() == 0, "looked at once"
    finally:
        store.close()


def _known_rows(url: str) -> float:
    """How many rows of `record` the planner knows of; -1: it was never told."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        found = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'record'").fetchone()
    assert found is not None
    return float(found[0])
