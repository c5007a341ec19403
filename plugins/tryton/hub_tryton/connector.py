"""Canonical → Tryton: a posted customer invoice and the journal entry that pays it, per tender.

A write is create, post, pay, reconcile. It looks before each of them and goes on from what it finds, so it may run again from
its start at any time; a draft that it finds is made anew, for settings may have changed since. Returns and voids are invoices
with negative quantities, as Tryton writes credit notes. `mapping` plans the amounts; here are the requests.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hub.sdk import (
    UNREADABLE,
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
from hub_tryton import mapping, products
from hub_tryton.mapping import Account, Booking, Item
from hub_tryton.rpc import Json, Rpc

JSON = Mapping[str, Any]
_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """An account in Tryton."""

    id: int
    is_revenue: bool
    needs_party: bool


@dataclass(frozen=True, kw_only=True)
class _Records:
    """The records that are written; no entry where no money moves."""

    invoice: Json
    entry: Json | None


class Tryton(Connector):
    """The books of one company on one Tryton server."""

    manifest = load_manifest("hub_tryton")

    def __init__(self, settings: JSON) -> None:
        super().__init__(settings)
        self._rpc = Rpc(str(self.settings["database"]), int(self.settings["company"]))
        self._known: dict[str, Any] = {}  # accounts, party, journals: looked up once; they do not change under us

    def write_sale_completed(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, mapping.sale))

    def write_return_completed(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, mapping.returned))

    def write_exchange_completed(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, mapping.exchange))

    def write_sale_voided(self, document: JSON, key: str) -> Steps[Written]:
        return (yield from self._book(document, key, mapping.void))

    def find_sale_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key))

    def find_return_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key))

    def find_exchange_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key))

    def find_sale_voided(self, document: JSON, key: str) -> Steps[str | None]:
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
        except UNREADABLE as error:
            raise ConnectorError(f"the answer is not as documented: {error!r}", code="unreadable_answer") from error

    def to_canonical(self, object_name: str, record: JSON) -> Iterable[Document]:
        try:
            return [products.document(record, str(self.settings["currency"]))]
        except UNREADABLE as error:
            said = f"the record is not as it was read ({type(error).__name__}: {str(error)[:200]})"
            raise UntranslatableError(said, code="malformed_record") from error

    def _find(self, key: str) -> Steps[str | None]:
        """The invoice if everything is done; a half-done one is left to the write, which goes on from there."""
        invoice = yield from self._invoice(key)
        return f"account.invoice,{invoice['id']}" if invoice is not None and invoice["state"] == "paid" else None

    def _invoice(self, key: str) -> Steps[Json | None]:
        """The invoice under our key; of several, one that is no draft."""
        found = yield from self._invoices(key)
        return next((row for row in found if row["state"] != "draft"), found[0] if found else None)

    def _invoices(self, key: str) -> Steps[list[Json]]:
        fields = ["number", "state", "total_amount"]
        return (yield from self._rpc.search("account.invoice", [["reference", "=", key]], fields))

    def _book(self, document: JSON, key: str, plan: Callable[[JSON, JSON, Decimal], Booking]) -> Steps[Written]:
        """Create and post the invoice, post the journal entry, match the two. All that may be refused is asked for first."""
        if document["total"]["currency"] != self.settings["currency"]:
            raise RejectedByTargetError(
                f"the company keeps its books in {self.settings['currency']}, not {document['total']['currency']}",
                code="currency_refused", field="/total/currency", remedy="Route other currencies to another connection.",
            )  # fmt: skip
        currency = yield from self._currency()
        booking = plan(document, self.settings["accounts"], currency["rounding"])
        records = yield from self._records(document, key, booking, currency)
        invoice = yield from self._draft(key, records.invoice, booking.total)
        if invoice["state"] == "draft":
            yield from self._rpc.call("account.invoice", "post", [invoice["id"]], effect=True)
        move = (yield from self._pay(records.entry)) if records.entry else None
        yield from self._reconcile(invoice["id"], move)
        done = yield from self._invoice(key)
        number = done["number"] if done else None
        return Written(f"account.invoice,{invoice['id']}", {"number": number})

    def _draft(self, key: str, values: Json, total: Decimal) -> Steps[Json]:
        """The invoice under our key: one that is posted, or a new draft in place of those that earlier attempts left."""
        found = yield from self._invoices(key)
        if drafts := [row["id"] for row in found if row["state"] == "draft"]:
            yield from self._rpc.call("account.invoice", "delete", drafts, effect=True)
        invoice = next((row for row in found if row["state"] != "draft"), None)
        if invoice is None:
            yield from self._rpc.create("account.invoice", values)
            invoice = yield from self._invoice(key)
            if invoice is None:
                raise RejectedByTargetError("the invoice just created cannot be found", code="target_fault")
        if invoice["total_amount"] != total:
            if invoice["state"] == "draft":
                yield from self._rpc.call("account.invoice", "delete", [invoice["id"]], effect=True)
            raise RejectedByTargetError(
                f"Tryton computes {invoice['total_amount']} where the till says {total}", code="total_mismatch",
                field="/total", value=str(total),
                remedy=f"Look for an invoice with reference {key} and for a module that changes amounts, then replay.",
            )  # fmt: skip
        return invoice

    # -- the records that are written ---------------------------------------------------------------------------

    def _records(self, document: JSON, key: str, booking: Booking, currency: Json) -> Steps[_Records]:
        """Invoice and journal entry. An invoice takes only revenue accounts: what belongs elsewhere moves on in the entry."""
        products = yield from self._products(document, booking.items)
        revenue = yield from self._account(Account(names=("revenue",), field=""))
        lines: list[Json] = []
        moved: dict[int, tuple[_Known, Decimal]] = {}
        for item in booking.items:
            account = yield from self._account(item.account)
            lines.append(_line(item, account if account.is_revenue else revenue, products))
            if not account.is_revenue:
                value = mapping.computed(item.quantity, item.unit_price, currency["rounding"])
                before = moved.get(account.id, (account, _ZERO))[1]
                moved[account.id] = (account, before + value)
        party, address = yield from self._party()
        receivable = yield from self._account(Account(names=("receivable",), field=""))
        entry: list[Json] = []
        for leg in booking.legs:
            account = yield from self._account(leg.account)
            if account.id == receivable.id:
                raise RejectedByTargetError(
                    f"settings.accounts.{leg.account.names[0]} is the receivable account, which the payment settles",
                    code="account_refused", field=leg.account.field, value=leg.account.names[0],
                    remedy="Give the tender an account of its own in the connection, apply, then replay.",
                )  # fmt: skip
            entry.append(_entry(account, leg.amount, party))
        if paid := sum((leg.amount for leg in booking.legs), _ZERO):  # one line: Tryton takes only the side that pays
            entry.append(_entry(receivable, -paid, party))
        for account, value in moved.values():
            if value:
                entry += [_entry(revenue, value, party), _entry(account, -value, party)]
        tax_account = (yield from self._account(Account(names=("tax",), field="/tax"))).id if booking.taxes else 0
        taxes = [
            {"description": tax.description, "base": tax.base, "amount": tax.amount, "manual": True, "account": tax_account}
            for tax in booking.taxes
        ]
        journal = yield from self._first("account.journal", [["type", "=", "revenue"]], "a revenue journal")
        invoice = {
            "type": "out", "company": int(self.settings["company"]), "party": party, "invoice_address": address,
            "currency": currency["id"], "journal": journal, "account": receivable.id, "reference": key,
            # No invoice_date: Tryton numbers in date order and refuses a late sale's; it dates the invoice when it posts.
            "accounting_date": date.fromisoformat(document["business_date"]),
            "description": f"{document['location']['code']} {document.get('number', document['id'])}",
            "lines": [["create", lines]], **({"taxes": [["create", taxes]]} if taxes else {}),
            **document.get("extensions", {}).get("target", {}),
        }  # fmt: skip
        return _Records(invoice=invoice, entry=(yield from self._entry_values(document, key, entry)) if entry else None)

    def _entry_values(self, document: JSON, key: str, lines: list[Json]) -> Steps[Json]:
        """The journal entry; its period must be there."""
        day = date.fromisoformat(document["business_date"])
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
            "description": f"{key} tenders", "lines": [["create", lines]],
        }  # fmt: skip

    # -- the payment --------------------------------------------------------------------------------------------

    def _pay(self, entry: Json) -> Steps[int]:
        """Post the journal entry; drafts of earlier attempts are made anew."""
        moves = yield from self._rpc.search("account.move", [["description", "=", entry["description"]]], ["state"])
        if posted := next((int(row["id"]) for row in moves if row["state"] == "posted"), None):
            return posted
        if moves:
            yield from self._rpc.call("account.move", "delete", [row["id"] for row in moves], effect=True)
        move = yield from self._rpc.create("account.move", entry)
        yield from self._rpc.call("account.move", "post", [move], effect=True)
        return move

    def _reconcile(self, invoice_id: int, move_id: int | None) -> Steps[None]:
        """Match the payment to the invoice; Tryton then marks it paid. An invoice over nothing is matched with itself."""
        fields = ["state", "lines_to_pay", "payment_lines"]
        invoice = (yield from self._rpc.search("account.invoice", [["id", "=", invoice_id]], fields))[0]
        if invoice["state"] == "paid":
            return
        receivable = yield from self._account(Account(names=("receivable",), field=""))
        domain = [["move", "=", move_id], ["account", "=", receivable.id]]
        found = (yield from self._rpc.search("account.move.line", domain, ["id"])) if move_id is not None else []
        lines = [line["id"] for line in found]
        if missing := [line for line in lines if line not in invoice["payment_lines"]]:
            linked = {"payment_lines": [["add", missing]]}
            yield from self._rpc.call("account.invoice", "write", [invoice_id], linked, effect=True)
        if not (lines := [*invoice["lines_to_pay"], *lines]):
            return
        matched = {"company": int(self.settings["company"]), "lines": [["add", lines]]}
        yield from self._rpc.create("account.move.reconciliation", {**matched, "date": datetime.now(UTC).date()})

    # -- look-ups, kept for the life of the connection ----------------------------------------------------------

    def _account(self, wanted: Account) -> Steps[_Known]:
        """The account of the first setting that is there; raises `unknown_account` naming the setting."""
        settings = self.settings["accounts"]
        name = next((name for name in wanted.names if settings.get(name) is not None), None)
        if name is None:
            first = wanted.names[0]
            raise RejectedByTargetError(
                f"no account is set for {first}", code="unknown_account", field=wanted.field, value=first,
                remedy=f"Add settings.accounts.{first} to the connection, apply, then replay.",
            )  # fmt: skip
        known = f"account {settings[name]}"
        if known not in self._known:
            domain, fields = [["code", "=", str(settings[name])]], ["type.revenue", "party_required"]
            found = yield from self._rpc.search("account.account", domain, fields, 1)
            if not found:
                raise RejectedByTargetError(
                    f"Tryton has no account {settings[name]}", code="not_configured", field=wanted.field,
                    value=str(settings[name]), remedy=f"Create it in Tryton, or correct settings.accounts.{name}, then replay.",
                )  # fmt: skip
            kind = found[0].get("type.") or {}
            self._known[known] = _Known(
                id=int(found[0]["id"]), is_revenue=bool(kind.get("revenue")), needs_party=bool(found[0].get("party_required"))
            )
        account: _Known = self._known[known]
        return account

    def _currency(self) -> Steps[Json]:
        if "currency" not in self._known:
            code = self.settings["currency"]
            found = yield from self._rpc.search("currency.currency", [["code", "=", code]], ["rounding"], 1)
            if not found:
                raise RejectedByTargetError(
                    f"Tryton has no currency {code}", code="not_configured",
                    remedy="Create the currency in Tryton (or correct the connection's settings), then replay.",
                )  # fmt: skip
            self._known["currency"] = found[0]
        currency: Json = self._known["currency"]
        return currency

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

    def _products(self, document: JSON, items: Sequence[Item]) -> Steps[dict[str, Json]]:
        """SKU → product, for the lines that may name one; raises `unknown_sku` naming the first article that has none."""
        wanted = sorted({item.product for item in items if item.product is not None})
        if not wanted:
            return {}
        fields = ["code", "default_uom", "default_uom.digits"]
        found = yield from self._rpc.search("product.product", [["code", "in", wanted]], fields)
        known = {row["code"]: row for row in found}
        articles = {item.product for item in items if item.is_article}
        for name in ("lines", "returned"):
            for index, line in enumerate(document.get(name, ())):
                if line["sku"] in articles and line["sku"] not in known:
                    raise RejectedByTargetError(
                        f"Tryton has no product with code {line['sku']!r}", code="unknown_sku",
                        field=f"/{name}/{index}/sku", value=line["sku"],
                        remedy=f"Create a product with code {line['sku']} in Tryton (or correct the SKU), then replay.",
                    )  # fmt: skip
        return known if self.settings["link_products"] else {}


def _line(item: Item, account: _Known, products: Mapping[str, Json]) -> Json:
    """Make an invoice line; it names no product whose unit has fewer decimal places than the quantity (Tryton refuses that)."""
    product = products.get(item.product or "")
    places = (product.get("default_uom.") or {}).get("digits") if product else None
    if product and places is not None and item.quantity != round(item.quantity, places):
        product = None
    return {
        "type": "line", "account": account.id, "description": item.description,
        **({"product": product["id"], "unit": product["default_uom"]} if product else {}),
        "quantity": number(item.quantity), "unit_price": item.unit_price,
    }  # fmt: skip


def _entry(account: _Known, amount: Decimal, party: int) -> Json:
    """A move line: positive amounts are debits."""
    line = {"account": account.id, "debit": max(amount, _ZERO), "credit": max(-amount, _ZERO)}
    return {**line, "party": party} if account.needs_party else line
