"""Which fields clients send: names only, from a sample of their bodies. What a change of one field meets is known from this.

A field is written as in a change's place: ``lines[].sku``. Values are never looked at; names that callers make up
(`extensions`) are not kept.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from hub.contracts.schema_diff import component
from hub.contracts.schema_view import Document, Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
#: Not looked into: names that callers make up, and a canonical document within an envelope (it is noted under its type).
_FREE = frozenset({"extensions", "data", "events", "connectors"})
#: Of one body.
MOST = 200
_LONGEST = 255


class Sample:
    """Every ``every``-th request of each (tenant, client, operation) of this process, and the first; 0: none."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._seen: defaultdict[tuple[str, str, str], int] = defaultdict(int)

    def takes(self, tenant_id: str, client: str, operation: str) -> bool:
        """Whether this one is looked at."""
        if not self._every:
            return False
        key = (tenant_id, client, operation)
        self._seen[key] += 1
        return self._seen[key] % self._every == 1 or self._every == 1


def fields(value: Any) -> list[str]:
    """The names of all fields in a JSON value."""
    found: dict[str, None] = {}
    for name in _walk(value, ""):
        found[name] = None
        if len(found) >= MOST:
            break
    return list(found)


def _walk(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str) and _NAME.fullmatch(key):
                name = f"{place}.{key}" if place else key
                if len(name) <= _LONGEST:
                    yield name
                    if not (key in _FREE and isinstance(item, Mapping)):
                        yield from _walk(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, f"{place}[]")


def place_of(document: Document, schema: Node, root: str, field: str) -> str:
    """A sampled field as a change of the document would name its place; '' if the document does not know the field."""
    node, place = schema, component(schema) or root
    for step in re.findall(r"\[\]|[^.\[\]]+", field):
        view = document.view(document.follow(node))
        child = view.items if step == "[]" else view.properties.get(step)
        if child is None:
            return ""
        node = child
        last = place + (step if step == "[]" else f".{step}")
        place = component(node) or last
    return last
