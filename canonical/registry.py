"""The registry of canonical types: name, schema, rules, subject. The only list; everything else is derived from it.

`validate` is the reference verdict (marshmallow + rules). The hub's hot path may accept faster, never differently.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from marshmallow import Schema, ValidationError, fields

from canonical import histories, rules
from canonical.errors import InvalidDocumentError, Violation
from canonical.v1.books import AccountSchema, CreditNoteSchema, InvoiceSchema, JournalEntrySchema, TaxRateSchema
from canonical.v1.order import (
    FulfillmentCompletedSchema,
    OrderCancelledSchema,
    OrderChangedSchema,
    OrderPlacedSchema,
    ShipmentDeliveredSchema,
    ShipmentDispatchedSchema,
)
from canonical.v1.payment import (
    GiftCardAdjustedSchema,
    GiftCardIssuedSchema,
    GiftCardRedeemedSchema,
    GiftCardReloadedSchema,
    PaymentAuthorizedSchema,
    PaymentCapturedSchema,
    PaymentChargedBackSchema,
    PaymentMadeSchema,
    PaymentRefundedSchema,
    PaymentReversedSchema,
)
from canonical.v1.product import ProductSchema
from canonical.v1.purchase import PurchaseOrderSchema, PurchaseReceivedSchema, SupplierSchema
from canonical.v1.records import CustomerRecordSchema, PlaceSchema, PriceChangedSchema, PriceSchema
from canonical.v1.sale import ExchangeCompletedSchema, ReturnCompletedSchema, SaleCompletedSchema, SaleVoidedSchema
from canonical.v1.settlement import BankLineSchema, PayoutSettledSchema
from canonical.v1.stock import (
    StockAdjustedSchema,
    StockCountedSchema,
    StockLevelSchema,
    StockReleasedSchema,
    StockReservedSchema,
    TransferReceivedSchema,
    TransferSentSchema,
)
from canonical.v1.till import StoreDayClosedSchema, TillCashMovedSchema, TillClosedSchema, TillOpenedSchema
from canonical.v2.product import ProductV2Schema
from canonical.v2.sale import SaleCompletedV2Schema
from canonical.v2.stock import StockAdjustedV2Schema
from canonical.versions import checked_in_v1

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
        check: its rules beyond shape and beyond what every document keeps to (currencies, check digits).
        history: what must hold between it and what is known about its subject, see `histories`.
        currencies: "one", or "many" where a document may mix them.
        fingerprint: pointers whose values say "the same thing again" when it comes under another id; none: never asked.
        personal: pointers of personal data (`*`: each of a list), masked outside the store.
        supersedes: each document is the subject's whole state at its time: one that comes after a newer one is not applied.
    """

    name: str
    schema_class: type[Schema]
    subject: Callable[[Document], str]
    check: Callable[[Document], Iterator[Violation]] = _no_rules
    fingerprint: Callable[[Document], Any] | None = None
    personal: tuple[str, ...] = field(default=())
    supersedes: bool = False
    history: Callable[[Document, histories.Known], Iterator[Violation]] | None = None
    currencies: str = "one"

    def rules(self, document: Document) -> Iterator[Violation]:
        """Everything that must hold inside a document whose shape is right."""
        yield from rules.currency_rules(document, self.currencies == "many")
        yield from rules.identifier_rules(document)
        yield from self.check(document)

    def withdrawn(self, document: Document) -> Document | None:
        """The document as a tombstone: itself if it is one, None if its type knows none (a fact stays a fact)."""
        if self._tombstone is None:
            return None
        name, gone = self._tombstone
        return document if document.get(name) == gone else {**document, name: gone}

    @cached_property
    def _tombstone(self) -> tuple[str, Any] | None:
        declared = self.schema.fields
        found = [(name, gone) for name, gone in _TOMBSTONES if name in declared and _holds(declared[name], gone)]
        return found[0] if found else None

    @cached_property
    def schema(self) -> Schema:
        return self.schema_class()

    @property
    def major(self) -> int:
        return int(self.name.rsplit(".v", 1)[1])


#: How a record says that it is not there any more.
_TOMBSTONES: tuple[tuple[str, Any], ...] = (("active", False), ("status", "withdrawn"))


def _holds(declared: fields.Field[Any], value: Any) -> bool:
    try:
        return bool(declared.deserialize(value) == value)
    except ValidationError:
        return False


def _of(entity: str, *path: str) -> Callable[[Document], str]:
    """The subject `<entity>/<value at path>`."""

    def subject(document: Document) -> str:
        value: Any = document
        for name in path:
            value = value[name]
        return f"{entity}/{value}"

    return subject


