"""Tenders and refunds of an order: how it was paid, and how money was given back. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canonical.money import from_minor
from hub_square.lines import JSON, MismatchError, minor, shown

#: TenderType (and Payment.source_type, PaymentRefund.destination_type) → canonical tender; others are `other`.
_TENDERS = {
    "CASH": "cash", "CARD": "card", "THIRD_PARTY_CARD": "card", "SQUARE_GIFT_CARD": "gift_card",
    "BANK_ACCOUNT": "bank_transfer", "WALLET": "wallet", "BUY_NOW_PAY_LATER": "pay_later", "SQUARE_ACCOUNT": "house_account",
    "HOUSE_ACCOUNT": "house_account",
}  # fmt: skip
#: ExternalPaymentDetails.type → canonical tender, of payments that Square only records.
_EXTERNAL = {
    "CHECK": "check", "BANK_TRANSFER": "bank_transfer", "OTHER_GIFT_CARD": "gift_card", "SQUARE_CASH": "wallet",
    "EMONEY": "wallet", "CARD": "card", "STORED_BALANCE": "store_credit", "FOOD_VOUCHER": "voucher",
}  # fmt: skip
#: Tenders that Square processes itself.
_PROCESSED = ("CARD", "SQUARE_GIFT_CARD", "BANK_ACCOUNT", "WALLET", "BUY_NOW_PAY_LATER", "SQUARE_ACCOUNT", "HOUSE_ACCOUNT")
#: Tenders whose payment says more than they do.
TOLD_BY_PAYMENT = ("OTHER", "EXTERNAL", "WALLET")
#: Brands that say nothing.
_NO_BRAND = ("", "OTHER_BRAND", "UNKNOWN", "SQUARE_GIFT_CARD")
_NOT_TAKEN = {"VOIDED", "FAILED"}


@dataclass(frozen=True, kw_only=True)
class Refund:
    """Money given back, in minor units.

    Attributes:
        tender: canonical fields of the tender it went to, without amount and reference.
        payment_id: the payment that it gives back.
        source: the order that this payment paid, where it is known.
    """

    id: str
    amount: int
    tender: Mapping[str, Any]
    payment_id: str
    source: str
    created_at: str


def is_taken(tender: JSON) -> bool:
    """Whether a tender brought money: not the opening of the drawer, nor a card that was voided or failed."""
    statuses = {(tender[name] or {}).get("status") for name in tender if name.endswith("_details")}
    return tender["type"] != "NO_SALE" and not statuses & _NOT_TAKEN


def taken(
    tenders: Iterable[JSON], payments: Mapping[str, JSON], currency: str
) -> tuple[list[dict[str, Any]], int, int]:  # fmt: skip
    """(tenders, change, what both come to): cash is what was handed over, change what came back."""
    converted, change, total = [], 0, 0
    for tender in filter(is_taken, tenders):
        given = minor(tender["amount_money"])
        details = tender.get("cash_details") or {}
        if details.get("buyer_tendered_money"):
            given = minor(details["buyer_tendered_money"])
            change += minor(details.get("change_back_money"))
        total += given
        entry = {**_kind(tender, payments), "amount": from_minor(given, currency)}
        if tender.get("payment_id"):
            entry["reference"] = tender["payment_id"]
        if minor(tender.get("tip_money")):
            entry["tip"] = from_minor(minor(tender["tip_money"]), currency)
        converted.append(entry)
    return converted, change, total - change


def _kind(tender: JSON, payments: Mapping[str, JSON]) -> dict[str, Any]:
    """Type, provider and brand of a tender."""
    payment = payments.get(str(tender.get("payment_id") or tender.get("id"))) or {}
    kind = str(tender["type"])
    found = {"type": _TENDERS.get(kind, "other")}
    external = payment.get("external_details") or {}
    if kind in ("OTHER", "EXTERNAL") and external:
        found["type"] = _EXTERNAL.get(str(external.get("type")), "other")
        if external.get("source"):
            found["provider"] = str(external["source"])
    elif kind in _PROCESSED:
        found["provider"] = "square"
    card = (tender.get("card_details") or {}).get("card") or {}
    later = tender.get("buy_now_pay_later_details") or {}
    wallet = payment.get("wallet_details") or {}
    brand = card.get("card_brand") or later.get("buy_now_pay_later_brand") or wallet.get("brand") or ""
    if brand not in _NO_BRAND:
        found["brand"] = str(brand).lower()
    return found


def is_pending(order: JSON) -> bool:
    """Whether a refund of this order waits to be approved: nothing is given back yet."""
    return any(refund["status"] == "PENDING" for refund in order.get("refunds") or [])


def failed(order: JSON) -> list[JSON]:
    """The refunds of an order that failed."""
    return [refund for refund in order.get("refunds") or [] if refund["status"] == "FAILED"]


def given_back(
    order: JSON, sources: Mapping[str, JSON], payments: Mapping[str, JSON], records: Mapping[str, JSON]
) -> list[Refund]:
    """The refunds of an order, by the kind of tender that they went to.

    A refund that failed after it was told stays among them: what was told does not change, its failure is a fact of its own.
    ``records``: PaymentRefunds of refunds whose tender is on no order that is known.
    """
    by_id = {
        str(tender["id"]): (str(source_id), tender)
        for source_id, source in sources.items()
        for tender in source.get("tenders") or []
    }
    found = []
    for refund in order.get("refunds") or []:
        if refund["status"] not in ("APPROVED", "COMPLETED", "FAILED"):
            continue
        source, tender = by_id.get(str(refund.get("tender_id")), ("", None))
        record = records.get(str(refund["id"])) or {}
        payment_id = str((tender or {}).get("payment_id") or record.get("payment_id") or refund.get("tender_id") or "")
        kind = _kind(tender, payments) if tender else _destination(record)
        found.append(Refund(
            id=str(refund["id"]), amount=minor(refund["amount_money"]), tender=kind, payment_id=payment_id, source=source,
            created_at=str(refund.get("created_at") or ""),
        ))  # fmt: skip
    return found


def _destination(record: JSON) -> dict[str, Any]:
    """Type and provider of a refund by its own record."""
    kind = str(record.get("destination_type") or "")
    return {"type": _TENDERS.get(kind, "other"), **({"provider": "square"} if kind in _PROCESSED else {})}


def shared(refunds: Sequence[Refund], needs: Sequence[tuple[str, int]]) -> tuple[list[list[Refund]], list[Refund]]:
    """Refunds by the returns they belong to, and what is left of them.

    ``needs``: (source order, amount to give back) of each return. A refund goes first to the return of the order that its
    payment paid (to one of just its amount before others), then to what others lack; no return gets more than it needs.
    """
    left = {refund.id: refund.amount for refund in refunds}
    parts: list[list[Refund]] = [[] for _ in needs]
    lacking = [need for _, need in needs]
    for is_own, is_exact in ((True, True), (True, False), (False, True), (False, False)):
        for refund in refunds:
            for place, (source, _) in enumerate(needs):
                if (is_own and refund.source != source) or (is_exact and left[refund.id] != lacking[place]):
                    continue
                if piece := min(left[refund.id], lacking[place]):
                    parts[place].append(_part(refund, piece))
                    left[refund.id] -= piece
                    lacking[place] -= piece
    return parts, [_part(refund, left[refund.id]) for refund in refunds if left[refund.id]]


def _part(refund: Refund, amount: int) -> Refund:
    return replace(refund, amount=amount)


def refund_tender(refund: Refund, currency: str, sign: int = 1) -> dict[str, Any]:
    """A refund as a tender; negative in an exchange."""
    named = {"payment_id": refund.payment_id} if refund.payment_id and refund.payment_id != refund.id else {}
    return {**refund.tender, "amount": from_minor(sign * refund.amount, currency), "reference": refund.id, **named}


def require_sum(what: str, found: int, expected: int, currency: str, *, of: str) -> None:
    """Raise MismatchError unless what was paid or given back is the document's total."""
    if found != expected:
        raise MismatchError(f"{of}: {what} {shown(found, currency)}, its total is {shown(expected, currency)}")
