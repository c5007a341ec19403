"""Where a read has been: a read that comes to the same page again never ends, and is stopped.

The trail is saved in the cursor between turns. It remembers one earlier page, and moves on to a later one after 1, 2, 4, 8 …
pages (Brent's algorithm): so a circle of any length is noticed in a few rounds of it.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from hub.sdk.errors import UNREADABLE, ConnectorError
from hub.sdk.steps import Page

#: The key of the trail in a saved cursor; connectors never see it.
KEY = "_trail"
#: What moves with the records and says nothing about the page that is asked for next.
_MOVING = ("high", "reached", KEY)
#: Bounds, and how far a read has come.
_TIMES = ("since", "before", "high", "reached")
#: What a read begins with; the rest of a cursor is a position within it.
_BOUNDS = ("since", "before")
#: So many pages without a record, one after the other, and each says that there is more.
_MOST_EMPTY = 1000


class StuckError(ConnectorError):
    """The vendor's answers lead back to a page that was read: the list has no end."""

    code = "read_does_not_end"


def position(cursor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cursor as its connector knows it."""
    return {name: value for name, value in cursor.items() if name != KEY}


def beginning(cursor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cursor at the beginning of the read: its bounds without a position."""
    return {name: cursor[name] for name in _BOUNDS if name in cursor}


def is_within(cursor: Mapping[str, Any]) -> bool:
    """Whether a cursor is a position within a read, for example a page token."""
    return position(cursor) != beginning(cursor)


def is_again(cursor: Mapping[str, Any]) -> bool:
    """Whether the read was begun again already, as a page token was refused."""
    return bool(cursor.get(KEY, {}).get("again"))


def begun_again(cursor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cursor that begins the read again, and remembers that it did."""
    return {**beginning(cursor), KEY: {"again": True}}


def followed(asked: Mapping[str, Any], page: Page, now: datetime) -> tuple[dict[str, Any], StuckError | None]:
    """Return the cursor to save after ``page``, which was asked by ``asked``; and the error, if the page leads to one that was
    read: the cursor is the read's beginning then.

    No bound is later than ``now``: what is changed until then would be passed by.
    """
    cursor = {name: _held_back(value, now) if name in _TIMES else value for name, value in position(page.cursor).items()}
    if not page.more:
        return cursor, None
    trail = {"mark": "", "steps": 0, "leap": 1, "empty": 0, "records": "", **asked.get(KEY, {})}
    if said := _circle(trail, asked, cursor, page):
        return beginning(cursor), StuckError(said)
    trail["empty"] = 0 if page.records else trail["empty"] + 1
    trail["records"] = _records(page) or trail["records"]
    trail["steps"] += 1
    if trail["steps"] >= trail["leap"]:
        trail |= {"mark": _digest(cursor), "steps": 0, "leap": trail["leap"] * 2}
    return {**cursor, KEY: trail}, None


def _circle(trail: Mapping[str, Any], asked: Mapping[str, Any], cursor: Mapping[str, Any], page: Page) -> str:
    """Why the read has no end; empty if it may have one."""
    if _digest(cursor) in (_digest(asked), trail["mark"]):
        return f"the next page is one that was read already ({_shown(cursor)})"
    if len(page.records) > 1 and _records(page) == trail["records"]:
        return f"two pages list the same {len(page.records)} records: the system does not heed what a page is asked by"
    if not page.records and trail["empty"] + 1 >= _MOST_EMPTY:
        return f"{_MOST_EMPTY} pages without a record, and each says that there is more"
    return ""


def _records(page: Page) -> str:
    return _digest({"records": list(page.records)}) if page.records else ""


def _held_back(value: Any, now: datetime) -> Any:
    """A time that is later than ``now`` as ``now``, in its own notation; by name where there are several."""
    if isinstance(value, Mapping):
        return {name: _held_back(item, now) for name, item in value.items()}
    try:
        when = datetime.fromisoformat(value)
        if value.isdigit() or when.replace(tzinfo=when.tzinfo or UTC) <= now:
            return value
    except UNREADABLE:
        return value
    if len(value) == len("2026-11-21"):
        return now.date().isoformat()
    text = now.astimezone(when.tzinfo or UTC).isoformat(timespec="milliseconds" if "." in value else "seconds")
    return text[:-6] if when.tzinfo is None else text.replace("+00:00", "Z") if value.endswith("Z") else text


def _digest(value: Mapping[str, Any]) -> str:
    kept = {name: item for name, item in value.items() if name not in _MOVING}
    return hashlib.sha256(orjson.dumps(ascii(sorted(kept.items())))).hexdigest()[:16]


def _shown(cursor: Mapping[str, Any]) -> str:
    place = {name: value for name, value in cursor.items() if name not in (*_BOUNDS, *_MOVING)}
    return ascii(place)[:100]
