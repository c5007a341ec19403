"""JSON as it should be: UTF-8, no key twice, no NaN, bounded nesting. Every refusal has its own code."""

import json
import re
from typing import Any

import orjson

from hub.errors import HubError

_NOT_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\[\]{}"]+', re.DOTALL)


def read(body: bytes, max_depth: int) -> Any:
    """The value. Raises HubError (`malformed_json`, `nesting_too_deep`, `number_not_finite`, `duplicate_key`)."""
    value = _plainly_fine(body, max_depth)
    return _checked(body, max_depth) if value is _UNSURE else value


def _checked(body: bytes, max_depth: int) -> Any:
    _check_depth(body, max_depth)
    value: Any = None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(body, error)
    try:
        json.loads(body, object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        entry = {"code": "duplicate_key", "field": f"/{error.key}", "message": "is given twice in one object"}
        raise HubError("duplicate_key", f"key {error.key!r} is given twice in one object", [entry]) from None
    return value


_UNSURE = object()


def _plainly_fine(body: bytes, max_depth: int) -> Any:
    """The value if ``body`` certainly is as it should be, else `_UNSURE`. (orjson itself gives up at a depth of 1,024.)"""
    if b"\\" in body and b"\\u" in body:  # for one byte alone is looked many times faster
        return _UNSURE
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _UNSURE
    # Written again, each pair that was kept has its colon, and strings have theirs: a key that came twice lacks one.
    again = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    if body.count(b":") != again.count(b":"):
        return _UNSURE
    # No line of it is indented that far (a line break in a string is written as \\n): nothing is nested deeper.
    return _UNSURE if b"\n" + b"  " * max_depth in again else value


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found


def _check_depth(body: bytes, max_depth: int) -> None:
    """Depth from the brackets outside strings: linear, before any parser recurses."""
    depth = 0
    for byte in _NOT_STRUCTURE.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > max_depth:
                raise HubError("nesting_too_deep", f"nested deeper than {max_depth} levels")
        elif byte in b"]}":
            depth -= 1


def _explain(body: bytes, error: orjson.JSONDecodeError) -> None:
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', body)
    if re.search(rb"\b(NaN|Infinity)\b", outside):
        raise HubError("number_not_finite", "NaN and Infinity are not JSON numbers") from None
    where = f"line {error.lineno} column {error.colno}"
    raise HubError("malformed_json", f"{error.msg} at {where}") from None
