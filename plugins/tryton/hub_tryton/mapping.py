"""Plan the booking of a canonical document: invoice lines, taxes and what the payment's journal entry holds.

Amounts and taxes are the document's; Tryton computes quantity x unit price per line, so a line that would come out
differently is followed by one with the difference. Pure: no requests, no ids.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from hub.sdk import RejectedByTargetError

JSON = Mapping[str, Any]
_ZERO = Decimal(0)
#: Decimal places of an invoice line's unit price (trytond_product, `price_digits`).
_PRICE = Decimal("0.0001")
#: Kind of line → settings under `accounts`, the first that is set; only kinds that are revenue fall back to revenue.
LINE_ACCOUNTS = {
    "goods": ("revenue",),
    "service": ("service", "revenue"),
    "amount": ("amount", "revenue"),
    "service_charge": ("service_charge", "revenue"),
    "delivery": ("delivery", "service_charge", "revenue"),
    "fee": ("fee", "service_charge", "revenue"),
    "gift_card": ("gift_card_liability",),
    "deposit": ("deposit",),
    "donation": ("donation",),
    "duty": ("duty",),
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """The settings that may name an account, in order, and the field of the document that needs it."""

    names: tuple[str, ...]
    field: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One invoice line; ``product`` is the SKU it may be linked to, which must exist if ``is_article``."""

    description: str
    account: Account
    quantity: Decimal
    unit_price: Decimal
    product: str | None = None
    is_article: bool = False


@dataclass(frozen=True, kw_only=True)
class Tax:
    """One tax of the invoice, as the till computed it."""

    description: str
    base: Decimal
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Leg:
    """An amount that the journal entry debits to an account (negative: credits); their sum is the receivable's."""

    account: Account
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Booking:
    """Everything that is written of one document; amounts are signed as the customer owes them."""

    total: Decimal
    items: tuple[Item, ...]
    taxes: tuple[Tax, ...]
    legs: tuple[Leg, ...]


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A document's line with its direction (1: sold, -1: came back) and place."""

    line: JSON
    kind: str
    direction: int
    pointer: str


def sale(document: JSON, accounts: JSON, rounding: Decimal) -> Booking:
    """Plan a sale."""
    return _booking(document, list(_lines(document, "lines", 1)), accounts, rounding, 1)


def returned(document: JSON, accounts: JSON, rounding: Decimal) -> Booking:
    """Plan a return: negative quantities; fees that the shop keeps are positive."""
    lines = [*_lines(document, "lines", -1), *_lines(document, "fees", 1, "fee")]
    return _booking(document, lines, accounts, rounding, -1)


def exchange(document: JSON, accounts: JSON, rounding: Decimal) -> Booking:
    """Plan an exchange."""
    lines = [*_lines(document, "lines", 1), *_lines(document, "returned", -1)]
    return _booking(document, lines, accounts, rounding, 1)


def void(document: JSON, accounts: JSON, rounding: Decimal) -> Booking:
    """Plan a void: its sale's lines and tenders, negative.

    Raises RejectedByTargetError if the void does not say how the money was given back, or what its total is made of.
    """
    remedy = f"Credit the invoice of sale {document['original']['id']} in Tryton by hand, then discard this document."
    if not document.get("tenders") and amount(document["total"]):
        raise RejectedByTargetError(
            "the void does not name the sale's tenders, so no account is known that gives the money back",
            code="void_without_tenders", field="/tenders", remedy=remedy,
        )  # fmt: skip
    tips = sum((amount(tender.get("tip")) for tender in document.get("tenders", ())), _ZERO)
    beside = amount(document["total"]) - sum((amount(line["total"]) for line in document["lines"]), _ZERO)
    if beside not in (_ZERO, tips):
        raise RejectedByTargetError(
            f"the void's total has {beside} beside its lines and the tenders' tips ({tips}) do not explain it",
            code="void_unexplained", field="/total", value=str(beside), remedy=remedy,
        )  # fmt: skip
    whole = {**document, "tenders": document.get("tenders", ())}
    if beside:
        whole["tip"] = {**document["total"], "amount": str(beside)}
    return _booking(whole, list(_lines(document, "lines", -1)), accounts, rounding, -1)


def amount(value: Mapping[str, str] | None) -> Decimal:
    """The amount of a money object; none is zero."""
    return Decimal(value["amount"]) if value else _ZERO


def computed(quantity: Decimal, unit_price: Decimal, rounding: Decimal) -> Decimal:
    """What Tryton makes of a line: the quantity is a float there, the result is rounded half to even."""
    exact = Decimal(str(float(quantity))) * unit_price
    return (exact / rounding).quantize(Decimal(1), ROUND_HALF_EVEN) * rounding


