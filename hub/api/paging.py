"""Cursor paging: the cursor is the last row's key, opaque to callers."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from hub.errors import HubError


def after(cursor: str | None, parts: int = 1) -> list[Any] | None:
    """The key in a cursor; raises HubError `invalid_cursor`."""
    if cursor is None:
        return None
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor.encode() + b"=="))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list) or len(key) != parts or not all(isinstance(part, str | int) for part in key):
        raise HubError("invalid_cursor", errors=[{"code": "invalid_field", "field": "cursor", "message": "not ours"}])
    return key


def page(rows: Sequence[Any], limit: int, key: Callable[[Any], Sequence[Any]], show: Callable[[Any], Any]) -> dict[str, Any]:
    """A page of at most ``limit`` of ``rows`` (one more than that was asked for, to know whether there is a next page)."""
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        following = base64.urlsafe_b64encode(orjson.dumps(list(key(shown[-1])))).rstrip(b"=").decode()
    return {"items": [show(row) for row in shown], "next_cursor": following}


def after_id(cursor: str | None) -> str | None:
    """The id in a cursor of a list that is ordered by id."""
    key = after(cursor)
    if key is None:
        return None
    identity = key[0]
    if not isinstance(identity, str) or len(identity) != 36:
        raise HubError("invalid_cursor", errors=[{"code": "invalid_field", "field": "cursor", "message": "not ours"}])
    return identity
