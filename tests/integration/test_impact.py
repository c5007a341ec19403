"""G3: who still calls what is exact, on both engines."""

import random
import time
from collections import Counter
from datetime import date, timedelta

import orjson
import pytest

from hub.contracts.diff import compare
from hub.contracts.document import document, operations, short_name
from hub.contracts.impact import impact, names
from hub.store import Store

LAST = date(2026, 11, 21)


def test_every_operation_is_counted_under_a_name_of_its_own() -> None:
    identities = [name for name in operations() if name.startswith("hub.")]

    assert len({short_name(name) for name in identities}) == len(identities)
    assert set(names(document())) == {short_name(name) for name in operations()}


def test_who_calls_what_equals_the_ground_truth_of_fifty_clients(store: Store) -> None:
    """50 clients of ten tenants, every operation, 100,000 calls over 60 days; the report asks for the last 30."""
    chance, truth = random.Random(1), Counter[tuple[str, str, str]]()
    clients = [(f"tenant-{n % 10}", f"client-{n}") for n in range(50)]
    known = [short_name(name) for name in operations()]
    since = (LAST - timedelta(days=29)).isoformat()
    calls = Counter(
        (*chance.choice(clients), chance.choice(known), (LAST - timedelta(days=chance.randrange(60))).isoformat())
        for _ in range(100_000)
    )
    for (tenant, client, operation, day), count in calls.items():
        if day >= since:
            truth[tenant, client, operation] += count
    rows = sorted(calls.items())
    for start in range(0, len(rows), 5000):
        with store.begin() as uow:
            for (tenant, client, operation, day), count in rows[start : start + 5000]:
                uow.usage.count(tenant, client, operation, day, count)

    started = time.monotonic()
    with store.read() as uow:
        usage = uow.usage.callers(since)
    took = time.monotonic() - started

    assert {(row["tenant_id"], row["client"], row["operation"]): row["calls"] for row in usage} == truth
    assert all(since <= row["last_day"] <= LAST.isoformat() for row in usage)
    print(f"{len(rows)} rows of usage, {len(usage)} answered in {took:.2f} s")

    newer = orjson.loads(orjson.dumps(document()))
    del newer["paths"]["/v1/events/batch"]
    (found,) = [item for item in impact(compare(document(), newer), document(), usage) if item.change.severity == "ERR"]
    expected = {key[:2]: count for key, count in truth.items() if key[2] == "events.publish_batch"}
    assert {(who.tenant_id, who.client): who.calls for who in found.callers} == expected
    assert len(expected) == pytest.approx(50, abs=2)


def test_a_change_that_nobody_meets_has_no_callers() -> None:
    newer = orjson.loads(orjson.dumps(document()))
    del newer["paths"]["/v1/links"]

    (found,) = [item for item in impact(compare(document(), newer), document(), []) if item.change.severity == "ERR"]

    assert found.callers == ()
    assert found.change.operations == ("GET /v1/links",)
