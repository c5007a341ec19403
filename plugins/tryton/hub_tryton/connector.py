"""Canonical → Tryton: a posted customer invoice and the journal entry that pays it, per tender.

A write is create, post, pay, reconcile. It looks before each of them and goes on from what it finds, so it may run again from
its start at any time. Returns are invoices with negative quantities, as Tryton writes credit notes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hub.sdk import (
    AccountField,
    Connector,
    ConnectorError,
    Document,
    Page,
    RejectedByTargetError,
    Steps,
    UntranslatableError,
    Written,
    load_manifest,
    number,
)
from hub_tryton import products
from hub_tryton.rpc import Json, Rpc

JSON = Mapping[str, Any]
_ZERO = Decimal(0)
#: What reading a body raises that is not as documented.
_MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)


class Tryton(Connector):
    """The books of one company on one Tryton server."""

    manifest = load_manifest("hub_tryton")

    def __init__(self, settings: JSON) -> None:
        super().__init__(settings)
        self._rpc = Rpc(str(self.settings["database"]), int(self.settings["company"]))
        self._known: dict[str, Any] = {}  # accounts, party, journals: looked up once; they do not change under us

    def write_sale_completed(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, sold=document["lines"], returned=(), sign=1))

    def write_return_completed(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, sold=(), returned=document["lines"], sign=-1))

    def write_exchange_completed(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, sold=document["lines"], returned=document["returned"], sign=1))

    def find_sale_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key))

    def find_return_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key))

    def find_exchange_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key))

    def describe(self) -> Steps[Sequence[AccountField]]:
        """The fields of the objects that are written, custom ones too (source: trytond/model/model.py, fields_get)."""
        found = []
        for model in ("account.invoice", "account.move"):
            fields: Json = yield from self._rpc.call(model, "fields_get", None, effect=False)
            for name, field in fields.items():
                custom = name.startswith("x_")
                found.append(AccountField(model, name, str(field.get("type", "")), str(field.get("string", "")),
                                          bool(field.get("required")), custom))  # fmt: skip
        return [*found, *(yield from products.describe(self._rpc))]

    def read(self, object_name: str, cursor: JSON) -> Steps[Page]:
        limit = self.manifest.objects[object_name]["read"]["paging"]["limit"]
        try:
            return (yield from products.read(self._rpc, cursor, limit, self.settings["product_fields"]))
        except _MALFORMED as error:
            raise ConnectorError(f"the answer is not as documented: {error!r}", code="unreadable_answer") from error

    def to_canonical(self, object_name: str, record: JSON) -> Iterable[Document]:
        try:
            return [products.document(record, str(self.settings["currency"]))]
        except _MALFORMED as error:
            said = f"the record is not as it was read ({type(error).__name__}: {str(error)[:200]})"
            raise UntranslatableError(said, code="malformed_record") from error

    def _find(self, key: str) -> Steps[str | None]:
        """The invoice if everything is done; a half-done one is left to the write, which goes on from there."""
        invoice = yield from self._invoice(key)
        even = invoice is not None and invoice["state"] == "posted" and invoice["total_amount"] == _ZERO
        if invoice is None or not (invoice["state"] == "paid" or even):
            return None
        return f"account.invoice,{invoice['id']}"

    def _invoice(self, key: str) -> Steps[Json | None]:
        fields = ["number", "state", "total_amount"]
        found = yield from self._rpc.search("account.invoice", [["reference", "=", key]], fields)
        return found[0] if found else None

    def _book(self, document: JSON, key: str, sold: Iterable[JSON], returned: Iterable[JSON], sign: int) -> Steps[Written]:
        invoice = yield from self._invoice(key)
        total = sign * _amount(document["total"])
        if invoice is None:
            values = yield from self._values(document, key, list(sold), list(returned), sign)
            yield from self._rpc.create("account.invoice", values)
            invoice = yield from self._invoice(key)
            if invoice is None:
                raise RejectedByTargetError("the invoice just created cannot be found", code="target_fault")
        if invoice["total_amount"] != total:
            raise RejectedByTargetError(
                f"Tryton computes {invoice['total_amount']} where the till says {total}", code="total_mismatch",
                field="/total", value=str(total),
                remedy=f"Compare draft invoice {invoice['id']} (reference {key}) with the document; delete it, then replay.",
            )  # fmt: skip
        if invoice["state"] == "draft":
            yield from self._rpc.call("account.invoice", "post", [invoice["id"]], effect=True)
        yield from self._pay(document, key, invoice, sign)
        done = yield from self._invoice(key)
        number = done["number"] if done else None
        return Written(f"account.invoice,{invoice['id']}", {"number": number})

    # -- the invoice --------------------------------------------------------------------------------------------

    def _values(self, document: JSON, key: str, sold: list[JSON], returned: list[JSON], sign: int) -> Steps[Json]:
        if document["total"]["currency"] != self.settings["currency"]:
            raise RejectedByTargetError(
                f"the company keeps its books in {self.settings['currency']}, not {document['total']['currency']}",
                code="currency_refused", field="/total/currency", remedy="Route other currencies to another connection.",
            )  # fmt: skip
        products = yield from self._products(document, [line["sku"] for line in (*sold, *returned)])
        party, address = yield from self._party()
        revenue = yield from self._account("revenue")
        receivable = yield from self._account("receivable")
        lines: list[Json] = []
        for items, direction in ((sold, 1), (returned, -1)):
            for line in items:
                product, unit = products[line["sku"]]
                lines.append({
                    "type": "line", "account": revenue,
                    **({"product": product, "unit": unit} if self.settings["link_products"] else {}),
                    "description": str(line.get("description", line["sku"])),
                    "quantity": number(direction * Decimal(line["quantity"])), "unit_price": _net_price(line),
                })  # fmt: skip
                if off := _amount(line.get("discount")):
                    lines.append(_extra(f"Discount on {line['sku']}", revenue, -direction * off))
        for name in ("tip", "service_charge", "rounding"):
            if value := sign * _amount(document.get(name)):
                lines.append(_extra(name.replace("_", " ").capitalize(), (yield from self._account(name)), value))
        tax_account = yield from self._account("tax")
        taxes = [
            {"description": f"{name} {rate}%", "base": base, "amount": amount, "manual": True, "account": tax_account}
            for (name, rate), (base, amount) in _taxes(sold, returned).items()
        ]
        day = date.fromisoformat(document["business_date"])
        journal = yield from self._first("account.journal", [["type", "=", "revenue"]], "a revenue journal")
        currency = yield from self._first("currency.currency", [["code", "=", self.settings["currency"]]], "the currency")
        named = f"{document['location']['code']} {document['number']}"
        return {
            "type": "out", "company": int(self.settings["company"]), "party": party, "invoice_address": address,
            "currency": currency, "journal": journal, "account": receivable, "reference": key,
            # No invoice_date: Tryton numbers in date order and refuses a late sale's; it dates the invoice when it posts.
            "accounting_date": day, "description": named, "lines": [["create", lines]],
            **({"taxes": [["create", taxes]]} if taxes else {}),
            **document.get("extensions", {}).get("target", {}),
        }  # fmt: skip

    # -- the payment --------------------------------------------------------------------------------------------

    def _pay(self, document: JSON, key: str, invoice: Json, sign: int) -> Steps[None]:
        """One journal entry: each tender's account against the receivable; then it is matched to the invoice."""
        paid = _tendered(document, sign)
        if not paid:
            return
        description = f"{key} tenders"
        fields = ["state"]
        moves = yield from self._rpc.search("account.move", [["description", "=", description]], fields)
        if not moves:
            values = yield from self._payment(document, description, paid)
            moves = [{"id": (yield from self._rpc.create("account.move", values)), "state": "draft"}]
        move = moves[0]
        if move["state"] != "posted":
            yield from self._rpc.call("account.move", "post", [move["id"]], effect=True)
        yield from self._reconcile(invoice["id"], move["id"])

    def _reconcile(self, invoice_id: int, move_id: int) -> Steps[None]:
        """Match the payment to the invoice; Tryton then marks it paid."""
        fields = ["state", "lines_to_pay", "payment_lines"]
        invoice = (yield from self._rpc.search("account.invoice", [["id", "=", invoice_id]], fields))[0]
        if invoice["state"] == "paid":
            return
        receivable = yield from self._account("receivable")
        domain = [["move", "=", move_id], ["account", "=", receivable]]
        lines = [line["id"] for line in (yield from self._rpc.search("account.move.line", domain, ["id"]))]
        if missing := [line for line in lines if line not in invoice["payment_lines"]]:
            linked = {"payment_lines": [["add", missing]]}
            yield from self._rpc.call("account.invoice", "write", [invoice_id], linked, effect=True)
        matched = {"company": int(self.settings["company"]), "lines": [["add", [*invoice["lines_to_pay"], *lines]]]}
        yield from self._rpc.create("account.move.reconciliation", {**matched, "date": datetime.now(UTC).date()})

    def _payment(self, document: JSON, description: str, paid: Mapping[str, Decimal]) -> Steps[Json]:
        day = date.fromisoformat(document["business_date"])
        party, _ = yield from self._party()
        receivable = yield from self._account("receivable")
        lines = []
        for tender, amount in paid.items():
            account = yield from self._account(tender)
            lines.append(_entry(account, amount))
            lines.append({**_entry(receivable, -amount), "party": party})
        journal = yield from self._first("account.journal", [["type", "=", "cash"]], "a cash journal")
        domain = [["start_date", "<=", day], ["end_date", ">=", day], ["type", "=", "standard"]]
        periods = yield from self._rpc.search("account.period", domain, ["state"])
        if not periods:
            raise RejectedByTargetError(
                f"Tryton has no period for business date {day}", code="no_period", field="/business_date",
                remedy="Create the fiscal year's periods in Tryton, then replay.",
            )  # fmt: skip
        return {
            "company": int(self.settings["company"]), "journal": journal, "period": periods[0]["id"], "date": day,
            "description": description, "lines": [["create", lines]],
        }  # fmt: skip

    # -- look-ups, kept for the life of the connection ----------------------------------------------------------

    def _account(self, name: str) -> Steps[int]:
        code = self.settings["accounts"].get(name)
        if code is None:
            raise RejectedByTargetError(
                f"no account is set for {name}", code="unknown_account", value=name,
                remedy=f"Add settings.accounts.{name} to the connection, apply, then replay.",
            )  # fmt: skip
        return (yield from self._first("account.account", [["code", "=", str(code)]], f"account {code}"))

    def _party(self) -> Steps[tuple[int, int]]:
        if "party" not in self._known:
            found = yield from self._rpc.search("party.party", [["name", "=", self.settings["party"]]], ["addresses"])
            if not found or not found[0]["addresses"]:
                raise RejectedByTargetError(
                    f"Tryton has no party {self.settings['party']!r} with an address", code="unknown_party",
                    remedy="Create it (with an address) in Tryton, then replay.",
                )  # fmt: skip
            self._known["party"] = (found[0]["id"], found[0]["addresses"][0])
        party: tuple[int, int] = self._known["party"]
        return party

    def _first(self, model: str, domain: list[Any], what: str) -> Steps[int]:
        known = f"{model} {domain}"
        if known not in self._known:
            found = yield from self._rpc.search(model, domain, ["id"], 1)
            if not found:
                raise RejectedByTargetError(
                    f"Tryton has no {what.removeprefix('a ')}", code="not_configured",
                    remedy=f"Create {what} in Tryton (or correct the connection's settings), then replay.",
                )  # fmt: skip
            self._known[known] = found[0]["id"]
        return int(self._known[known])

    def _products(self, document: JSON, skus: list[str]) -> Steps[dict[str, tuple[int, int]]]:
        """SKU → (product, unit); raises `unknown_sku` naming the first line that has none."""
        fields = ["code", "default_uom"]
        found = yield from self._rpc.search("product.product", [["code", "in", sorted(set(skus))]], fields)
        known = {row["code"]: (row["id"], row["default_uom"]) for row in found}
        for name in ("lines", "returned"):
            for index, line in enumerate(document.get(name, ())):
                if line["sku"] not in known:
                    raise RejectedByTargetError(
                        f"Tryton has no product with code {line['sku']!r}", code="unknown_sku",
                        field=f"/{name}/{index}/sku", value=line["sku"],
                        remedy=f"Create a product with code {line['sku']} in Tryton (or correct the SKU), then replay.",
                    )  # fmt: skip
        return known


