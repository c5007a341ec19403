"""Foreign ids and texts at the boundaries: webhooks and polls."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sync_world import START, World, later, poll

from hub.flow.ingest import _identify
from hub.sync.record_states import state_of

READING = """
integration: sync
duplicates: pass
connections: {a: {connector: rows, base_url: "http://a.test"}, b: {connector: rows, base_url: "http://b.test"}}
flows:
  - {name: rows, on: product.v2, from: a, cadence: every 1m, read: [row], to: [{connection: b}]}
"""
DECLARED: dict[str, Any] = {"event_id_header": "", "event_type_header": "", "event_id": "id", "event_type": ""}


def event_id(body: bytes) -> str:
    return _identify(DECLARED, {}, body)[0]


def test_webhook_event_ids_stay_two_when_they_differ_behind_the_end_of_the_column() -> None:
    first, second = (event_id(json.dumps({"id": "evt_" + "a" * 260 + end}).encode()) for end in "12")

    assert first != second
    assert max(len(first), len(second)) <= 255


@pytest.mark.parametrize("body", [b'{"id": "e1", "name": "a\\ud83d"}', b'\xef\xbb\xbf{"id": "e1"}'])
def test_webhook_keeps_its_event_id_when_the_body_is_odd_json(body: bytes) -> None:
    assert event_id(body) == "e1"


def test_record_is_kept_when_its_text_is_no_unicode() -> None:
    assert json.loads(state_of({"name": "a\ud83d"}).body) == {"name": "a\ud83d"}


def test_update_of_a_record_arrives_when_its_source_id_has_no_time_of_change(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(READING)
    objects = world.connectors["rows"].manifest.objects
    monkeypatch.setitem(objects["row"]["map"], "source_id", "= record.id")
    world.system.put("R1", START, "Mug")
    world.live(poll)
    later(world, minutes=2)
    world.system.put("R1", START + timedelta(minutes=1), "Large mug")
    world.live(poll)

    assert world.told() == [("R1", "Mug"), ("R1", "Large mug")]
    assert [name for _, name in world.system.written] == ["Mug", "Large mug"]
