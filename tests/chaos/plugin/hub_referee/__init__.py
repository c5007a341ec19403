"""Connectors for the chaos suite's fake ERP: one that must be searched, one that dedupes, one that takes many at once."""

from typing import Any

from hub.sdk import hookimpl
from hub.sdk.connector import Connector
from hub.sdk.errors import RejectedByTargetError
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Request, Written

MANIFEST = """
connector: {name}
name: {name}
version: 1.0.0
kind: erp
summary: The chaos suite's fake ERP.
canonical: 1
self_hosted: true
limits: {{concurrency: 8, timeout_seconds: 1.0, breaker_failures: 8, breaker_seconds: 2}}
writes:
  product.v1: {{object: product, idempotency: {idempotency}, max_in_flight_seconds: 2, batch: {batch}}}
"""


class Searched(Connector):
    """No idempotency at the target: the hub looks, then writes."""

    manifest = parse_manifest(MANIFEST.format(name="referee_find", idempotency="find", batch=1), "referee_find")

    def write_product(self, document: Any, key: str) -> Any:
        answer = yield Request("POST", "/find/documents", json={"key": key, "document": document})
        return Written(answer.json()["id"])

    def find_product(self, document: Any, key: str) -> Any:
        answer = yield Request("GET", "/find/documents", params={"key": key})
        found = answer.json()["items"]
        return found[0]["id"] if found else None


class Deduping(Connector):
    """The target dedupes by our key. A document can be poison: it breaks this connector, or its target refuses it."""

    manifest = parse_manifest(MANIFEST.format(name="referee_native", idempotency="native_key", batch=1), "referee_native")

    def write_product(self, document: Any, key: str) -> Any:
        if document["name"] == "poison: breaks the connector":
            raise KeyError(document["name"])
        answer = yield Request("POST", "/native/documents", json={"key": key, "document": document})
        return Written(answer.json()["id"])


class Bulk(Connector):
    """Takes many at once, each accepted or refused on its own; dedupes by our key."""

    manifest = parse_manifest(MANIFEST.format(name="referee_bulk", idempotency="native_key", batch=20), "referee_bulk")

    def write_product(self, document: Any, key: str) -> Any:
        (result,) = yield from self.write_many_product([(document, key)])
        if isinstance(result, RejectedByTargetError):
            raise result
        return result

    def write_many_product(self, items: Any) -> Any:
        body = [{"key": key, "document": document} for document, key in items]
        answer = yield Request("POST", "/bulk/documents", json={"items": body})
        return [
            Written(row["id"]) if row["ok"] else RejectedByTargetError(row["error"], code="refused", remedy="correct it")
            for row in answer.json()["results"]
        ]


@hookimpl
def hub_connectors() -> list[type[Connector]]:
    return [Searched, Deduping, Bulk]
