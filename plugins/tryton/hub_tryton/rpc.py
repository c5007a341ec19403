"""Tryton's JSON-RPC as steps: typed values, one path, the context as last parameter."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from hub.sdk import UNREADABLE, ConnectorError, Request, Steps

Json = dict[str, Any]


def typed(value: Any) -> Any:
    """Python values in Tryton's wire form (source: trytond/protocols/jsonrpc.py)."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": format(value, "f")}
    if isinstance(value, datetime):
        parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return {"__class__": "datetime", **{part: getattr(value, part) for part in parts}}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    if isinstance(value, Mapping):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [typed(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """Tryton's wire form as Python values."""
    if isinstance(value, dict):
        try:
            return _plain(value)
        except UNREADABLE:  # the record that holds it is told apart from its siblings, and is not readable
            return value
    return [plain(item) for item in value] if isinstance(value, list) else value


def _plain(value: Json) -> Any:
    match value.get("__class__"):
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return date(value["year"], value["month"], value["day"])
        case "datetime":  # UTC without saying so
            time = (value.get(part, 0) for part in ("hour", "minute", "second", "microsecond"))
            return datetime(value["year"], value["month"], value["day"], *time)  # noqa: DTZ001
    return {key: plain(item) for key, item in value.items()}


class Rpc:
    """Calls on one database. Searches and reads are not effects; everything else is."""

    def __init__(self, database: str, company: int) -> None:
        self._path = f"/{database}/rpc/"
        self._context = {"company": company, "language": "en"}

    def call(self, model: str, method: str, *arguments: Any, effect: bool) -> Steps[Any]:
        """The result of `model.<model>.<method>`; faults are raised by the manifest's error rules."""
        body = {"id": 1, "method": f"model.{model}.{method}", "params": typed([*arguments, self._context])}
        answer = (yield Request("POST", self._path, json=body, effect=effect, label=f"{model}.{method}")).json()
        if not isinstance(answer, dict) or "result" not in answer:
            raise ConnectorError("the answer carries no result", code="unreadable_answer")
        return plain(answer["result"])

    def search(self, model: str, domain: list[Any], fields: list[str], limit: int | None = None) -> Steps[list[Json]]:
        """Records that match, by id, with ``fields``."""
        arguments = (domain, 0, limit, [["id", "ASC"]], fields)
        found: list[Json] = yield from self.call(model, "search_read", *arguments, effect=False)
        return found

    def create(self, model: str, values: Json) -> Steps[int]:
        """The id of the new record."""
        created = yield from self.call(model, "create", [values], effect=True)
        return int(created[0])
