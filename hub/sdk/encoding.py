"""Encodes requests, and refuses by name whatever cannot be sent, before a byte leaves."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from hub.sdk.errors import PermanentError

#: The stable code of a request that cannot be built.
REQUEST_INVALID = "request_invalid"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_PATH = re.compile(r"[\x00-\x20\x7f]")
_REMEDY = "Correct the document (correct and replay), or the map or connector that makes this field; nothing was sent."
_DEEPEST = 200


def refused(where: str, why: str) -> PermanentError:
    """The error for a request that cannot be built: ``where`` names its part."""
    return PermanentError(f"the request cannot be built: {where} {why}; nothing was sent", code=REQUEST_INVALID, remedy=_REMEDY)


def encoded(value: Any) -> bytes:
    """Encode a body as JSON (Decimals as strings). Raises PermanentError (`request_invalid`) naming the field."""
    try:
        text = json.dumps(value, default=_exact, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        where, why = next(_unsendable(value, "", 0), ("/", str(error)[:200]))
        raise refused(f"{where} of the body", why) from error


def check_target(method: str, path: str) -> None:
    """Check the request line. Raises PermanentError (`request_invalid`) naming what is wrong."""
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise refused("the method", f"{_shown(method)} is no HTTP method")
    if not isinstance(path, str) or not path.startswith("/"):
        raise refused("the path", f"{_shown(path)} does not begin with a slash")
    if _NOT_IN_PATH.search(path):
        raise refused("the path", f"{_shown(path)} holds a space or control character; quote it")
    if not is_text(path):
        raise refused("the path", f"{_shown(path)} holds half a character (a lone surrogate)")


def check_header(name: Any, value: Any) -> None:
    """Check a header. Raises PermanentError (`request_invalid`) naming it, and never showing its value."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise refused(f"header {_shown(name)}", "is no header's name")
    if why := unsendable_header(value):
        raise refused(f"header {name}", why)


def unsendable_header(value: Any) -> str:
    """Why a header's value cannot be sent; empty if it can."""
    if not isinstance(value, str):
        return f"is {type(value).__name__}, not text"
    if _CONTROL.search(value):
        return "holds a line break or control character"
    return "" if is_text(value) else "holds half a character (a lone surrogate)"


def is_text(text: str) -> bool:
    """Whether UTF-8 has a form of it: a lone surrogate has none."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON; turn it into a string or number first")


def _unsendable(value: Any, at: str, depth: int) -> Iterator[tuple[str, str]]:
    """(JSON pointer, why) of what cannot be sent."""
    if depth > _DEEPEST:
        yield at, "is nested too deep"
    elif isinstance(value, str):
        if not is_text(value):
            yield at or "/", "holds half a character (a lone surrogate)"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield at or "/", f"is {value}, which JSON has no form for"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str) and not is_text(key):
                yield at or "/", "has a key that holds half a character (a lone surrogate)"
            yield from _unsendable(item, f"{at}/{_shown(key) if not isinstance(key, str) else key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _unsendable(item, f"{at}/{index}", depth + 1)
    elif not (value is None or isinstance(value, bool | int | Decimal)):
        yield at or "/", f"is {type(value).__name__}, which cannot be sent as JSON; turn it into a string or number first"


def _shown(value: Any) -> str:
    return ascii(value)[:80]
