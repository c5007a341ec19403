"""Redaction policy: what leaves the store (logs, events, audit, errors) carries no secret and no personal data."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from canonical.registry import type_named
from hub.policies.text import clean

MASK = "***"
_SECRET_HEADERS = ("authorization", "cookie", "x-api-key", "signature", "token", "secret")
_BEARER = re.compile(r"(?i)\b(bearer|token|basic|session)\s+[A-Za-z0-9+/=_.-]{8,}")


def headers(values: Mapping[str, str]) -> dict[str, str]:
    """Headers with secret ones masked; names stay, so that a person sees they were sent."""
    hidden = {name: any(word in name.lower() for word in _SECRET_HEADERS) for name in values}
    return {name: MASK if hidden[name] else value for name, value in values.items()}


def text(value: str, secrets: Iterable[str] = ()) -> str:
    """Free text with credentials of known shape and the given ``secrets`` masked."""
    for secret in secrets:
        if len(secret) >= 4:
            value = value.replace(secret, MASK)
    return clean(_BEARER.sub(rf"\1 {MASK}", value))


def document(type_name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A document with its type's personal fields masked; it keeps the type's shape, and shares what is not masked."""
    masked: Any = dict(data)
    for pointer in type_named(type_name).personal:
        masked = _masked(masked, pointer.strip("/").split("/"))
    return masked  # type: ignore[no-any-return]


def _masked(value: Any, path: list[str]) -> Any:
    """``value`` with what lies at ``path`` (`*`: in each of a list) masked: a text, or every text of a list."""
    if not path:
        return [MASK] * len(value) if isinstance(value, list) else MASK
    name, *rest = path
    if name == "*":
        return [_masked(item, rest) for item in value] if isinstance(value, list) else value
    if isinstance(value, dict) and name in value:
        return {**value, name: _masked(value[name], rest)}
    return value
