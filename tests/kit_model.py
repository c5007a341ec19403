"""A connector and a system made to be judged: one of every way to write, a read with paging, webhooks. Platinum as it is."""

import json
import re
from collections.abc import Mapping
from typing import Any

from canonical.examples import EXAMPLES
from hub.sdk import Change, Connector, Ignored, Request, Response, UntranslatableError, Written
from hub.sdk.kit import Subject, System
from hub.sdk.manifest import parse_manifest
from hub.sdk.testing import SimRequest, Simulator, answer, route

MANIFEST = """
connector: model
name: Model
version: 1.0.0
kind: other
summary: To be judged.
canonical: 1
environments: {production: {base_url: "https://api.model.test"}}
credentials: {token: {description: API token}, secret: {description: Webhook secret}}
auth: {headers: {Authorization: "Bearer {token}"}}
webhooks:
  signature: {header: x-signature, over: [body]}
  secret: secret
  event_id: id
describe:
  request: {path: /fields}
  records: fields
  object: "= record.on"
  name: "= record.name"
  custom: "= record.own"
errors:
  - {when: "status == `422`", then: rejected, code: refused, message: body.detail, remedy: Correct it and replay.}
  - {when: "status == `200` && type(body) != 'object' && effect", then: ambiguous, code: unreadable, message: "'no JSON object'"}
  - {when: "status == `200` && type(body) != 'object' && !effect", then: retry, code: unreadable, message: "'no JSON object'"}
objects:
  item:
    read:
      request: {path: /items, params: {since: "= since", page: "= page", limit: "= limit"}}
      records: items
      ref: id
      paging: {type: cursor, token: next, limit: 3}
      incremental: updated_at
    fetch: {path: "/items/{ref}"}
    map:
      type: product.v1
      source_id: "= join(':', ['item', record.id, record.updated_at])"
      data: {id: "= record.id", sku: "= record.code", name: "= record.title", active: "= !(record.deleted)", updated_at: "= record.updated_at"}
writes:
  sale.completed.v1: {object: sale, idempotency: native_key, max_in_flight_seconds: 5}
  stock.adjusted.v1: {object: move, idempotency: find, max_in_flight_seconds: 5}
  product.v1:
    object: product
    idempotency: upsert
    max_in_flight_seconds: 5
    request: {method: PUT, path: "/products/{document.id}", json: {name: "= document.name"}}
    external_id: id
check: {request: {path: /me}}
"""