def _booking(document: JSON, lines: list[_Line], accounts: JSON, rounding: Decimal, sign: int) -> Booking:
    items = [item for line in lines for item in _items(line, rounding)]
    for name, names in (("tip", ("tip",)), ("service_charge", LINE_ACCOUNTS["service_charge"]), ("rounding", ("rounding",))):
        if value := sign * amount(document.get(name)):
            words = name.replace("_", " ").capitalize()
            items.append(_single(words, Account(names=names, field=f"/{name}"), value))
    return Booking(
        total=sign * amount(document["total"]), items=tuple(items), taxes=tuple(_taxes(lines)),
        legs=tuple(_legs(document, accounts, sign)),
    )  # fmt: skip


def _lines(document: JSON, name: str, direction: int, kind: str = "goods") -> Iterator[_Line]:
    for index, line in enumerate(document.get(name, ())):
        yield _Line(line=line, kind=line.get("kind", kind), direction=direction, pointer=f"/{name}/{index}")


def _included(line: JSON) -> Decimal:
    return sum((amount(tax["amount"]) for tax in line.get("taxes", ()) if tax.get("included")), _ZERO)


def _items(line: _Line, rounding: Decimal) -> Iterator[Item]:
    """A line without its taxes: the article, its discount, and what Tryton's rounding leaves of the line's own amount."""
    told, sku = line.line, line.line["sku"]
    account = Account(names=LINE_ACCOUNTS[line.kind], field=f"{line.pointer}/kind")
    quantity = line.direction * Decimal(told["quantity"])
    net = amount(told["gross"]) - _included(told)
    price = amount(told["unit_price"])
    if net != amount(told["gross"]) or price != price.quantize(_PRICE):
        price = (net / Decimal(told["quantity"])).quantize(_PRICE)
    yield Item(
        description=str(told.get("description", sku)), account=account, quantity=quantity, unit_price=price,
        product=sku if line.kind in ("goods", "service") else None, is_article=line.kind == "goods",
    )  # fmt: skip
    if left := line.direction * net - computed(quantity, price, rounding):
        yield _single(f"Rounding of {sku}", account, left)
    if off := amount(told.get("discount")):
        yield _single(f"Discount on {sku}", account, -line.direction * off)


def _single(description: str, account: Account, value: Decimal) -> Item:
    return Item(description=description, account=account, quantity=Decimal(1), unit_price=value)


def _taxes(lines: Iterable[_Line]) -> Iterator[Tax]:
    """The taxes by name, rate, code and authority; a tax's own base goes before the line's price without taxes."""
    sums: dict[tuple[str, str, str, str], tuple[str, Decimal, Decimal]] = {}
    for line in lines:
        net = amount(line.line["gross"]) - amount(line.line.get("discount")) - _included(line.line)
        for tax in line.line.get("taxes", ()):
            rate = f"{tax['rate']}%" if "per_unit" not in tax else f"{tax['per_unit']['amount']} per unit"
            key = (tax["name"], rate, tax.get("code", ""), tax.get("jurisdiction", ""))
            base = amount(tax["base"]) if "base" in tax else net
            words = " ".join(filter(None, (tax["name"], rate, tax.get("jurisdiction"))))
            _, based, taxed = sums.get(key, (words, _ZERO, _ZERO))
            sums[key] = (words, based + line.direction * base, taxed + line.direction * amount(tax["amount"]))
    for words, based, taxed in sums.values():
        yield Tax(description=words, base=based, amount=taxed)


def _legs(document: JSON, accounts: JSON, sign: int) -> Iterator[Leg]:
    """Tenders by account (change is taken off the cash) and the exchange difference."""
    sums: dict[str, tuple[str, Decimal]] = {}
    for index, tender in enumerate(document["tenders"]):
        name = _tender_account(tender, accounts)
        field, before = sums.get(name, (f"/tenders/{index}/type", _ZERO))
        sums[name] = (field, before + sign * amount(tender["amount"]))
    if change := sign * amount(document.get("change")):
        cash = next((_tender_account(item, accounts) for item in document["tenders"] if item["type"] == "cash"), "cash")
        field, before = sums.get(cash, ("/change", _ZERO))
        sums[cash] = (field, before - change)
    if difference := sign * amount(document.get("exchange_difference")):
        sums["exchange_difference"] = ("/exchange_difference", -difference)
    for name, (field, value) in sums.items():
        if value:
            yield Leg(account=Account(names=(name,), field=field), amount=value)


def _tender_account(tender: JSON, accounts: JSON) -> str:
    """The setting of a tender: `type/provider` where that is set, else `type`."""
    exact = f"{tender['type']}/{tender.get('provider', '')}"
    return exact if exact in accounts else str(tender["type"])
