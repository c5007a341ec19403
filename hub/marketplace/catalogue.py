"""The catalogue: installed connectors and what each promises, quarantined ones with their reason."""

from typing import Any

from hub.errors import NotFoundError
from hub.runtime.isolation import IsolatedConnector
from hub.runtime.plugins import Plugins
from hub.sdk.connector import Connector
from hub.store import UnitOfWork


def catalogue(plugins: Plugins) -> list[dict[str, Any]]:
    """Every connector of this hub by name."""
    entries = [_entry(plugins, name, connector) for name, connector in plugins.connectors.items()]
    for name, reason in plugins.quarantined.items():
        entries.append({
            "connector": name, "name": name, "version": "", "kind": "", "summary": "", "distribution": "",
            "state": "quarantined", "reason": reason, "canonical": 0, "capabilities": [], "writes": [], "reads": [],
            "webhooks": False,
        })  # fmt: skip
    return sorted(entries, key=lambda entry: entry["connector"])


def page(uow: UnitOfWork, plugins: Plugins, tenant_id: str, name: str) -> dict[str, Any]:
    """All there is to know about one connector; raises NotFoundError. Incidents and outcomes are the tenant's own."""
    entry = next((item for item in catalogue(plugins) if item["connector"] == name), None)
    if entry is None:
        raise NotFoundError("connector", name)
    found = plugins.connectors.get(name)
    incidents = [{key: value for key, value in row.items() if key not in ("tenant_id", "connector")}
                 for row in uow.plugins.incidents(tenant_id, name)]  # fmt: skip
    return {
        "connector": entry, "isolated": found is not None and issubclass(found, IsolatedConnector),
        "incidents": incidents, "outcomes": uow.plugins.outcomes(name, tenant_id),
    }  # fmt: skip


def _entry(plugins: Plugins, name: str, connector: type[Connector]) -> dict[str, Any]:
    manifest = connector.manifest
    reads = sorted(key for key, item in manifest.objects.items() if item["read"])
    capabilities = [
        capability
        for capability, has in (
            ("receive", manifest.data["webhooks"] is not None),
            ("read", bool(reads)),
            ("fetch", any(item["fetch"] for item in manifest.objects.values())),
            ("write", bool(manifest.writes)),
            ("find", any(item["idempotency"] == "find" for item in manifest.writes.values())),
            ("check", manifest.data["check"] is not None),
        )
        if has
    ]
    writes = [
        {
            "type": type_name, "object": item["object"], "idempotency": item["idempotency"],
            "guarantee": manifest.guarantee(type_name), "max_in_flight_seconds": item["max_in_flight_seconds"],
        }
        for type_name, item in sorted(manifest.writes.items())
    ]  # fmt: skip
    return {
        "connector": name, "name": manifest.data["name"], "version": manifest.data["version"],
        "kind": manifest.data["kind"], "summary": manifest.data["summary"], "distribution": plugins.distributions[name],
        "state": "loaded", "reason": "", "canonical": manifest.data["canonical"], "capabilities": capabilities,
        "writes": writes, "reads": reads, "webhooks": manifest.data["webhooks"] is not None,
    }  # fmt: skip