class ModelSystem(Simulator):
    """What the connector talks to."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "tok-5f2e9a77"
        self.sales: dict[str, Any] = {}
        self.moves: list[dict[str, Any]] = []
        self.products: dict[str, Any] = {}
        self.items: list[dict[str, Any]] = []
        self.minute = 0
        for number in range(8):
            self.add(f"I-{number}", same=number % 3 != 0)

    def add(self, identity: str, same: bool = True) -> str:
        """An item that was changed now; ``same``: in the same instant as the one before."""
        self.minute += not same
        self.items = [item for item in self.items if item["id"] != identity]
        self.items.append({"id": identity, "code": f"C-{identity}", "title": f"Item {identity}", "deleted": False,
                           "updated_at": f"2026-11-21T10:{self.minute:02}:00Z"})  # fmt: skip
        return identity

    def remove(self, identity: str) -> str:
        self.add(identity, same=False)
        self.items[-1]["deleted"] = True
        return identity

    def authenticate(self, request: SimRequest) -> Response | None:
        return None if request.headers.get("authorization") == f"Bearer {self.token}" else answer(401, {"detail": "token"})

    @route("GET", "/me")
    def me(self, _: SimRequest) -> Response:
        return answer(200, {"name": "hub"})

    @route("GET", "/fields")
    def fields(self, _: SimRequest) -> Response:
        return answer(200, {"fields": [{"on": "sale", "name": "ref"}, {"on": "sale", "name": "x_store", "own": True}]})

    @route("POST", "/sales")
    def sale(self, request: SimRequest) -> Response:
        body = request.json()
        if any(line["sku"] == "SKU-9999" for line in body["lines"]):
            return answer(422, {"detail": "no such article SKU-9999"})
        self.sales.setdefault(body["ref"], body)
        return answer(200, {"id": f"sale/{body['ref']}"})

    @route("POST", "/moves")
    def move(self, request: SimRequest) -> Response:
        self.moves.append(request.json())
        return answer(200, {"id": f"move/{len(self.moves)}"})

    @route("GET", "/moves")
    def list_moves(self, request: SimRequest) -> Response:
        found = [{"id": f"move/{n}", **move} for n, move in enumerate(self.moves, 1) if move["ref"] == request.params["ref"]]
        return answer(200, {"items": found})

    @route("PUT", "/products/(?P<identity>.+)")
    def product(self, request: SimRequest, identity: str) -> Response:
        self.products[identity] = request.json()
        return answer(200, {"id": f"product/{identity}"})

    @route("GET", "/items")
    def list_items(self, request: SimRequest) -> Response:
        start = int(request.params.get("page") or 0)
        rows = sorted((i for i in self.items if i["updated_at"] >= request.params["since"]), key=lambda i: i["updated_at"])
        size = int(request.params["limit"])
        following = str(start + size) if start + size < len(rows) else None
        return answer(200, {"items": rows[start : start + size], "next": following})

    @route("GET", "/items/(?P<identity>.+)")
    def item(self, _: SimRequest, identity: str) -> Response:
        return answer(200, next(item for item in self.items if item["id"] == identity))


class Model(Connector):
    """The connector as it should be."""

    manifest = parse_manifest(MANIFEST, "model.yaml")

    def receive(self, webhook: Any) -> Any:
        event = webhook.json()
        if not isinstance(event, dict) or not isinstance(event.get("item"), str) or not event["item"]:
            raise UntranslatableError("the event names no item")
        if event.get("kind") != "changed":
            return [Ignored(f"{event.get('kind')} means nothing here")]
        return [Change("item", event["item"])]

    def to_canonical(self, object_name: str, record: Any) -> Any:
        names = ("id", "code", "title", "updated_at")
        if not isinstance(record, dict) or not all(isinstance(record.get(name), str) and record[name] for name in names):
            raise UntranslatableError("an item without id, code, title or time")
        return super().to_canonical(object_name, record)

    def sale(self, document: Any, key: str) -> Request:
        """What is sent for a sale."""
        lines = [{"sku": line["sku"], "quantity": line["quantity"]} for line in document["lines"]]
        own = document.get("extensions", {}).get("target", {})
        return Request("POST", "/sales", json={"ref": key, "total": document["total"]["amount"], "lines": lines, **own})

    def write_sale_completed(self, document: Any, key: str) -> Any:
        body = (yield self.sale(document, key)).json()
        return Written(_text(body, "id"))

    def find_stock_adjusted(self, document: Any, key: str) -> Any:
        body = (yield Request("GET", "/moves", params={"ref": key})).json()
        rows = body.get("items")
        if not isinstance(rows, list):
            raise UntranslatableError("the list of moves is none")
        return next((_text(row, "id") for row in rows), None)

    def write_stock_adjusted(self, document: Any, key: str) -> Any:
        body = (yield Request("POST", "/moves", json={"ref": key, "quantity": document["quantity"]})).json()
        return Written(_text(body, "id"))


def _text(row: Any, name: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not re.fullmatch(r"[a-z]+/.{1,200}", value):
        raise UntranslatableError(f"the answer has no {name}")
    return value


def system(target: type[ModelSystem] = ModelSystem, **changes: Any) -> System:
    """A fresh system."""
    simulator = target()
    found: dict[str, Any] = {
        "handle": simulator.handle, "headers": {"authorization": f"Bearer {simulator.token}"}, "settings": {},
        "applied": lambda: len(simulator.sales) + len(simulator.moves) + len(simulator.products),
        "secrets": [simulator.token],
        "webhooks": [json.dumps({"id": "e1", "kind": "changed", "item": "I-1"}).encode()],
        "changes": [Change("item", "I-1"), Change("item", "I-2", simulator.items[2])],
        "listed": {"item": lambda: {item["id"] for item in simulator.items}},
        "stored": lambda identity, name: simulator.sales[identity.removeprefix("sale/")].get(name),
        "touch": {"item": lambda: simulator.add("I-4")}, "delete": {"item": lambda: simulator.remove("I-3")},
    }  # fmt: skip
    return System(**{**found, **changes})


def subject(connector: type[Connector] = Model, **changes: Any) -> Subject:
    """A subject that is judged; ``changes`` of `Subject`'s fields."""
    sale = EXAMPLES["sale.completed.v1"]
    refused: Mapping[str, Any] = sale | {"lines": [line | {"sku": "SKU-9999"} for line in sale["lines"]]}
    documents = {name: [EXAMPLES[name]] for name in connector.manifest.writes}
    found = {"connector": connector, "system": system, "documents": documents, "refused": [("sale.completed.v1", refused)],
             "custom": {"sale.completed.v1": {"x_store": "HARBOUR"}}}  # fmt: skip
    return Subject(**{**found, **changes})


def declared(old: str, new: str) -> Any:
    """The manifest with something else in it."""
    assert old in MANIFEST
    return parse_manifest(MANIFEST.replace(old, new), "model.yaml")
