"""The step protocol as frames: length-prefixed, bounded, versioned. JSON and one run of raw bytes; nothing is unpickled.

A frame is two big-endian 32-bit lengths, a JSON array ``[kind, call, …]`` and the bytes (of a body) that belong to it:

| hub → connector | |
|---|---|
| `setup` | what to load, its settings and limits; once, first |
| `start`, call, method, arguments | begin a capability; bytes: the raw input |
| `response`, call, status, headers | the answer to its request; bytes: the body |
| `throw`, call, error | the error its request ended with |
| `close`, call | it is dropped; nothing is answered |

| connector → hub | |
|---|---|
| `hello`, 0, version, problems | loaded (or why not) |
| `request`, call, request | what it asks for; bytes: the body |
| `result`, call, value · `raise`, call, error | how the capability ended |
| `incident`, 0, kind, detail | it tried what it may not |
"""

import dataclasses
import json
import struct
import traceback
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hub.sdk import errors, steps

VERSION = 1
#: Largest frame in either direction: an answer at its own limit (10 MiB) and what surrounds it.
MAX_FRAME_BYTES = 16 * 1024 * 1024
HEAD = struct.Struct("!II")
#: Marks what JSON has no form for. No vendor's key begins with a NUL.
_MARK = "\0"
_VALUES = {
    item.__name__: item
    for item in (
        steps.AccountField,
        steps.Document,
        steps.Gone,
        steps.Ignored,
        steps.Page,
        steps.Refused,
        steps.Skipped,
        steps.Subscription,
        steps.Written,
    )
}
_ERRORS: dict[str, type[errors.ConnectorError]] = {
    name: item for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, errors.ConnectorError)
}
_ERROR_FIELDS = ("message", "code", "remedy", "retry_after", "field", "value")
#: Set by HTTP itself, or by the hub; a connector that sets them would speak about another request than the hub sends.
_HOP_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
_TEXT_BYTES = 4000


class WireError(Exception):
    """A frame that does not keep to the protocol."""


class BugError(RuntimeError):
    """What a connector's code raised that is no ConnectorError; its text carries the traceback."""


class BadValueError(BugError, ValueError):
    """A BugError that would come again with the same input."""


def pack(message: list[Any], blob: bytes = b"") -> bytes:
    """A frame; raises WireError if it is larger than a frame may be."""
    try:
        text = json.dumps(message, default=_marked, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        content = text.encode("utf-8", "surrogatepass")  # a vendor's text may hold half of a pair
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"cannot be carried to the hub: {error}") from error
    if len(content) + len(blob) > MAX_FRAME_BYTES:
        raise WireError(f"{len(content) + len(blob)} bytes are more than a frame may have ({MAX_FRAME_BYTES})")
    return HEAD.pack(len(content), len(blob)) + content + blob


def size(head: bytes) -> tuple[int, int]:
    """(bytes of JSON, bytes of the blob); raises WireError if they are more than a frame may have."""
    text, blob = HEAD.unpack(head)
    if text + blob > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {text + blob} bytes; at most {MAX_FRAME_BYTES}")
    return text, blob


def unpack(text: bytes) -> list[Any]:
    """The message of a frame; raises WireError."""
    try:
        message = json.loads(text, object_hook=_unmarked if b"\\u0000" in text else None)
    except (ValueError, TypeError, KeyError, RecursionError, ArithmeticError) as error:
        raise WireError(f"not a frame of this protocol: {error}") from error
    if not isinstance(message, list) or len(message) < 2 or not isinstance(message[1], int):
        raise WireError("not a frame of this protocol")
    return message


def described(error: BaseException) -> dict[str, Any]:
    """An error as data: a ConnectorError by its class, anything else with its traceback."""
    if isinstance(error, errors.ConnectorError):
        name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
        found = {key: getattr(error, key, None) for key in _ERROR_FIELDS}
        return {"type": name, **{key: value if isinstance(value, int | float) else str(value)[:_TEXT_BYTES]
                                 for key, value in found.items() if value is not None}}  # fmt: skip
    trace = "".join(traceback.format_exception(error)[-3:])
    settled = isinstance(error, ValueError | LookupError | TypeError | AttributeError)
    code = str(error.errno) if isinstance(error, OSError) else ""
    return {"type": "", "bug": type(error).__name__, "errno": code, "settled": settled,
            "message": f"{type(error).__name__}: {error}\n{trace}"[:_TEXT_BYTES]}  # fmt: skip


