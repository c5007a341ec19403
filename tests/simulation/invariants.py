"""What must hold when a hub is at rest, whatever happened before: RELIABILITY 1.3 over one `World`."""

from collections import Counter
from typing import Any

from simulation.world import TENANT, SimHub, World


def check(world: World, expected_dead: int = 0) -> None:
    """Raise AssertionError naming the invariant that does not hold."""
    hub = world.incarnation()
    try:
        _check(world, hub, expected_dead)
    finally:
        hub.end()


def _check(world: World, hub: SimHub, expected_dead: int) -> None:
    messages = {row["source_id"]: row for row in hub.rows("message")}
    raws = {row["source_event_id"] for row in hub.rows("raw_input")}
    deliveries = hub.rows("delivery")
    keys = Counter(row["key"] for row in world.target.documents)
    # D1: what was answered 2xx is there, and became a message.
    for name in world.acknowledged:
        assert name in raws or name in messages, f"D1: {name} was acknowledged and is not stored"
    for row in hub.rows("raw_input"):
        if row["state"] == "translated":
            product = row["source_event_id"].partition("@")[0]
            assert any(item["subject"] == f"product/{product}" for item in messages.values()), "D1: translated into nothing"
    # D2: each message has one delivery per route, each in a final state.
    states = Counter(row["state"] for row in deliveries)
    assert states["dead"] == expected_dead, f"D2: {states}"
    assert set(states) <= {"applied", "skipped", "dead", "discarded"}, f"D2: {states}"
    assert len(deliveries) == len(messages), f"D2: {len(deliveries)} deliveries of {len(messages)} messages"
    assert {row["message_id"] for row in deliveries} == {row["id"] for row in messages.values()}, (
        "D2: a message has no delivery"
    )
    # D3: at most one document per key, one for each applied delivery, complete.
    assert not [key for key, count in keys.items() if count > 1], f"D3: applied twice: {keys}"
    facts = Counter(world.target.applications)
    assert max(facts.values(), default=0) <= 1, f"D3: a fact was applied under two keys: {facts}"
    applied = {row["key"] for row in deliveries if row["state"] == "applied"}
    assert applied <= set(keys), f"D3: said to be applied and is not: {applied - set(keys)}"
    assert applied <= world.target.confirmed, f"D3: half written: {applied - world.target.confirmed}"
    # D4: an entity's states were applied in the order of their time.
    seen: dict[str, str] = {}
    for entity, at in world.target.applications:
        assert seen.get(entity, "") <= at, f"D4: {entity} went back from {seen[entity]} to {at}"
        seen[entity] = at
    # Announced at least once; the audit chain is whole and tells the end of each delivery once.
    assert {_uuid(row) for row in messages.values()} <= set(world.announced), "a message was never announced"
    with hub.ctx.store.read() as uow:
        assert uow.audit.verify(TENANT) is None, "the audit chain is broken"
    ends = Counter(row["subject"] for row in hub.rows("audit") if row["action"] in ("delivery.applied", "delivery.skipped"))
    assert set(ends.values()) <= {1}, f"an end was recorded twice: {ends}"
    assert set(ends) == {f"delivery/{_uuid(row)}" for row in deliveries if row["state"] in ("applied", "skipped")}, (
        "audit and state disagree"
    )
    # Every attempt has an end, and the links know what was applied.
    assert not [row for row in hub.rows("attempt") if row["ended_at"] is None], "an attempt never ended"
    linked = {row["canonical_id"] for row in hub.rows("link")}
    assert {row["subject"].partition("/")[2] for row in deliveries if row["state"] == "applied"} <= linked, (
        "applied and not linked"
    )


def effects_are_guarded(log: list[str]) -> None:
    """D15: right before each effect something was committed: its intent, with the lease."""
    for index, name in enumerate(log):
        if name == "effect":
            assert log[:index][-1:] == ["commit"], f"D15: an effect left after {log[index - 1]!r}"


def _uuid(row: dict[str, Any]) -> str:
    text = str(row["id"]).replace("-", "")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
