"""Square's wire shapes for the simulator: ids, money, pages, errors."""

import copy
import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from hub.sdk.steps import Response
from hub.sdk.testing import answer

Json = dict[str, Any]
CURRENCY = "USD"
TAX = {"uid": "state-sales-tax", "name": "State Sales Tax", "percentage": "9", "type": "ADDITIVE", "scope": "ORDER"}


def new_id(length: int) -> str:
    """An id in Square's alphabet."""
    alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(secrets.choice(alphabet) for _ in range(length))


def money(amount: int, currency: str = CURRENCY) -> Json:
    """Money as Square writes it: minor units and currency."""
    return {"amount": amount, "currency": currency}


def body(change: Json) -> Json:
    """What an InventoryChange carries, whatever its type."""
    inner: Json = change.get("physical_count") or change["adjustment"]
    return inner


def moment(text: str) -> datetime:
    """The instant of a timestamp; '' is the beginning of time."""
    return datetime.fromisoformat(text) if text else datetime(1970, 1, 1, tzinfo=UTC)


def digest(value: Any) -> str:
    """What a cursor remembers of the query that it belongs to."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def page(asked: Json, found: list[Json], key: str) -> Response:
    """Cursor paging: the cursor is opaque, present only when there is more."""
    start = int(asked.get("cursor") or 0)
    limit = min(int(asked.get("limit") or 100), 1000)
    content: Json = {key: copy.deepcopy(found[start : start + limit])}
    if start + limit < len(found):
        content["cursor"] = str(start + limit)
    return answer(200, content)


def error(status: int, category: str, code: str, detail: str, field: str = "") -> Response:
    """Square's error body."""
    entry = {"category": category, "code": code, "detail": detail} | ({"field": field} if field else {})
    return answer(status, {"errors": [entry]})
