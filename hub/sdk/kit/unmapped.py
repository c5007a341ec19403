"""A record beside what becomes of it: the canonical documents, what is wrong with them, and the fields that change nothing."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from canonical.errors import InvalidDocumentError
from canonical.registry import validate
from hub.sdk.connector import Connector
from hub.sdk.errors import ConnectorError
from hub.sdk.steps import Document, Ignored, Refused

JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Mapped:
    """``unmapped``: JSON pointers of the record's values without which the result is the same."""

    documents: list[Document | Ignored | Refused]
    problems: list[str]
    unmapped: list[str]


def mapped(connector: Connector, object_name: str, record: JSON) -> Mapped:
    """What a record becomes. Raises ConnectorError where it cannot become anything."""
    documents = list(connector.to_canonical(object_name, record))
    problems = []
    for document in documents:
        if isinstance(document, Document):
            try:
                validate(document.type, document.data)
            except InvalidDocumentError as error:
                problems += [f"{item.field or '/'}: {item.message}" for item in error.violations]
    told = _told(documents)
    unmapped = [pointer for pointer, without in _without_each(record) if _same(connector, object_name, without, told)]
    return Mapped(documents, problems, unmapped)


def _same(connector: Connector, object_name: str, record: JSON, told: str) -> bool:
    try:
        return _told(list(connector.to_canonical(object_name, record))) == told
    except (ConnectorError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False  # it could not do without


def _told(documents: list[Document | Ignored | Refused]) -> str:
    return json.dumps([vars_of(document) for document in documents], default=str, sort_keys=True)


def vars_of(document: Document | Ignored | Refused) -> dict[str, Any]:
    """A result as JSON shows it."""
    if isinstance(document, Ignored):
        return {"ignored": document.reason}
    if isinstance(document, Refused):
        return {"refused": document.code, "source_id": document.source_id, "message": document.message}
    return {"type": document.type, "source_id": document.source_id, "data": dict(document.data)}


def _without_each(record: JSON) -> Iterator[tuple[str, JSON]]:
    """The record without each of its values in turn; a list is one value."""
    for path in _leaves(record, ()):
        copy: Any = deepcopy(record)
        inner = copy
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]
        yield "/" + "/".join(path), copy


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif path:
        yield path
