"""Square's payments and refunds of payments, for the simulator. Pure; from the OpenAPI description 2025-08-20."""

from hub_square.wire import Json

#: TenderType → Payment.source_type.
_SOURCES = {"CASH": "CASH", "OTHER": "EXTERNAL", "SQUARE_GIFT_CARD": "CARD", "THIRD_PARTY_CARD": "EXTERNAL"}


def details(kind: str) -> Json:
    """What a tender of a type says of itself."""
    match kind:
        case "CARD":
            return {"card_details": {"status": "CAPTURED", "card": {"card_brand": "VISA", "last_4": "1111"}}}
        case "SQUARE_GIFT_CARD":
            return {"card_details": {"status": "CAPTURED", "card": {"card_brand": "SQUARE_GIFT_CARD", "last_4": "0000"}}}
        case "BUY_NOW_PAY_LATER":
            return {"buy_now_pay_later_details": {"buy_now_pay_later_brand": "AFTERPAY", "status": "CAPTURED"}}
        case "BANK_ACCOUNT":
            return {"bank_account_details": {"status": "COMPLETED"}}
        case "SQUARE_ACCOUNT":
            return {"square_account_details": {"status": "CAPTURED"}}
    return {}


def payment(order: Json, tender: Json, kind: str) -> Json:
    """The Payment of a tender."""
    source = _SOURCES.get(kind, kind)
    found = {
        "id": tender["payment_id"], "order_id": order["id"], "location_id": order["location_id"], "status": "COMPLETED",
        "source_type": source, "amount_money": tender["amount_money"], "total_money": tender["amount_money"],
        "approved_money": tender["amount_money"], "created_at": order["created_at"], "updated_at": order["updated_at"],
    }  # fmt: skip
    if source == "EXTERNAL":
        found["external_details"] = {"type": "CHECK", "source": "Cheque"}
    if source == "WALLET":
        found["wallet_details"] = {"status": "CAPTURED", "brand": "CASH_APP"}
    return found


def refund(order: Json, tender: Json, of_order: Json, status: str) -> Json:
    """The PaymentRefund of an order's refund."""
    return {
        "id": of_order["id"], "order_id": order["id"], "location_id": order["location_id"], "status": status,
        "destination_type": _SOURCES.get(tender["type"], tender["type"]), "amount_money": of_order["amount_money"],
        "payment_id": tender["payment_id"], "reason": of_order["reason"], "created_at": of_order["created_at"],
        "updated_at": of_order["created_at"],
    }  # fmt: skip
