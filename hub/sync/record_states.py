"""The state of a record that was read: its body as it is stored, its digest, and why nobody can read it.

A record that cannot be held as JSON (a number of a million digits, NaN, arrays that nest too deep) is stored as closely as
it can be, and waits in quarantine alone; its siblings go on.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hub.runtime.session import Session
from hub.sdk.errors import UNREADABLE, ConnectorError, Unreadable
from hub.store.records import known_as

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordState:
    """How a record looks. ``unreadable``: why it waits in quarantine; empty if it can be translated."""

    digest: str
    body: bytes
    unreadable: str = ""


#: By reference.
States = dict[str, RecordState]


def states_of(session: Session, name: str, records: Sequence[Any]) -> States:
    """Return the states of a page's records by their ids; of one record, the last state counts."""
    found = {}
    for item in records:
        state = state_of(item)
        found[_ref(session, name, item) or f"?{state.digest}"] = state
    return found


def state_of(record: Any) -> RecordState:
    """Return the state of one record. It never raises: what cannot be written as JSON is kept as Python writes it."""
    wrong: list[str] = []

    def default(value: Any) -> Any:
        if isinstance(value, Unreadable):
            wrong.append(f"{value[:_MOST_SHOWN]!r} is no value that can be held")
            return str.__str__(value)
        if isinstance(value, int):  # a larger one than orjson writes is of a subclass or does not come here
            return int(value)
        for kind in (float, str):
            if isinstance(value, kind):
                return kind(value)
        if isinstance(value, Mapping):
            return dict(value)
        return list(value) if isinstance(value, list | tuple) else str(value)

    try:
        body = orjson.dumps(record, default=default, option=_OPTIONS)
    except UNREADABLE:
        wrong.clear()
        if large := _large_integer(record):
            wrong.append(f"the number {large[:_MOST_SHOWN]} has more than 64 bits")
        body = _escaped(record, default, wrong)
    return RecordState(digest=hashlib.sha256(body).hexdigest(), body=body, unreadable="; ".join(dict.fromkeys(wrong))[:500])


def _escaped(record: Any, default: Any, wrong: list[str]) -> bytes:
    """The record in ASCII: half of a surrogate pair is written as its escape, which every store holds."""
    try:
        wrong += [
            f"{value[:_MOST_SHOWN]!r} is no value that can be held" for value in _leaves(record) if type(value) is Unreadable
        ]
        return json.dumps(record, default=default, sort_keys=True, separators=(",", ":")).encode()
    except UNREADABLE as error:
        wrong.append(f"{type(error).__name__}: {str(error)[:200]}")
        return json.dumps({"unreadable": ascii(record)[:100_000]}).encode()


def _large_integer(record: Any) -> str:
    found = (value for value in _leaves(record) if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST)
    return next((str(value) for value in found), "")


def _leaves(value: Any) -> Any:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item
        else:
            yield item


def _ref(session: Session, name: str, record: Any) -> str:
    """A record's id; '' for one that has none: it is told apart by its content, and quarantined when it is translated."""
    try:
        return known_as(session.connector.change_of(name, record).ref)
    except (ConnectorError, *UNREADABLE):
        return ""
