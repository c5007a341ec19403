"""0 drift: every operation's example, of both versions, and every type's, replayed against a running hub where its things exist."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support import INTEGRATION, Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.contracts.api_versions import version_of
from hub.contracts.document import document, operations, short_name
from hub.identity.api_keys import GOVERNANCE_SCOPES, TENANT_SCOPES, create_key
from hub.sdk.errors import PermanentError
from hub.store import new_id

OPERATIONS = {name: operation for name, operation in operations().items() if "x-served-by" not in operation}
#: What an answer holds freely: whatever the connector, the document or the person put there.
FREE = frozenset({"steps", "detail", "settings", "limits", "document", "openapi", "events", "connectors", "schema", "example", "headers",
                  "findings", "callers", "verdicts", "obstacles", "touches", "changes", "errors", "run", "links", "record", "documents", "targets", "raw", "fields", "systems", "wanted", "kept"})  # fmt: skip


class World:
    """A hub in which everything that an operation can be about can be made anew."""

    def __init__(self, shop: Shop, web: Web) -> None:
        self.shop, self.web, self._number = shop, web, 0
        shop.hub.poller.go_on = lambda row: {}  # type: ignore[method-assign] # a backfill stays where it is
        shop.stock_item("SKU-0001")
        shop.stock_item("SKU-0002")
        with shop.hub.ctx.store.begin() as uow:
            self.other = create_key(uow, "acme", "grace", GOVERNANCE_SCOPES, utc_now())

    def _id(self) -> str:
        self._number += 1
        return f"E-{self._number}"

    def _post(self, path: str, body: Any, key: str = "") -> Any:
        status, answer, _ = self.web.call("POST", path, body, {"Authorization": f"Bearer {key}"} if key else None)
        assert status < 300, answer
        return answer

    def sale(self, sku: str = "SKU-0001") -> dict[str, Any]:
        """A sale of the shop's items, or of one that nobody knows."""
        lines = [line | {"sku": sku} if sku != "SKU-0001" else line for line in EXAMPLES["sale.completed.v1"]["lines"]]
        identity = self._id()
        return envelope(EXAMPLES["sale.completed.v1"] | {"id": identity, "number": identity, "lines": lines})

    def message(self) -> str:
        return str(self._post("/v1/events", self.sale())["message_id"])

    def suspect(self) -> str:
        """The same sale from a till that gave it another id."""
        first = self.sale()
        self._post("/v1/events", first)
        again = first | {"id": self._id()}
        again["data"] = again["data"] | {"id": again["id"]}
        answer = self._post("/v1/events", again)
        assert answer["suspect_of"], "the hub holds what looks like the same sale"
        return str(answer["message_id"])

    def dead_letter(self) -> str:
        message = self._post("/v1/events", self.sale("SKU-NOBODY"))["message_id"]
        rows: list[Any] = []

        def dead() -> bool:
            rows[:] = [row for row in self.shop.deliveries(message_id=message) if row["state"] == "dead"]
            return bool(rows)

        self.shop.until(dead)
        return str(rows[0]["id"])

    def quarantined(self) -> str:
        body, headers = self.shop.square.signed(
            b'{"event_id": "%s", "ty' % self._id().encode(), "http://hub.test/webhooks/acme/pos"
        )
        identity = self.web.call("POST", "/webhooks/acme/pos", raw=body, headers=headers)[1]["id"]
        self.shop.until(lambda: any(row["id"] == identity for row in self.shop.raws(state="quarantined")))
        return str(identity)

    def proposal(self) -> Any:
        contract = json.loads(json.dumps(document(), default=str))
        contract["paths"]["/v1/links"]["get"]["parameters"].append(
            {
                "name": "kind",
                "in": "query",
                "required": True,
                "description": "Of what.",
                "schema": {"type": "string", "maxLength": 9},
            }
        )
        return self._post(
            "/v1/contracts/proposals",
            {"version": self._next(), "reason": "example", "openapi": json.dumps(contract)},
            self.other,
        )

    def _next(self) -> str:
        newest = self.web.call("GET", "/v1/contracts/releases")[1]["items"][0]["version"].split(".")
        return f"0.{int(newest[1]) + 1}.0"

    def conflict(self) -> str:
        """An open one about an entity of which one field is known."""
        subject, now, identity = "product/SKU-0001", utc_now(), new_id()
        held = {"name": {"value": "Coffee", "origin": "erp", "at": now.isoformat()}}
        state = {"id": "1", "fields": held, "said": {"erp": {"at": now.isoformat(), "fields": {"name": "Coffee"}}}}
        with self.shop.hub.ctx.store.begin() as uow:
            uow.entities.lock("acme", subject, "product.v2", state, now)
            uow.conflicts.add([{
                "tenant_id": "acme", "id": identity, "subject": subject, "field": "name", "origin": "stock", "wanted": "Kaffee",
                "kept": "Coffee", "why": "a person decides", "state": "open", "message_id": new_id(), "at": now,
                "resolution": "", "actor": "", "reason": "", "resolved_at": None,
            }])  # fmt: skip
        return identity

    def integration(self, short: str) -> str:
        """One that is in force, and a shadow beside it where it is about one."""
        operation = next(item for name, item in OPERATIONS.items() if short_name(version_of(name)[1]) == "integrations.apply")
        body = operation["requestBody"]["content"]["application/json"]["example"]
        self._post("/v1/integrations", body)
        if short in ("integrations.get_shadow", "integrations.end_shadow", "integrations.cut_over"):
            again = {**body, "source": body["source"] + "# again\n"}
            self.web.call("PUT", "/v1/integrations/counts/shadow", again)
        return "counts"

    def gap(self) -> str:
        """A receipt that is missing."""
        now, identity = utc_now(), new_id()
        with self.shop.hub.ctx.store.begin() as uow:
            uow.gaps.add([{
                "tenant_id": "acme", "id": identity, "sequence": "stores/receipts", "connection_id": "pos", "state": "open",
                "series": "HARBOUR-ST 1", "number": identity[-8:], "noticed_at": now, "due_at": now, "ended_at": None, "actor": "",
                "reason": "",
            }])  # fmt: skip
        return identity

    def matched(self) -> str:
        """A kind of records that two systems are compared by; the digest of what linking would do."""
        declared = yaml.safe_load(INTEGRATION.format(**{name: server.url for name, server in self.shop.servers.items()}))
        connections = {name: declared["connections"][name] for name in ("pos", "stock")}
        source = json.dumps({
            "integration": "who", "connections": connections, "flows": [{"name": "learn", "on": "product.v1", "from": "pos"}],
            "identity": {"product": {"systems": ["pos", "stock"], "match": ["gtin"]}},
        })  # fmt: skip
        self._post("/v1/integrations", {"source": source, "name": "who.yaml"})
        return str(self.web.call("GET", "/v1/links/product/plan?system=stock")[1]["digest"])

    def agreed(self) -> str:
        """One whose only change is compatible."""
        body = {"version": self._next(), "reason": "example", "openapi": json.dumps(document(), default=str)}
        return str(self._post("/v1/contracts/proposals", body)["id"])

    def call(self, name: str, operation: dict[str, Any]) -> tuple[int, Any]:
        """An operation's example, with things of this world for the example's."""
        _, handler = version_of(name)
        short = short_name(handler)
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        path, identity = operation["path"], ""
        if short in ("events.publish", "events.publish_batch", "integrations.apply", "proposals.propose"):
            body = self._fresh(short, body)
        elif short in ("messages.release", "messages.drop"):
            identity = self.suspect()
        elif short.startswith("messages."):
            identity = self.message()
        elif short.startswith(("dead_letters.", "deliveries.")) and "{id}" in path:
            identity = self.dead_letter()
            if short == "dead_letters.correct":
                body = body | {"document": self.sale()["data"]}
                row = next(row for row in self.shop.deliveries() if row["id"] == identity)
                body["document"] |= {"id": row["subject"].partition("/")[2], "number": row["subject"].partition("/")[2]}
        elif short.startswith("quarantine.") and "{id}" in path:
            identity = self.quarantined()
            if short == "quarantine.replay":
                whole = b'{"event_id": "x", "type": "location.created", "data": {"object": {}}}'
                body = body | {"body_base64": base64.b64encode(whole).decode()}
        elif short == "proposals.release":
            identity = self.agreed()
        elif short.startswith("proposals.") and "{id}" in path:
            proposal = self.proposal()
            identity = proposal["id"]
            if short == "proposals.decide":
                body = body | {"fingerprints": [c["fingerprint"] for c in proposal["changes"] if c["severity"] == "ERR"]}
        elif short.startswith("conflicts."):
            identity = self.conflict()
        elif short == "sync.accept_gap":
            identity = self.gap()
        elif short.startswith("sync.") and "{id}" in path:
            run = self._post(
                "/v1/backfills", {"connection_id": "pos", "object": "inventory_change", "since": "2026-01-01T00:00:00Z"}
            )
            identity = str(run["id"])
            if short == "sync.resume_run":
                self._post(f"/v1/runs/{identity}/pause", {})
        if "{entity}" in path:
            digest = self.matched()
            body = {**body, "system": "stock", "digest": digest} if short == "links.link" else body
            if short == "links.split":
                self._post("/v1/links/product/merge", {"key": body["key"], "canonical": "SKU-0002"})
        if short == "connections.put_credentials":
            body = {"token": self.shop.inventree.token}
        path = (
            path.replace("{id}", identity)
            .replace(
                "{connection_id}",
                {
                    "connections.list_fields": "erp",
                    "sync.read_now": "pos",
                    "sync.set_cursor": "pos",
                    "integrations.preview": "pos",
                }.get(short, "stock"),
            )
            .replace("{entity}", "product")
            .replace("{object}", "inventory_change")
            .replace("{version}", "0.1.0")
            .replace("{connector}", "tryton")
            .replace("{integration}", self.integration(short) if "{integration}" in path else "")
        )
        if short == "links.plan_links":
            path += "?system=stock"
        if short == "conflicts.get_entity":
            path += "?subject=product/SKU-0001"
        if short == "lineage.get_lineage":
            path += f"?of={self.message()}"
        status, answer, _ = self.web.call(operation["method"].upper(), path, body)
        return status, answer

    def _fresh(self, short: str, body: Any) -> Any:
        if short == "events.publish":
            return body | {"id": self._id()}
        if short == "events.publish_batch":
            return {"events": [event | {"id": self._id()} if isinstance(event, dict) else event for event in body["events"]]}
        if short == "proposals.propose":
            return body | {"version": self._next()}
        return body


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    shop = Shop(tmp_path_factory.mktemp("examples")).start()

    class Another(shop.hub.ctx.plugins.connectors["inventree"]):  # type: ignore[misc]
        """A version beside the one in use."""

        def write(self, *_: Any) -> Any:
            raise PermanentError("not there yet")

    shop.hub.ctx.plugins.other = lambda name, tenant: Another  # type: ignore[method-assign]
    yield World(shop, shop.serve())
    shop.close()


