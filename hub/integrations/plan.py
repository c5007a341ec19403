"""What applying a file would change of an integration: connections and flows, field by field."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from hub.integrations.files import Integration

_MOST = 50


def changes(before: Integration | None, after: Integration) -> list[dict[str, Any]]:
    """`kind` (connection, flow or integration), `name`, `change` (added, removed, changed), `fields` (those that differ)."""
    found = []
    for kind, old, new in (
        ("connection", dict(before.connections) if before else {}, dict(after.connections)),
        ("flow", _flows(before), _flows(after)),
        ("integration", {after.name: _whole(before)} if before else {}, {after.name: _whole(after)}),
    ):  # fmt: skip
        for name in dict.fromkeys([*old, *new]):
            if name not in new or name not in old:
                change, fields = ("added" if name in new else "removed"), []
            elif not (fields := list(differences(old[name], new[name]))):
                continue
            else:
                change = "changed"
            if kind != "integration" or change == "changed":
                found.append({"kind": kind, "name": name, "change": change, "fields": fields[:_MOST]})
    return found


def _whole(integration: Integration) -> dict[str, Any]:
    """What is the whole file's."""
    told = asdict(integration)
    return {name: told[name] for name in ("duplicates", "ownership", "identity", "sequences")}


def _flows(integration: Integration | None) -> dict[str, Any]:
    if integration is None:
        return {}
    flows = {}
    for flow in integration.flows:
        told = asdict(flow)
        told["targets"] = {target["connection_id"]: target for target in told["targets"]}
        flows[flow.name] = told
    return flows


def differences(old: Any, new: Any, at: str = "") -> Iterator[dict[str, Any]]:
    """Where two JSON values differ: `field` (a pointer), `now` and `then`, None where there is none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from differences(old.get(name), new.get(name), f"{at}/{name}")
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{at}/{index}")
    elif old != new:
        yield {"field": at or "/", "now": old, "then": new}
