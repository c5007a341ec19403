"""A file that doubles a flow or moves a connection is refused by name; what is accepted takes nothing along."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import MANIFEST, VAULT_KEY, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import Hub, utc_now
from hub.errors import HubError
from hub.flow.ingest import accept_event
from hub.flow.lineage import lineage
from hub.flow.replay import replay_delivery, replay_many
from hub.identity.api_keys import Client
from hub.identity.connections import resume, set_credentials
from hub.integrations.apply import apply_integration, consequences, examine
from hub.integrations.disputes import origin
from hub.integrations.files import parse_integration
from hub.runtime.plugins import Plugins
from hub.sdk import Connector
from hub.sdk.manifest import parse_manifest
from hub.settings import Settings
from hub.store.ids import new_id

FLOW = "  - {name: NAME, on: sale.completed.v1, to: [{connection: t}]}\n"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    plugins = Plugins({
        name: type(name.title(), (Connector,), {"manifest": parse_manifest(MANIFEST.replace("connector: acme", f"connector: {name}"), "m")})
        for name in ("acme", "other")
    })  # fmt: skip
    with Hub(Settings(data_dir=tmp_path, vault_key=VAULT_KEY), plugins) as hub:
        hub.ctx.store.upgrade()
        with hub.ctx.store.begin() as uow:
            uow.tenants.add("acme", "Acme", utc_now())
        yield hub


def _file(*flows: str, name: str = "one", url: str = "https://a.test", connection: str = "t", connector: str = "acme") -> str:
    text = "".join(FLOW.replace("NAME", flow) for flow in flows).replace("connection: t", f"connection: {connection}")
    return f"integration: {name}\nconnections:\n  {connection}: {{connector: {connector}, base_url: '{url}'}}\nflows:\n{text}"


def _apply(hub: Hub, text: str, *accept: str) -> None:
    with hub.ctx.store.begin() as uow:
        wanted = parse_integration(text, "f.yaml", hub.ctx.plugins)
        apply_integration(uow, hub.ctx.plugins, "acme", wanted, "test", "", utc_now(), accept=accept)


def _sell(hub: Hub, number: str) -> Any:
    sale = {**EXAMPLES["sale.completed.v1"], "id": number, "number": number}
    client = Client("acme", "k", "ops", frozenset())
    return accept_event(hub.ctx, client, envelope(sale))


def _connection(hub: Hub, name: str = "t") -> dict[str, Any]:
    with hub.ctx.store.read() as uow:
        row = uow.connections.get("acme", name)
        assert row is not None
        return row


def _counts(hub: Hub) -> tuple[int, int]:
    with hub.ctx.store.read() as uow:
        return len(uow.connections.credentials("acme", "t")), len(uow.links.page("acme", None, 10, connection_id="t"))


def _fill(hub: Hub) -> None:
    with hub.ctx.store.begin() as uow:
        set_credentials(uow, hub.ctx.plugins, hub.ctx.vault, "acme", "t", {"key": "secret"}, utc_now(), "test")
        uow.links.put([{"tenant_id": "acme", "connection_id": "t", "kind": "sale", "canonical_id": "S", "external_id": "17",
                        "created_at": utc_now()}])  # fmt: skip


@pytest.mark.parametrize("apart", [False, True])
def test_two_flows_to_one_connection_deliver_once_when_a_person_accepts_them(hub: Hub, apart: bool) -> None:
    if apart:
        _apply(hub, _file("a"))
    text = _file("b", name="two") if apart else _file("b", "a")
    with pytest.raises(HubError) as refused:
        _apply(hub, text)
    assert "--accept same-target:t" in refused.value.detail

    _apply(hub, text, "same-target:t")
    admitted = _sell(hub, "N-1")

    assert len(admitted.deliveries) == 1
    history = lineage(hub.ctx, "acme", admitted.message_id)
    assert [row["flow"] for row in history["messages"][0]["deliveries"]] == ["one/a"]
    loser = "two/b" if apart else "one/b"
    assert [step["text"] for step in history["steps"] if step["step"] == "skip"] == [
        f"not to t by {loser}: one/a leads the same message there"
    ]


def test_one_name_in_two_files_is_refused_when_they_declare_it_otherwise(hub: Hub) -> None:
    _apply(hub, _file("a"))
    other = _file("b", name="two").replace("sale.completed.v1", "return.completed.v1")

    with pytest.raises(HubError, match="'t' of 'two' is declared otherwise by integration 'one'"):
        _apply(hub, _file("b", name="two", url="https://b.test"), "moved-connection:t", "same-target:t")
    assert _connection(hub)["base_url"] == "https://a.test"
    assert other  # the same definition is shared:
    _apply(hub, _file("b", name="two"), "same-target:t")


@pytest.mark.parametrize(
    ("url", "connector"), [("https://b.test", "acme"), ("https://a.test:8443", "acme"), ("https://a.test", "other")]
)
def test_a_connection_takes_nothing_along_when_it_moves(hub: Hub, url: str, connector: str) -> None:
    _apply(hub, _file("a"))
    _fill(hub)
    moved = _file("a", url=url, connector=connector)
    with pytest.raises(HubError, match="moved-connection:t"):
        _apply(hub, moved)
    assert (_connection(hub)["base_url"], _counts(hub)) == ("https://a.test", (1, 1))

    _apply(hub, moved, "moved-connection:t")

    row = _connection(hub)
    assert (row["base_url"], row["state"], _counts(hub)) == (url, "paused", (0, 0))
    assert row["state_reason"] == "credentials missing: key"
    with hub.ctx.store.read() as uow:
        record = next(row for row in uow.audit.page("acme", None, 50, "connection/t") if row["action"] == "connection.moved")
    assert record["detail"]["accepted"] == ["moved-connection:t"]
    assert (record["detail"]["removed"]["credential"], record["detail"]["removed"]["link"]) == (1, 1)


def test_a_connection_keeps_its_credentials_when_only_its_path_changes(hub: Hub) -> None:
    _apply(hub, _file("a"))
    _fill(hub)

    _apply(hub, _file("a", url="https://A.test:443/api/"))

    assert _counts(hub) == (1, 1)
    assert origin("https://A.test:443/api/") == origin("https://a.test")


def test_a_connection_stops_when_no_file_names_it_and_goes_on_when_one_does(hub: Hub) -> None:
    _apply(hub, _file("a"))
    _fill(hub)
    _sell(hub, "N-1")

    _apply(hub, _file("a", connection="u"))

    assert (_connection(hub)["state"], _connection(hub)["state_reason"]) == ("retired", "no integration in force names it")
    with hub.ctx.store.begin() as uow:
        assert not resume(uow, "acme", "t", utc_now(), "test", "")
        assert [row["state"] for row in uow.deliveries.page("acme", None, 10, connection_id="t")] == ["pending"]
    _apply(hub, _file("a"))
    assert (_connection(hub)["state"], _connection(hub, "u")["state"]) == ("active", "retired")


@pytest.mark.parametrize("state", ["pending", "claimed", "sending", "ambiguous", "dead"])
def test_a_delivery_waits_for_a_person_when_its_connection_moves(hub: Hub, state: str) -> None:
    _apply(hub, _file("a"))
    _fill(hub)
    _sell(hub, "N-1")
    with hub.ctx.store.begin() as uow:
        row = uow.deliveries.page("acme", None, 10)[0]
        uow.deliveries.change_state("acme", row["id"], ["pending"], {"state": state, "probe": state == "ambiguous"})
        uow.attempts.end([{
            "tenant_id": "acme", "id": new_id(), "delivery_id": row["id"], "number": 1, "kind": "write", "worker": "w",
            "started_at": utc_now(), "ended_at": utc_now(), "outcome": "ambiguous", "code": "", "detail": "", "steps": [],
            "effects": 1, "external_id": None, "traceparent": "", "revision": 1, "document": "", "correction": None,
        }])  # fmt: skip

    _apply(hub, _file("a", url="https://b.test", connector="other"), "moved-connection:t")

    with hub.ctx.store.read() as uow:
        moved = uow.deliveries.page("acme", None, 10)[0]
    assert (moved["state"], moved["connector"], moved["probe"]) == ("dead", "other", False)
    assert moved["cause_code"] == ("" if state == "dead" else "connection_moved")
    assert state == "dead" or moved["fence"] > row["fence"]
    again = replay_delivery(hub.ctx, "acme", row["id"], "ops")
    assert (again["state"], again["probe"]) == ("pending", False), "the new system is not asked for what the old one had"


def test_many_dead_letters_are_not_looked_up_when_they_are_replayed_after_a_move(hub: Hub) -> None:
    _apply(hub, _file("a"))
    _fill(hub)
    _sell(hub, "N-1")
    _apply(hub, _file("a", url="https://b.test"), "moved-connection:t")

    count, _ = replay_many(hub.ctx, "acme", {"cause_code": "connection_moved"}, utc_now() + timedelta(days=1), 10, "ops", "")

    assert count == 1


def test_an_entity_forgets_what_a_connection_was_told_when_it_moves(hub: Hub) -> None:
    _apply(hub, _file("a"))
    now = utc_now()
    with hub.ctx.store.begin() as uow:
        uow.entities.lock("acme", "product/1", "product.v1", {"id": "1", "fields": {}, "said": {"t": {}, "u": {}}}, now)
        uow.aliases.put("acme", [{"entity": "product", "connection_id": "t", "key": "k", "canonical": "1", "rule": "person",
                                  "actor": "ops", "reason": ""}], now)  # fmt: skip

    _apply(hub, _file("a", url="https://b.test"), "moved-connection:t")

    with hub.ctx.store.read() as uow:
        row = uow.entities.get("acme", "product/1")
        assert row is not None
        assert row["state"]["said"] == {"u": {}}
        assert uow.aliases.of("acme", "product", "t") == {}


def _planned(hub: Hub, text: str) -> list[tuple[str, str]]:
    with hub.ctx.store.read() as uow:
        wanted = parse_integration(text, "f.yaml", hub.ctx.plugins)
        found = consequences(uow, "acme", examine(uow, hub.ctx.plugins, "acme", wanted, utc_now()))
    return [(item["accept"], item["message"]) for item in found]


def test_plan_names_a_move_and_its_waiting_deliveries_when_the_address_changes(hub: Hub) -> None:
    _apply(hub, _file("a"))
    _sell(hub, "N-1")

    assert [accept for accept, _ in _planned(hub, _file("a", "c"))] == ["same-target:t"]
    ((accept, message),) = _planned(hub, _file("a", url="https://b.test"))
    assert accept == "moved-connection:t"
    assert "1 waiting deliveries become dead letters" in message
    assert _planned(hub, _file("a")) == []


def test_plan_names_a_connection_that_stops_when_no_file_names_it_any_more(hub: Hub) -> None:
    _apply(hub, _file("a"))
    _sell(hub, "N-1")

    ((accept, message),) = _planned(hub, _file("a", connection="u"))

    assert accept == ""
    assert message.startswith("connection 't' is named by no file any more: it stops")
    assert "1 waiting deliveries wait" in message


def test_files_that_share_a_connection_move_it_one_after_the_other_when_each_step_is_accepted(hub: Hub) -> None:
    _apply(hub, _file("a"))
    _apply(hub, _file("b", name="two"), "same-target:t")
    moved = _file("a", url="https://b.test")

    with pytest.raises(HubError, match="shared-connection:t"):
        _apply(hub, moved, "moved-connection:t", "same-target:t")
    _apply(hub, moved, "moved-connection:t", "shared-connection:t", "same-target:t")
    _apply(hub, _file("b", name="two", url="https://b.test"), "same-target:t")

    assert _connection(hub)["base_url"] == "https://b.test"
