"""Completed orders → sales, returns and exchanges. Pure: everything that was looked up comes in `Known`.

A Square order is a sale (``line_items``), a return (``returns``) or both (an exchange). It has one OrderReturn per sale that
goods come back from; each becomes a document of its own, except that the first one of an exchange is its ``returned``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canonical.money import from_minor
from hub.sdk import Document, Ignored, Refused, UntranslatableError
from hub_square import tenders
from hub_square.lines import JSON, Lines, MismatchError, Shelf, charge_line, minor, returned, shown, sold

Item = Document | Ignored | Refused


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the hub looked up for an order.

    Attributes:
        shelf: articles of its lines.
        sources: orders by id that its returns come from; the order itself is added.
        payments: payments by id, of tenders that do not say what they are.
        refunds: PaymentRefunds by id, of refunds that failed or whose tender is on no known order.
        location: canonical location of a Square location id.
        business_date: trading day of an instant at a Square location id.
    """

    shelf: Shelf
    sources: Mapping[str, JSON]
    payments: Mapping[str, JSON]
    refunds: Mapping[str, JSON]
    location: Callable[[str], dict[str, str]]
    business_date: Callable[[str, str], str]


@dataclass(frozen=True, kw_only=True)
class _Return:
    """One OrderReturn, converted; amounts in minor units."""

    id: str
    source_id: str
    original: str
    lines: Lines
    tip: int
    rounding: int

    @property
    def total(self) -> int:
        return self.lines.total + self.lines.untaxed_charge + self.tip + self.rounding


def documents(order: JSON, known: Known) -> list[Item]:
    """What an order tells; a document whose amounts do not add up is refused alone.

    A sale does not change when something of it is returned later, not even on the same order: such a return is dated and
    numbered for itself.
    """
    if order.get("state") != "COMPLETED":
        return [Ignored(f"order is {order.get('state')}, not yet COMPLETED")]
    known = replace(known, sources={**known.sources, str(order["id"]): order})
    later = [item for item in _returns_of(order) if item.get("source_order_id") == order["id"]]
    with_it = [item for item in _returns_of(order) if item.get("source_order_id") != order["id"]]
    has_sale = bool(order.get("line_items")) or any(minor(item["applied_money"]) for item in order.get("service_charges") or [])
    found: list[Item] = []
    if has_sale or with_it or not later:
        if with_it and (waiting := _no_return_yet(order)):
            found.append(waiting)
        elif with_it:
            found += _at_once(order, with_it, known, has_sale=has_sale)
        else:
            found += _each(f"order:{order['id']}", lambda: _sale(order, known))
    if later:
        found += [waiting] if (waiting := _no_return_yet(order)) else _later(order, later, known)
    if later or with_it:
        first = f"order:{order['id']}" if with_it else f"order:{order['id']}:return:{later[0].get('uid') or 1}"
        found += [item for refund in tenders.failed(order) for item in _reversed(order, refund, known, first)]
    return found


def _returns_of(order: JSON) -> list[JSON]:
    """The order's returns in an order that does not depend on how Square lists them."""
    return sorted(order.get("returns") or [], key=lambda item: str(item.get("uid") or ""))


def _each(source_id: str, make: Callable[[], Item]) -> list[Item]:
    """One document, or why it cannot be told; its siblings are not held back."""
    try:
        return [make()]
    except UntranslatableError as error:
        return [Refused(source_id, error.code, error.message)]


def _no_return_yet(order: JSON) -> Ignored | None:
    """Why nothing was given back: a refund is pending, or none succeeded."""
    refunds = order.get("refunds") or []
    if tenders.is_pending(order):
        return Ignored("a refund of the return is PENDING: it is told when it is completed")
    if refunds and all(refund["status"] in ("FAILED", "REJECTED") for refund in refunds):
        return Ignored("no refund of the return succeeded: nothing was given back")
    return None


# -- sales ----------------------------------------------------------------------------------------------------------


def _sale(order: JSON, known: Known) -> Item:
    currency = currency_of(order)
    lines = _sold(order, known, currency)
    if not lines.lines:
        if order.get("tenders") and not any(map(tenders.is_taken, order["tenders"])):
            return Ignored("the drawer was opened without a sale")
        raise UntranslatableError(f"order {order['id']} has neither lines nor returns", code="empty_order")
    rounding, tip, total = _rounding(order), minor(order.get("total_tip_money")), minor(order["total_money"])
    _require_total(order, lines, tip, rounding, currency)
    paid, change, sum_ = tenders.taken(order.get("tenders") or [], known.payments, currency)
    tenders.require_sum("tenders less change come to", sum_, total, currency, of=f"order {order['id']}")
    data = {
        **_head(order, known), **_rounded(order, rounding, currency), "lines": list(lines.lines),
        "discount": from_minor(lines.discount, currency), "tax": from_minor(lines.tax, currency),
        "total": from_minor(total, currency), "tip": from_minor(tip, currency), "tenders": paid,
        "change": from_minor(change, currency), "service_charge": from_minor(lines.untaxed_charge, currency),
    }  # fmt: skip
    return Document("sale.completed.v1", f"order:{order['id']}", data)