def _amount(value: Mapping[str, str] | None) -> Decimal:
    return Decimal(value["amount"]) if value else _ZERO


def _included(line: JSON) -> Decimal:
    return sum((_amount(tax["amount"]) for tax in line.get("taxes", ()) if tax.get("included")), _ZERO)


def _net_price(line: JSON) -> Decimal:
    """Unit price without included taxes, at Tryton's four decimals."""
    included = _included(line)
    if not included:
        return _amount(line["unit_price"])
    return ((_amount(line["gross"]) - included) / Decimal(line["quantity"])).quantize(Decimal("0.0001"))


def _extra(description: str, account: int, amount: Decimal) -> Json:
    return {"type": "line", "description": description, "account": account, "quantity": number(1), "unit_price": amount}


def _entry(account: int, amount: Decimal) -> Json:
    """A move line: positive amounts are debits."""
    return {"account": account, "debit": max(amount, _ZERO), "credit": max(-amount, _ZERO)}


def _taxes(sold: list[JSON], returned: list[JSON]) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """(name, rate) → (base, amount), as the till computed them: the ERP must not compute them anew."""
    sums: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for items, direction in ((sold, 1), (returned, -1)):
        for line in items:
            base = direction * (_amount(line["gross"]) - _amount(line.get("discount")) - _included(line))
            for tax in line.get("taxes", ()):
                before = sums.get((tax["name"], tax["rate"]), (_ZERO, _ZERO))
                amount = direction * _amount(tax["amount"])
                sums[tax["name"], tax["rate"]] = (before[0] + base, before[1] + amount)
    return sums


def _tendered(document: JSON, sign: int) -> dict[str, Decimal]:
    """Tender type → what came in (out is negative); change is taken off the cash."""
    sums: dict[str, Decimal] = {}
    for tender in document["tenders"]:
        sums[tender["type"]] = sums.get(tender["type"], _ZERO) + sign * _amount(tender["amount"])
    if change := _amount(document.get("change")):
        sums["cash"] = sums.get("cash", _ZERO) - change
    return {tender: amount for tender, amount in sums.items() if amount}