def _of_original(document: Document) -> str:
    """A return follows its sale; without a receipt it stands alone."""
    original = document.get("original")
    return f"sale/{original['id'] if original else document['id']}"


def _of_stock(document: Document) -> str:
    return f"stock/{document['location']['code']}/{document['sku']}"


def _of_till(document: Document) -> str:
    till = document["till"]
    return "/".join(("till", document["location"]["code"], till["number"], *([till["session"]] if "session" in till else ())))


def _of_store_day(document: Document) -> str:
    return f"store_day/{document['location']['code']}/{document['business_date']}"


def _of_price(document: Document) -> str:
    place = document["location"]["code"] if "location" in document else ""
    return f"price/{document['sku']}/{document.get('price_list', '')}/{place}"


def _same_transaction(document: Document) -> Any:
    """Store, till, receipt number, business date, lines, total and tenders: what an offline till sends again."""
    return [
        document["location"]["code"],
        document.get("till", {}).get("number"),
        document["number"],
        document["business_date"],
        [[line["sku"], line["quantity"], line["total"]] for line in document["lines"]],
        document["total"],
        [[tender.get("type") or tender["method"], tender["amount"]] for tender in document["tenders"]],
    ]


_CUSTOMER = ("/customer/name", "/customer/email")
_SHIP_TO = ("/ship_to/lines", "/ship_to/postal_code")
_BUYER = ("/buyer/name", "/buyer/email", "/buyer/address/lines", "/buyer/address/postal_code")
_PERSON = ("/name", "/email", "/phone", "/addresses/*/lines", "/addresses/*/postal_code")

_SALES = (
    CanonicalType("sale.completed.v1", SaleCompletedSchema, _of("sale", "id"), rules.sale_rules, _same_transaction, _CUSTOMER),
    CanonicalType("sale.completed.v2", SaleCompletedV2Schema, _of("sale", "id"),
                  checked_in_v1("sale.completed.v2", rules.sale_rules), _same_transaction, _CUSTOMER),
    CanonicalType("sale.voided.v1", SaleVoidedSchema, _of("sale", "original", "id"), rules.void_rules,
                  history=histories.void_history),
    CanonicalType("return.completed.v1", ReturnCompletedSchema, _of_original, rules.return_rules, _same_transaction, _CUSTOMER,
                  history=histories.return_history),
    CanonicalType("exchange.completed.v1", ExchangeCompletedSchema, _of_original, rules.exchange_rules, _same_transaction,
                  _CUSTOMER, history=histories.return_history),
    CanonicalType("till.opened.v1", TillOpenedSchema, _of_till, rules.till_opened_rules),
    CanonicalType("till.closed.v1", TillClosedSchema, _of_till, rules.till_closed_rules),
    CanonicalType("till.cash_moved.v1", TillCashMovedSchema, _of_till, rules.cash_moved_rules),
    CanonicalType("store_day.closed.v1", StoreDayClosedSchema, _of_store_day, rules.store_day_rules),
)  # fmt: skip

_PAYMENTS = (
    CanonicalType("payment.captured.v1", PaymentCapturedSchema, _of("payment", "payment_id"), rules.payment_rules),
    CanonicalType("payment.authorized.v1", PaymentAuthorizedSchema, _of("payment", "payment_id"), rules.payment_rules),
    CanonicalType("payment.made.v1", PaymentMadeSchema, _of("payment", "payment_id"), rules.payment_rules),
    CanonicalType("payment.refunded.v1", PaymentRefundedSchema, _of("payment", "payment_id"), rules.payment_rules,
                  history=histories.refund_history),
    CanonicalType("payment.reversed.v1", PaymentReversedSchema, _of("payment", "payment_id"), rules.payment_rules,
                  history=histories.reversal_history),
    CanonicalType("payment.charged_back.v1", PaymentChargedBackSchema, _of("payment", "payment_id"), rules.payment_rules),
    CanonicalType("gift_card.issued.v1", GiftCardIssuedSchema, _of("gift_card", "gift_card", "id"), rules.gift_card_rules),
    CanonicalType("gift_card.reloaded.v1", GiftCardReloadedSchema, _of("gift_card", "gift_card", "id"), rules.gift_card_rules),
    CanonicalType("gift_card.redeemed.v1", GiftCardRedeemedSchema, _of("gift_card", "gift_card", "id"), rules.gift_card_rules),
    CanonicalType("gift_card.adjusted.v1", GiftCardAdjustedSchema, _of("gift_card", "gift_card", "id"), rules.gift_card_rules),
    CanonicalType("payout.settled.v1", PayoutSettledSchema, _of("payout", "payout_id"), rules.payout_rules),
    CanonicalType("bank.line.v1", BankLineSchema, _of("bank_account", "account"), rules.bank_line_rules,
                  personal=("/counterparty/name", "/counterparty/account")),
)  # fmt: skip