def _sold(order: JSON, known: Known, currency: str) -> Lines:
    """The lines sold; a service charge that stands alone is a line, since a document has one at least."""
    lines = sold(order, known.shelf, currency)
    named = minor(order.get("total_service_charge_money"))
    charge = lines.untaxed_charge if order.get("service_charges") else named
    if lines.lines or not charge:
        return replace(lines, untaxed_charge=charge)
    return Lines(
        lines=[charge_line("service-charge", "Service charge", charge, currency)], tax=0, discount=0, total=charge,
        untaxed_charge=0,
    )  # fmt: skip


def _require_total(order: JSON, lines: Lines, tip: int, rounding: int, currency: str) -> None:
    """Raise MismatchError unless an order's own totals are the sums of its lines."""
    total = lines.total + lines.untaxed_charge + tip + rounding
    _require(order, "lines + service charge + tip + rounding", total, order["total_money"], currency)
    _require(order, "the lines' taxes", lines.tax, order.get("total_tax_money"), currency)
    _require(order, "the lines' discounts", lines.discount, order.get("total_discount_money"), currency)


def _require(order: JSON, what: str, found: int, named: JSON | None, currency: str) -> None:
    if named is not None and minor(named) != found:
        said = f"order {order['id']}: {what} come to {shown(found, currency)}, Square says {shown(minor(named), currency)}"
        raise MismatchError(said)


# -- returns and exchanges --------------------------------------------------------------------------------------------


def _at_once(order: JSON, items: Sequence[JSON], known: Known, *, has_sale: bool) -> list[Item]:
    """The exchange or return that an order is, and returns to other sales beside it."""
    try:
        currency = currency_of(order)
        parts = [_part(order, item, known, place, currency, alone=len(items) == 1) for place, item in enumerate(items)]
        _require(order, "the returns", _total(parts), (order.get("return_amounts") or {}).get("total_money"), currency)
        if has_sale:
            return _exchange(order, parts, known, currency)
        _require(order, "less the returns", -_total(parts), (order.get("net_amounts") or {}).get("total_money"), currency)
        return _returns(order, parts, known, currency)
    except UntranslatableError as error:
        return [Refused(f"order:{order['id']}", error.code, error.message)]


def _later(order: JSON, items: Sequence[JSON], known: Known) -> list[Item]:
    """Returns that were added to the order of their own sale: never under the sale's id, dated by their refunds."""
    try:
        currency = currency_of(order)
        parts = [_part(order, item, known, place, currency, alone=False) for place, item in enumerate(items, start=1)]
        return _returns(order, parts, known, currency, is_later=True)
    except UntranslatableError as error:
        return [Refused(f"order:{order['id']}:return", error.code, error.message)]


def _returns(
    order: JSON, parts: Sequence[_Return], known: Known, currency: str, *, is_later: bool = False
) -> list[Item]:  # fmt: skip
    """A document per return, with the refunds that belong to it; a later one happened when its money was given back."""
    shares, left = tenders.shared(_refunds(order, known), [(part.original, part.total) for part in parts])
    over = sum(refund.amount for refund in left)
    for part, share in zip(parts, shares, strict=True):
        sum_ = over + sum(refund.amount for refund in share)
        tenders.require_sum("refunds come to", sum_, part.total, currency, of=f"return {part.id}")
    found: list[Item] = []
    for part, share in zip(parts, shares, strict=True):
        moment = max((refund.created_at for refund in share), default="") if is_later else ""
        given = [tenders.refund_tender(refund, currency) for refund in share]
        found.append(_return(order, part, given, known, currency, moment or _closed(order)))
    return found


def _refunds(order: JSON, known: Known) -> list[tenders.Refund]:
    return tenders.given_back(order, known.sources, known.payments, known.refunds)


def _total(parts: Sequence[_Return]) -> int:
    return sum(part.total for part in parts)


