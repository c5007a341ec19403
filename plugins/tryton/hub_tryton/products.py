"""Tryton's products, with the fields that an account has added: attributes (module product_attribute), its modules' own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from canonical.money import money
from hub.sdk import UNREADABLE, AccountField, ConnectorError, Document, Page, Steps
from hub_tryton.rpc import Json, Rpc

JSON = Mapping[str, Any]
_MODEL = "product.product"
_FIELDS = ["code", "name", "list_price", "active", "create_date", "write_date", "template.write_date"]
#: Kinds of fields that a text can carry.
_CARRIED = ("char", "text", "integer", "float", "numeric", "boolean", "date", "datetime", "timestamp", "selection")


def describe(rpc: Rpc) -> Steps[list[AccountField]]:
    """A product's fields, each attribute one of its own."""
    fields: Json = yield from rpc.call(_MODEL, "fields_get", None, effect=False)
    found = [
        AccountField(_MODEL, name, str(field.get("type", "")), str(field.get("string", "")), bool(field.get("required")),
                     _custom(name))
        for name, field in fields.items()
    ]  # fmt: skip
    if "attributes" in fields:
        for row in (yield from rpc.search("product.attribute", [], ["name", "string", "type_"])):
            found.append(AccountField(_MODEL, f"attributes.{row['name']}", row["type_"], row["string"], custom=True))
    return found


def read(rpc: Rpc, cursor: JSON, limit: int, named: Sequence[str]) -> Steps[Page]:
    """Products that have changed, inactive ones too. A product changes with its template, so both are asked."""
    since, offset, high = cursor.get("since", "1970-01-01T00:00:00"), int(cursor.get("offset", 0)), cursor.get("high", "")
    bound = datetime.fromisoformat(since)
    changed = [["write_date", ">=", bound], ["create_date", ">=", bound], ["template.write_date", ">=", bound]]
    fields: Json = yield from rpc.call(_MODEL, "fields_get", None, effect=False)
    own = [name for name in fields if (_custom(name) or name in named) and fields[name]["type"] in (*_CARRIED, "dict")]
    domain = [["active", "in", [True, False]], ["OR", *changed]]
    arguments = (domain, offset, limit, [["id", "ASC"]], [*_FIELDS, *own])
    rows: list[Json] = yield from rpc.call(_MODEL, "search_read", *arguments, effect=False)
    if not isinstance(rows, list):
        raise TypeError(f"the products are no list but {type(rows).__name__}")
    records, times = [], []
    for row in rows:
        try:
            records.append(_record(row, own))
            times.append(records[-1]["changed_at"])
        except UNREADABLE:  # kept as it came: it cannot be translated, and waits in quarantine alone
            records.append(row)
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    high = max([high, since, *(time for time in times if time <= now)])
    if len(rows) >= limit:
        return Page(records, {"since": since, "offset": offset + len(rows), "high": high}, more=True)
    total = yield from rpc.call(_MODEL, "search_count", domain, effect=False)
    if offset + len(rows) < total:
        said = f"{offset + len(rows)} products were listed, and Tryton says that there are {total}"
        raise ConnectorError(said, code="unreadable_answer")
    return Page(records, {"since": high}, more=False)


def _custom(name: str) -> bool:
    return name.startswith("x_") or name == "attributes"


def _record(row: JSON, own: Sequence[str]) -> Json:
    template = row.get("template.") or {}
    changed = max(filter(None, (row["create_date"], row["write_date"], template.get("write_date"))))
    return {
        "id": row["id"], "code": row["code"], "name": row["name"], "active": bool(row["active"]),
        "list_price": None if row["list_price"] is None else str(row["list_price"]), "changed_at": changed.isoformat(),
        "own": {name: _text(row.get(name)) for name in own if row.get(name) is not None},
    }  # fmt: skip


def _text(value: Any) -> Any:
    """As extensions carry it: texts, truth values, and objects of them."""
    if isinstance(value, Mapping):
        return {str(key): _text(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    return value if isinstance(value, str | bool) else value.isoformat() if hasattr(value, "isoformat") else str(value)


def document(record: JSON, currency: str) -> Document:
    """The canonical product of a read record. A price finer than the currency's minor unit is left out."""
    changed = f"{record['changed_at']}Z"
    data: Json = {
        "id": str(record["id"]), "sku": record["code"] or str(record["id"]), "name": record["name"] or str(record["id"]),
        "active": record["active"], "updated_at": changed,
    }  # fmt: skip
    if record["list_price"] is not None:
        try:
            data["price"] = money(Decimal(record["list_price"]), currency)
        except ValueError:
            pass
    if record["own"]:
        data["extensions"] = {"tryton": record["own"]}
    return Document("product.v1", f"product:{record['id']}:{changed}", data)
