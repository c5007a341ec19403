"""The registry of canonical types: name, schema, rules, subject. The only list; everything else is derived from it.

`validate` is the reference verdict (marshmallow + rules). The hub's hot path may accept faster, never differently.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from marshmallow import Schema, ValidationError

from canonical import rules
from canonical.errors import InvalidDocumentError, Violation
from canonical.v1.product import ProductSchema
from canonical.v1.sale import ExchangeCompletedSchema, ReturnCompletedSchema, SaleCompletedSchema
from canonical.v1.stock import StockAdjustedSchema, StockCountedSchema

Document = Mapping[str, Any]
#: At most this many violations are reported for one document; the rest would not help.
MAX_VIOLATIONS = 50


def _no_rules(document: Document) -> Iterator[Violation]:
    return iter(())


@dataclass(frozen=True)
class CanonicalType:
    """One type of document.

    Attributes:
        name: `<entity>.<event>.v<major>` (facts) or `<entity>.v<major>` (records).
        schema_class: its marshmallow schema, the one definition.
        subject: the entity it is about, as a path; deliveries about one subject keep their order.
        check: its rules beyond shape.
        fingerprint: pointers whose values say "the same thing again" when it comes under another id; none: never asked.
        personal: pointers of personal data, masked outside the store.
        supersedes: each document is the subject's whole state at its time: one that comes after a newer one is not applied.
    """

    name: str
    schema_class: type[Schema]
    subject: Callable[[Document], str]
    check: Callable[[Document], Iterator[Violation]] = _no_rules
    fingerprint: Callable[[Document], Any] | None = None
    personal: tuple[str, ...] = field(default=())
    supersedes: bool = False

    @cached_property
    def schema(self) -> Schema:
        return self.schema_class()

    @property
    def major(self) -> int:
        return int(self.name.rsplit(".v", 1)[1])


def _of_sale(document: Document) -> str:
    return f"sale/{document['id']}"


def _of_original(document: Document) -> str:
    """A return follows its sale; without a receipt it stands alone."""
    original = document.get("original")
    return f"sale/{original['id'] if original else document['id']}"


def _of_stock(document: Document) -> str:
    return f"stock/{document['location']['code']}/{document['sku']}"


def _same_transaction(document: Document) -> Any:
    """Store, till, receipt number, business date, lines, total and tenders: what an offline till sends again."""
    return [
        document["location"]["code"],
        document.get("till", {}).get("number"),
        document["number"],
        document["business_date"],
        [[line["sku"], line["quantity"], line["total"]] for line in document["lines"]],
        document["total"],
        [[tender["type"], tender["amount"]] for tender in document["tenders"]],
    ]


_CUSTOMER = ("/customer/name", "/customer/email")

TYPES: dict[str, CanonicalType] = {
    definition.name: definition
    for definition in (
        CanonicalType("sale.completed.v1", SaleCompletedSchema, _of_sale, rules.sale_rules, _same_transaction, _CUSTOMER),
        CanonicalType("return.completed.v1", ReturnCompletedSchema, _of_original, rules.return_rules,
                      _same_transaction, _CUSTOMER),
        CanonicalType("exchange.completed.v1", ExchangeCompletedSchema, _of_original, rules.exchange_rules,
                      _same_transaction, _CUSTOMER),
        CanonicalType("stock.counted.v1", StockCountedSchema, _of_stock, supersedes=True),
        CanonicalType("stock.adjusted.v1", StockAdjustedSchema, _of_stock, rules.adjustment_rules),
        CanonicalType("product.v1", ProductSchema, lambda document: f"product/{document['sku']}", supersedes=True),
    )
}  # fmt: skip


def type_named(name: str) -> CanonicalType:
    """The type of that name; raises InvalidDocumentError (`unknown_type`) that lists the known ones."""
    found = TYPES.get(name)
    if found is None:
        known = ", ".join(sorted(TYPES))
        raise InvalidDocumentError(name, [Violation("unknown_type", "/type", f"{name!r} is not one of {known}")])
    return found


def shape_violations(schema: Schema, document: Any, pointer: str = "") -> list[Violation]:
    """Marshmallow's verdict on the shape, one violation per field; empty when it fits."""
    try:
        schema.load(document)
    except ValidationError as error:
        return list(_flatten(error.messages, pointer))[:MAX_VIOLATIONS]
    return []


def violations(name: str, document: Any) -> list[Violation]:
    """Everything wrong with ``document`` as a ``name``; rules are asked only when the shape fits."""
    definition = type_named(name)
    found = shape_violations(definition.schema, document)
    return found or list(definition.check(document))[:MAX_VIOLATIONS]


def validate(name: str, document: Any) -> None:
    """Raise InvalidDocumentError unless ``document`` is a valid ``name``."""
    if found := violations(name, document):
        raise InvalidDocumentError(name, found)


def _flatten(messages: Any, pointer: str) -> Iterable[Violation]:
    """Marshmallow's nested messages as violations with JSON pointers."""
    if isinstance(messages, dict):
        for key, inner in messages.items():
            yield from _flatten(inner, pointer if key == "_schema" else f"{pointer}/{_escape(str(key))}")
        return
    for message in messages if isinstance(messages, list) else [messages]:
        text = str(message)
        if text == "Unknown field.":
            yield Violation("unknown_field", pointer, "is not part of this type; put custom data under /extensions")
        elif text == "Missing data for required field.":
            yield Violation("missing_field", pointer, "is required")
        else:
            yield Violation("invalid_field", pointer, text)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