_ORDERS = (
    CanonicalType("order.placed.v1", OrderPlacedSchema, _of("order", "id"), rules.order_rules, personal=_CUSTOMER + _SHIP_TO),
    CanonicalType("order.changed.v1", OrderChangedSchema, _of("order", "id"), rules.order_rules, personal=_CUSTOMER + _SHIP_TO,
                  supersedes=True),
    CanonicalType("order.cancelled.v1", OrderCancelledSchema, _of("order", "id")),
    CanonicalType("fulfillment.completed.v1", FulfillmentCompletedSchema, _of("order", "order", "id")),
    CanonicalType("shipment.dispatched.v1", ShipmentDispatchedSchema, _of("order", "order", "id"),
                  personal=_SHIP_TO),
    CanonicalType("shipment.delivered.v1", ShipmentDeliveredSchema, _of("order", "order", "id"), personal=("/received_by",)),
)  # fmt: skip

_STOCK = (
    CanonicalType("stock.counted.v1", StockCountedSchema, _of_stock, rules.business_date_rules, supersedes=True),
    CanonicalType("stock.adjusted.v1", StockAdjustedSchema, _of_stock, rules.adjustment_rules),
    CanonicalType("stock.adjusted.v2", StockAdjustedV2Schema, _of_stock, rules.adjustment_rules),
    CanonicalType("stock.reserved.v1", StockReservedSchema, _of("reservation", "reservation_id"), rules.business_date_rules),
    CanonicalType("stock.released.v1", StockReleasedSchema, _of("reservation", "reservation_id"), rules.business_date_rules,
                  history=histories.release_history),
    CanonicalType("transfer.sent.v1", TransferSentSchema, _of("transfer", "transfer_id"), rules.transfer_rules),
    CanonicalType("transfer.received.v1", TransferReceivedSchema, _of("transfer", "transfer_id"), rules.transfer_rules,
                  history=histories.transfer_history),
    CanonicalType("purchase.received.v1", PurchaseReceivedSchema, _of("receipt", "id"), rules.received_rules),
    CanonicalType("stock_level.v1", StockLevelSchema, lambda document: f"stock_level/{_of_stock(document)[6:]}",
                  rules.level_rules, supersedes=True),
)  # fmt: skip

_CATALOGUE = (
    CanonicalType("product.v1", ProductSchema, _of("product", "sku"), supersedes=True),
    CanonicalType("product.v2", ProductV2Schema, _of("product", "sku"), supersedes=True),
    CanonicalType("price.v1", PriceSchema, _of_price, rules.price_rules, supersedes=True),
    CanonicalType("price.changed.v1", PriceChangedSchema, _of_price, rules.price_rules, supersedes=True),
    CanonicalType("tax_rate.v1", TaxRateSchema, _of("tax_rate", "id"), rules.tax_rate_rules, supersedes=True),
)  # fmt: skip

_PEOPLE = (
    CanonicalType("customer.v1", CustomerRecordSchema, _of("customer", "id"), personal=_PERSON, supersedes=True),
    CanonicalType("supplier.v1", SupplierSchema, _of("supplier", "code"), supersedes=True),
    CanonicalType("location.v1", PlaceSchema, _of("location", "code"), rules.place_rules, supersedes=True),
)  # fmt: skip

_BOOKS = (
    CanonicalType("purchase_order.v1", PurchaseOrderSchema, _of("purchase_order", "id"), rules.purchase_order_rules,
                  supersedes=True),
    CanonicalType("account.v1", AccountSchema, _of("account", "code"), rules.currency_field_rules, supersedes=True),
    CanonicalType("invoice.v1", InvoiceSchema, _of("invoice", "id"), rules.bill_rules, personal=_BUYER),
    CanonicalType("credit_note.v1", CreditNoteSchema, _of("credit_note", "id"), rules.bill_rules, personal=_BUYER),
    CanonicalType("journal_entry.v1", JournalEntrySchema, _of("journal_entry", "id"), rules.journal_rules, currencies="many"),
)  # fmt: skip

TYPES: dict[str, CanonicalType] = {
    definition.name: definition
    for group in (_SALES, _PAYMENTS, _ORDERS, _STOCK, _CATALOGUE, _PEOPLE, _BOOKS)
    for definition in group
}


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
    if found := list(rules.text_rules(document)):
        return found[:MAX_VIOLATIONS]
    found = shape_violations(definition.schema, document)
    return found or list(definition.rules(document))[:MAX_VIOLATIONS]


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
