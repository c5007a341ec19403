"""JSON as vendors write it: one value that cannot be held does not make the rest unreadable.

Such a value (a number that is none, or has more digits than any number, or arrays that nest too deep) becomes its own text,
an `Unreadable`. Whoever keeps the record around it sees that and sets the record aside.
"""

import json
import re
from decimal import Decimal
from typing import Any

from hub.sdk.errors import UNREADABLE, Unreadable

#: A number with more digits before or after its point than this is no amount, quantity or time of any vendor's.
_MOST_DIGITS = 400
#: Arrays and objects that nest deeper than this are kept as text, where the whole is too deep for the parser.
_MOST_DEPTH = 100
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_CUT = "\x00crossdock-cut"


class UnreadableJSONError(ValueError):
    """A text that is no JSON for a reason that the parser does not tell by `json.JSONDecodeError`."""


def parse_json(content: bytes) -> Any:
    """Parse ``content``; numbers with a fraction are Decimals, what cannot be held is `Unreadable`. Raises ValueError."""
    try:
        return json.loads(content, parse_float=_number, parse_constant=Unreadable)
    except RecursionError:
        return _shallow(content)
    except json.JSONDecodeError:
        raise
    except UNREADABLE as error:
        try:  # an integer of thousands of digits
            return json.loads(content, parse_float=_number, parse_int=_integer, parse_constant=Unreadable)
        except RecursionError:
            return _shallow(content)
        except UNREADABLE:
            raise UnreadableJSONError(f"not JSON: {error}") from error


def _number(text: str) -> Decimal | Unreadable:
    try:
        found = Decimal(text)
    except UNREADABLE:
        return Unreadable(text)
    return found if abs(found.adjusted()) <= _MOST_DIGITS or not found else Unreadable(text)


def _integer(text: str) -> int | Unreadable:
    return int(text) if len(text) <= _MOST_DIGITS else Unreadable(text)


def _shallow(content: bytes) -> Any:
    """Parse what nests too deep: below a depth, values are kept as text."""
    kept: list[str] = []

    def restored(found: dict[str, Any]) -> Any:
        return Unreadable(kept[found[_CUT]]) if isinstance(found.get(_CUT), int) and found[_CUT] < len(kept) else found

    try:
        text = b"".join(_pieces(content, kept))
        return json.loads(
            text, parse_float=_number, parse_int=_integer, parse_constant=Unreadable, object_hook=restored
        )  # fmt: skip
    except UNREADABLE as error:
        raise UnreadableJSONError(f"not JSON: {type(error).__name__}, nested deeper than {_MOST_DEPTH} levels") from error


def _pieces(content: bytes, kept: list[str]) -> Any:
    """``content`` with what is below the depth replaced by a reference into ``kept``."""
    depth = begin = done = 0
    for token in _TOKENS.finditer(content):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == _MOST_DEPTH:
                begin = token.start()
                yield content[done:begin]
        elif mark in (b"]", b"}"):
            if depth == _MOST_DEPTH:
                done = token.end()
                kept.append(content[begin:done].decode("utf-8", "replace"))
                yield json.dumps({_CUT: len(kept) - 1}).encode()
            depth -= 1
    if depth >= _MOST_DEPTH:
        raise UnreadableJSONError("an array or object has no end")
    yield content[done:]