def _differences(example: Any, answer: Any, place: str = "") -> list[str]:
    """Where an answer is of another shape than its example: fields one of them lacks, other JSON types."""
    if isinstance(example, dict) and isinstance(answer, dict):
        found = [f"{place}.{name}: only in {where}" for mine, theirs, where in ((example, answer, "the example"), (answer, example, "the answer"))
                 for name in mine if name not in theirs]  # fmt: skip
        return found + [line for name in example if name in answer and name not in FREE
                        for line in _differences(example[name], answer[name], f"{place}.{name}")]  # fmt: skip
    if isinstance(example, list) and isinstance(answer, list):
        return [line for a, b in zip(example[:1], answer[:1], strict=False) for line in _differences(a, b, f"{place}[]")]
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "array"}
    a, b = kinds.get(type(example)), kinds.get(type(answer))
    return [] if a is None or b is None or a == b else [f"{place}: {a} in the example, {b} in the answer"]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operations_example_is_what_a_running_hub_takes_and_answers(world: World, name: str) -> None:
    operation = OPERATIONS[name]
    (success,) = [status for status in operation["responses"] if status < "300"]
    example = operation["responses"][success]["content"]["application/json"]["example"]

    status, answer = world.call(name, operation)

    assert str(status) == success, answer
    assert _differences(example, answer) == []


@pytest.mark.parametrize("type_name", sorted(EXAMPLES))
def test_a_types_example_is_taken_and_read_back_unchanged(world: World, type_name: str) -> None:
    for version in ("v1", "v2"):
        tenant = f"{version}-{type_name}".replace(".", "-")  # of its own: the examples are about the same sale
        with world.shop.hub.ctx.store.begin() as uow:
            uow.tenants.add(tenant, tenant, utc_now())
            key = {"Authorization": f"Bearer {create_key(uow, tenant, 'ops', TENANT_SCOPES, utc_now())}"}
        status, answer, _ = world.web.call("POST", f"/{version}/events", envelope(EXAMPLES[type_name], type_name), key)
        assert status == 202, answer
        read = world.web.call("GET", f"/{version}/messages/{answer['message_id']}", headers=key)[1]
        assert read["document"] == EXAMPLES[type_name]
        assert read["message"]["type"] == type_name


def test_what_differs_is_seen() -> None:
    assert _differences({"a": 1, "b": [{"c": "x"}]}, {"a": "1", "b": [{"d": "x"}]}) == [
        ".a: number in the example, string in the answer", ".b[].c: only in the example", ".b[].d: only in the answer",
    ]  # fmt: skip
