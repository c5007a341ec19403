"""The versions of the REST API, side by side: `/v1`, `/v2`. Handlers speak the newest; each change leads to the older one.

A change says which answers it concerns, how an answer goes down to the version before it and up again
(``down(up(x)) == x``), and how the document of the older version becomes that of the newer. `openapi/hub.yaml` is the first
version, kept by hand; `openapi/hub.v2.yaml` is derived from it by these changes. Practice: Stripe's version-change modules.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Json = Any
OLDEST, NEWEST = 1, 2
_METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True)
class VersionChange:
    """One difference between a version and the one before it.

    Attributes:
        version: the first version that has it.
        title: one line for the changelog.
        places: operation → where in its answer the changed objects are (``items[]``, ``messages[].deliveries[]``, "" itself).
        down, up: an object of the newer version as the older one shows it, and back; neither changes its argument.
        edit: changes the older document (its ``components/schemas``) into the newer.
    """

    version: int
    title: str
    places: Mapping[str, str]
    down: Callable[[dict[str, Json]], dict[str, Json]]
    up: Callable[[dict[str, Json]], dict[str, Json]]
    edit: Callable[[dict[str, Json]], None]


_FAILURE = {"code": "cause_code", "cause": "cause", "remedy": "remedy"}


def _flat(delivery: dict[str, Json]) -> dict[str, Json]:
    failure = delivery["failure"] or dict.fromkeys(_FAILURE, "")
    rest = {key: value for key, value in delivery.items() if key != "failure"}
    return rest | {old: failure[new] for new, old in _FAILURE.items()}


def _nested(delivery: dict[str, Json]) -> dict[str, Json]:
    failure = {new: delivery[old] for new, old in _FAILURE.items()}
    rest = {key: value for key, value in delivery.items() if key not in _FAILURE.values()}
    return rest | {"failure": failure if any(failure.values()) else None}


def _edit_delivery(schemas: dict[str, Json]) -> None:
    delivery = schemas["Delivery"]
    properties = {key: value for key, value in delivery["properties"].items() if key not in _FAILURE.values()}
    properties["failure"] = {
        "type": "object", "nullable": True, "required": list(_FAILURE), "additionalProperties": False,
        "description": "What went wrong last and what to do about it; null if nothing did.",
        "properties": {
            "code": {"type": "string", "description": "Stable; the remedies are listed under it."},
            "cause": {"type": "string", "description": "What happened."},
            "remedy": {"type": "string", "description": "What to do."},
        },
    }  # fmt: skip
    delivery["properties"] = properties
    delivery["required"] = sorted({*delivery["required"], "failure"} - set(_FAILURE.values()))


def _with_flag(accepted: dict[str, Json]) -> dict[str, Json]:
    return accepted if "problem" in accepted else accepted | {"duplicate": accepted["status"] == "duplicate"}


def _without_flag(accepted: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in accepted.items() if key != "duplicate"}


def _edit_accepted(schemas: dict[str, Json]) -> None:
    accepted = schemas["Accepted"]
    del accepted["properties"]["duplicate"]
    accepted["required"].remove("duplicate")
    accepted["properties"]["status"] = {
        "type": "string",
        "enum": ["accepted", "duplicate"],
        "description": "New, or not.",
    }


def _edit_reason(schemas: dict[str, Json]) -> None:
    schemas["Reason"] |= {"required": ["reason"]}
    schemas["Reason"]["properties"]["reason"] |= {"minLength": 1}


def _same(value: dict[str, Json]) -> dict[str, Json]:
    return value


CHANGES = (
    VersionChange(
        2, "a delivery's cause_code, cause and remedy are one object, `failure`, and null when nothing went wrong",
        {"deliveries.list_deliveries": "items[]", "deliveries.get_delivery": "", "dead_letters.list_dead_letters": "items[]",
         "dead_letters.replay": "", "dead_letters.discard": "", "dead_letters.correct": "",
         "messages.get_message": "deliveries[]", "lineage.get_lineage": "messages[].deliveries[]"},
        _flat, _nested, _edit_delivery,
    ),
    VersionChange(
        2, "an accepted event says `status` only; `duplicate` said the same again",
        {"events.publish": "", "events.publish_batch": "results[]"}, _with_flag, _without_flag, _edit_accepted,
    ),
    VersionChange(2, "a reason that is given is not empty", {}, _same, _same, _edit_reason),
)  # fmt: skip


def version_of(operation_id: str) -> tuple[int, str]:
    """An operation's API version and the handler behind it: ``v2.hub.api.events.publish`` → (2, hub.api.events.publish)."""
    match = re.match(r"v(\d+)\.(.+)", operation_id)
    return (int(match[1]), match[2]) if match else (OLDEST, operation_id)


def downgrade(operation: str, answer: Json, version: int) -> Json:
    """A handler's answer (newest) as a version shows it. ``operation``: its short name, without the version."""
    for change in reversed(CHANGES):
        if change.version > version and operation in change.places:
            answer = _at(answer, change.places[operation], change.down)
    return answer


def upgrade(operation: str, answer: Json, version: int) -> Json:
    """A version's answer as the newest shows it."""
    for change in CHANGES:
        if change.version > version and operation in change.places:
            answer = _at(answer, change.places[operation], change.up)
    return answer


def _at(value: Json, place: str, change: Callable[[dict[str, Json]], dict[str, Json]]) -> Json:
    if not place:
        return change(value)
    name, _, rest = place.partition("[]")
    return value | {name: [_at(item, rest.removeprefix("."), change) for item in value[name]]}


def derived(first: Mapping[str, Json], version: int) -> dict[str, Json]:
    """``paths`` and ``components`` of a version's document, from the first version's (`openapi/hub.yaml`)."""
    newer = deepcopy(dict(first["components"]["schemas"]))
    for change in CHANGES:
        if change.version <= version:
            change.edit(newer)
    changed = {name for name, schema in newer.items() if schema != first["components"]["schemas"][name]}
    while more := {name for name, schema in newer.items() if _names(schema) & changed} - changed:
        changed |= more
    suffix = f"V{version}"
    paths = {}
    for path, item in first["paths"].items():
        if path.startswith("/v1/"):
            paths[path.replace("/v1/", f"/v{version}/", 1)] = {
                method: _operation(operation, version, changed, suffix) for method, operation in item.items()
            }
    schemas = {f"{name}{suffix}": _renamed(newer[name], changed, suffix) for name in sorted(changed)}
    return {"paths": paths, "components": {"schemas": schemas}}


def _operation(operation: Mapping[str, Json], version: int, changed: set[str], suffix: str) -> dict[str, Json]:
    found: dict[str, Json] = _renamed(operation, changed, suffix)
    found["operationId"] = f"v{version}.{operation['operationId']}"
    short = operation["operationId"].removeprefix("hub.api.")
    for status, response in found["responses"].items():
        media = response.get("content", {}).get("application/json", {})
        if status < "300" and "example" in media:
            media["example"] = upgrade(short, media["example"], OLDEST)
    return found


def _names(schema: Json) -> set[str]:
    return set(re.findall(r"'#/components/schemas/(\w+)'", repr(schema)))


def _renamed(value: Json, changed: set[str], suffix: str) -> Json:
    if isinstance(value, Mapping):
        return {key: _renamed(item, changed, suffix) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, changed, suffix) for item in value]
    if isinstance(value, str) and (match := re.fullmatch(r"#/components/schemas/(\w+)", value)) and match[1] in changed:
        return f"{value}{suffix}"
    return value