def raised(data: Any) -> Exception:
    """The error that was described."""
    if not isinstance(data, Mapping) or not isinstance(data.get("message", ""), str):
        raise WireError("an error that is none")
    kind = _ERRORS.get(str(data.get("type")))
    message = data.get("message", "")
    if kind is None:
        return BadValueError(message) if data.get("settled") else BugError(message)
    error = kind(message)
    for key in _ERROR_FIELDS[1:]:
        value = data.get(key)
        wanted = int | float if key == "retry_after" else str
        if value is not None and isinstance(value, wanted) and hasattr(error, key):
            setattr(error, key, value)
    return error


def request_data(request: steps.Request) -> tuple[dict[str, Any], bytes]:
    """A request as data and its body; raises TypeError for what is no request."""
    if not isinstance(request, steps.Request):
        raise TypeError(f"a connector yields Requests, not {type(request).__name__}")
    body = request.body()
    params = {key: format(value, "f") if isinstance(value, Decimal) else value for key, value in request.params.items()}
    return {
        "method": request.method, "path": request.path, "params": params, "headers": dict(request.headers),
        "effect": request.mutates, "expect": list(request.expect), "label": request.label, "body": body is not None,
    }, body or b""  # fmt: skip


def request_of(data: Any, blob: bytes) -> steps.Request:
    """The request that a frame carries; raises WireError for one that cannot be sent."""
    try:
        method, path, headers, params = data["method"], data["path"], data["headers"], data["params"]
        texts = all(isinstance(item, str) for item in (method, path, data["label"], *headers, *headers.values(), *params))
        plain = all(value is None or isinstance(value, str | int | float | list) for value in params.values())
        if not texts or not plain or not path.startswith("/") or not all(isinstance(item, int) for item in data["expect"]):
            raise WireError(f"a request that cannot be sent: {method} {path}"[:200])
        if wrong := _HOP_HEADERS & {name.lower() for name in headers}:
            raise WireError(f"a connector may not set the header {', '.join(sorted(wrong))}")
        return steps.Request(
            method, path, params, content=blob if data["body"] else None, headers=headers, effect=bool(data["effect"]),
            expect=tuple(data["expect"]), label=data["label"][:200],
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise WireError(f"a request that cannot be sent: {error}") from error


def _marked(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {_MARK: "Decimal", "text": str(value)}
    if type(value).__name__ in _VALUES and dataclasses.is_dataclass(value):
        return {_MARK: type(value).__name__, **{item.name: getattr(value, item.name) for item in dataclasses.fields(value)}}
    if isinstance(value, errors.ConnectorError):
        return {_MARK: "error", **described(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a value a connector may return")


_FIELDS: dict[str, dict[str, type]] = {
    "Document": {"type": str, "source_id": str, "data": dict, "object": str, "ref": str, "follows": str},
    "Gone": {"object": str, "ref": str}, "Ignored": {"reason": str},
    "Refused": {"source_id": str, "code": str, "message": str}, "Skipped": {"reason": str},
    "AccountField": {"object": str, "name": str, "type": str, "label": str, "required": bool, "custom": bool},
    "Subscription": {"id": str, "topic": str, "url": str, "active": bool, "expires_at": str},
    "Page": {"records": list, "cursor": dict, "more": bool}, "Written": {"external_id": str, "detail": dict},
}  # fmt: skip


def _unmarked(found: dict[str, Any]) -> Any:
    kind = found.pop(_MARK, None)
    if kind is None:
        return found
    if kind == "Decimal":
        return Decimal(found["text"])
    if kind == "error":
        return raised(found)
    expected = _FIELDS[kind]
    for name, wanted in expected.items():
        if not isinstance(found.get(name), wanted):
            raise TypeError(f"{kind}.{name} is not {wanted.__name__}")
    return _VALUES[kind](**{name: found[name] for name in expected})