def _part(order: JSON, item: JSON, known: Known, place: int, currency: str, *, alone: bool) -> _Return:
    """An OrderReturn. The first keeps the order's own id: it was told under that before there were others."""
    lines = returned(item, known.shelf, currency)
    amounts = item.get("return_amounts") or (order.get("return_amounts") if alone else None) or {}
    tips = item.get("return_tips")
    tip = sum(minor(each["applied_money"]) for each in tips) if tips else minor(amounts.get("tip_money"))
    rounding = _return_rounding(order, item, lines, tip, amounts, alone=alone)
    name = str(item.get("uid") or place)
    if not (lines.lines or tip or lines.untaxed_charge):
        raise UntranslatableError(f"return {name} of order {order['id']} gives nothing back", code="empty_order")
    part = _Return(
        id=str(order["id"]) if place == 0 else f"{order['id']}:{name}",
        source_id=f"order:{order['id']}" if place == 0 else f"order:{order['id']}:return:{name}",
        original=str(item.get("source_order_id") or ""), lines=_at_least_one(lines, tip, known, currency), tip=tip,
        rounding=rounding,
    )  # fmt: skip
    _require(order, f"return {name}: lines + tip + service charge + rounding", part.total, amounts.get("total_money"), currency)
    _require(order, f"return {name}: the lines' taxes", lines.tax, amounts.get("tax_money"), currency)
    _require(order, f"return {name}: the lines' discounts", lines.discount, amounts.get("discount_money"), currency)
    return part


def _return_rounding(order: JSON, item: JSON, lines: Lines, tip: int, amounts: JSON, *, alone: bool) -> int:
    """Cash rounding of what is given back. Where only the order names it, its sign is the one that makes the return's total."""
    own = _rounding(item)
    on_order = _rounding(order)
    if own or not (alone and on_order) or order.get("line_items"):
        return own
    named = amounts.get("total_money")
    before = lines.total + lines.untaxed_charge + tip
    return -on_order if named is not None and before - on_order == minor(named) else on_order


def _at_least_one(lines: Lines, tip: int, known: Known, currency: str) -> Lines:
    """A return of nothing but a tip or a service charge has a line of zero: a document has one line at least."""
    if lines.lines:
        return lines
    name = "Tip" if tip else "Service charge"
    line = charge_line("given-back", name, 0, currency, kind="amount", sku=known.shelf.bare_sku)
    return replace(lines, lines=[line])


def _return(
    order: JSON, part: _Return, given: Sequence[dict[str, Any]], known: Known, currency: str, occurred: str
) -> Document:  # fmt: skip
    data = {
        **_head(order, known), "id": part.id, **_dated(order, known, occurred),
        **({"original": {"id": part.original}} if part.original else {}), "lines": list(part.lines.lines),
        **({"rounding": from_minor(part.rounding, currency)} if part.rounding else {}),
        **({"tip": from_minor(part.tip, currency)} if part.tip else {}),
        **({"service_charge": from_minor(part.lines.untaxed_charge, currency)} if part.lines.untaxed_charge else {}),
        "discount": from_minor(part.lines.discount, currency), "tax": from_minor(part.lines.tax, currency),
        "total": from_minor(part.total, currency), "tenders": list(given),
    }  # fmt: skip
    return Document("return.completed.v1", part.source_id, data)


def _exchange(order: JSON, parts: Sequence[_Return], known: Known, currency: str) -> list[Item]:
    """An exchange with the first return; the others are documents of their own.

    What they are worth beyond the refunds of their own sales pays for the goods of the exchange: as store credit, given by
    the return and taken by the exchange.
    """
    lines = _sold(order, known, currency)
    rounding = _rounding(order)
    worth = lines.total + lines.untaxed_charge + minor(order.get("total_tip_money")) + rounding
    net = worth - _total(parts)
    _require(order, "lines sold less the returns", net, (order.get("net_amounts") or {}).get("total_money"), currency)
    if order.get("total_money") and minor(order["total_money"]) != net:
        _require_total(order, lines, minor(order.get("total_tip_money")), rounding, currency)
    refunds, others = _refunds(order, known), parts[1:]
    own = [refund for refund in refunds if refund.source in {part.original for part in others}]
    shares, left = tenders.shared(own, [(part.original, part.total) for part in others])
    left = [*left, *(refund for refund in refunds if refund not in own)]
    credit = _total(others) - sum(refund.amount for share in shares for refund in share)
    paid, change, sum_ = tenders.taken(order.get("tenders") or [], known.payments, currency)
    paid += [tenders.refund_tender(refund, currency, sign=-1) for refund in left]
    paid += _credit(order, credit, currency)
    sum_ += credit - sum(refund.amount for refund in left)
    total = worth - parts[0].total
    tenders.require_sum("tenders less change and refunds come to", sum_, total, currency, of=f"order {order['id']}")
    data = {
        **_head(order, known), **_exchanged(order, lines, parts[0], known, currency), "total": from_minor(total, currency),
        "tenders": paid, "change": from_minor(change, currency),
    }  # fmt: skip
    found: list[Item] = [Document("exchange.completed.v1", f"order:{order['id']}", data)]
    for part, share in zip(others, shares, strict=True):
        given = [tenders.refund_tender(refund, currency) for refund in share]
        given += _credit(order, part.total - sum(refund.amount for refund in share), currency)
        found.append(_return(order, part, given, known, currency, _closed(order)))
    return found


def _exchanged(order: JSON, lines: Lines, part: _Return, known: Known, currency: str) -> dict[str, Any]:
    """Goods, taxes, tip and service charge of an exchange: what was sold less what came back."""
    back = list(part.lines.lines)
    tip, charge = minor(order.get("total_tip_money")) - part.tip, lines.untaxed_charge - part.lines.untaxed_charge
    if charge < 0:  # an exchange only adds service charges; one that is given back is a sum among what comes back
        charge = lines.untaxed_charge
        given = part.lines.untaxed_charge
        back.append(charge_line("given-back", "Service charge", given, currency, kind="amount", sku=known.shelf.bare_sku))
    return {
        **({"original": {"id": part.original}} if part.original else {}),
        **_rounded(order, _rounding(order) - part.rounding, currency), "returned": back, "lines": list(lines.lines),
        **({"tip": from_minor(tip, currency)} if tip else {}),
        **({"service_charge": from_minor(charge, currency)} if charge else {}),
        "tax": from_minor(lines.tax - part.lines.tax, currency),
        "discount": from_minor(lines.discount - part.lines.discount, currency),
    }  # fmt: skip


def _credit(order: JSON, amount: int, currency: str) -> list[dict[str, Any]]:
    """What a return of one receipt pays towards the exchange of another; none if nothing."""
    credit = {"type": "store_credit", "amount": from_minor(amount, currency), "reference": str(order["id"])}
    return [credit] if amount else []


def _reversed(order: JSON, refund: JSON, known: Known, told_as: str) -> Iterable[Item]:
    """A refund that failed: if its return was told, its money was not given back; the return itself stands.

    ``told_as``: source id of the return. One that failed while it was pending was never told, and is no news.
    """
    record = known.refunds.get(str(refund["id"])) or {}
    currency = str(refund["amount_money"]["currency"])
    found = next(item for item in tenders.given_back({"refunds": [refund]}, known.sources, known.payments, known.refunds))
    occurred = str(record.get("updated_at") or refund.get("created_at") or _closed(order))
    reason = " ".join(filter(None, ("refund failed", str(refund.get("reason") or ""))))
    data = {
        "id": f"{found.id}:failed", "payment_id": found.payment_id or found.id, **_dated(order, known, occurred),
        "location": known.location(str(order["location_id"])), "amount": from_minor(found.amount, currency),
        "provider": "square", "fact": {"id": found.id}, "fact_type": "payment.refunded",
        "sale_return": {"id": str(order["id"])}, "reason": reason[:255],
    }  # fmt: skip
    yield Document("payment.reversed.v1", f"refund:{found.id}:failed", data, follows=told_as)


# -- shared -----------------------------------------------------------------------------------------------------------


def _closed(order: JSON) -> str:
    """When the transaction happened: never the time of a later change."""
    return str(order.get("closed_at") or order["created_at"])


def _dated(order: JSON, known: Known, occurred: str) -> dict[str, str]:
    return {"occurred_at": occurred, "business_date": known.business_date(occurred, str(order["location_id"]))}


def _head(order: JSON, known: Known) -> dict[str, Any]:
    customer = {"customer": {"id": order["customer_id"]}} if order.get("customer_id") else {}
    return {
        "id": order["id"], "number": str(order.get("ticket_name") or order.get("reference_id") or order["id"])[:64],
        "location": known.location(str(order["location_id"])), **_dated(order, known, _closed(order)), **customer,
    }  # fmt: skip


def _rounding(holder: JSON) -> int:
    return minor((holder.get("rounding_adjustment") or {}).get("amount_money"))


def _rounded(order: JSON, rounding: int, currency: str) -> dict[str, Any]:
    return {"rounding": from_minor(rounding, currency)} if rounding or order.get("rounding_adjustment") else {}


def currency_of(order: JSON) -> str:
    """The currency of an order."""
    for name in ("total_money", "net_amount_due_money"):
        if order.get(name):
            return str(order[name]["currency"])
    return str(order["net_amounts"]["total_money"]["currency"])
