"""A stateful Tryton: JSON-RPC over the models this connector needs, a small ORM below. Written from trytond's
protocols/jsonrpc.py and from the answers of a real Tryton 8.0 server (status codes, faults, states, the tax warning).
"""

import base64
import json
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from canonical.money import scale
from hub.sdk.steps import Response
from hub.sdk.testing import SimRequest, Simulator, answer
from hub_tryton.rpc import plain, typed

Json = dict[str, Any]
#: Decimal places of a unit price (seen on 8.0: more are refused).
_PRICE_DIGITS = 4
#: Chart of accounts: code → kind. As on a real server, an invoice line takes only revenue accounts (seen on 8.0).
CHART = {
    "1.1.1": "cash", "1.1.2": "cash", "1.1.3": "cash", "1.2.1": "receivable", "2.2.1": "payable", "2.2.4": "tax",
    "1.1.4": "cash", "2.2.2": "liability", "2.3.1": "liability", "2.3.4": "liability", "6.3.5": "liability",
    "4.1.1": "revenue", "4.1.2": "revenue", "4.3.3": "revenue", "6.1.1": "other", "6.1.2": "expense", "6.2.1": "other",
}  # fmt: skip


class _FaultError(Exception):
    """A JSON-RPC error: HTTP 200 with `error`; the transaction is rolled back."""

    def __init__(self, name: str, *arguments: Any) -> None:
        super().__init__(name)
        self.error = [name, list(arguments)]


class TrytonSimulator(Simulator):
    """One database `tryton` with one company. ``username`` and ``password`` log in; sessions end with `expire_sessions`."""

    database = "tryton"

    def __init__(self, today: Callable[[], date] = date.today, currency: str = "USD") -> None:
        super().__init__()
        self.today = today
        self.username, self.password = "hub", secrets.token_urlsafe(16)
        self._sessions: set[str] = set()
        self._last = datetime(1970, 1, 1)  # noqa: DTZ001
        self.rows: dict[str, dict[int, Json]] = {}
        self._last_key: dict[str, int] = {}  # of deleted records: ids are not given twice
        self._seed(currency)

    def _seed(self, currency: str) -> None:
        self._insert("res.user", {"login": self.username})
        self.rounding = Decimal(1).scaleb(-scale(currency))
        self._insert("currency.currency", {"code": currency, "digits": scale(currency), "rounding": self.rounding})
        self._insert("product.uom", {"name": "Unit", "digits": 0})
        self._insert("product.uom", {"name": "Kilogram", "digits": 3})
        for code, kind in CHART.items():
            row = {
                "code": code,
                "name": f"Account {code}",
                "kind": kind,
                "receivable": kind == "receivable",
                "type": {"revenue": kind == "revenue"},
                "party_required": kind in ("receivable", "payable"),
            }
            self._insert("account.account", row)
        for code, kind in (("REV", "revenue"), ("CASH", "cash")):
            self._insert("account.journal", {"code": code, "name": code, "type": kind})
        year = self.today().year
        for month in range(1, 13):
            first = date(year, month, 1)
            last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
            self._insert("account.period", {"start_date": first, "end_date": last, "type": "standard", "state": "open"})
        party = self._insert("party.party", {"name": "Walk-in customer"})
        address = self._insert("party.address", {"party": party})
        self.rows["party.party"][party]["addresses"] = [address]

    def add_product(self, code: str, name: str, default_taxes: tuple[int, ...] = (), unit: int = 1) -> int:
        """A product; with ``default_taxes`` posting an invoice with other taxes raises the tax warning. Unit 2: kilogram."""
        key = self._insert("product.product", {
            "code": code, "name": name, "default_uom": unit, "taxes": list(default_taxes), "active": True, "write_date": None,
            "list_price": Decimal("9.50"), "attributes": None,
        })  # fmt: skip
        self.rows["product.product"][key]["create_date"] = self._now()
        return key

    def add_attribute(self, name: str, label: str, kind: str = "char") -> None:
        """Somebody adds a custom field to products (module product_attribute)."""
        self._insert("product.attribute", {"name": name, "string": label, "type_": kind})

    def change_product(self, key: int, **values: Any) -> str:
        """Somebody changes a product; returns its id as `read` names it."""
        self.rows["product.product"][key] |= {**values, "write_date": self._now()}
        return str(key)

    def _now(self) -> datetime:
        """Of this database: microseconds, no two alike, UTC without saying so."""
        self._last = max(datetime.now(UTC).replace(tzinfo=None), self._last + timedelta(microseconds=1))
        return self._last

    # -- this side's own books ----------------------------------------------------------------------------------

    def money(self, tenders: dict[str, str]) -> dict[str, Decimal]:
        """Tender → balance of its account (``tenders``: tender → account code), posted entries only."""
        with self.lock:
            by_account: dict[str, Decimal] = {}
            for line in self.rows.get("account.move.line", {}).values():
                if self.rows["account.move"][line["move"]]["state"] == "posted":
                    code = self.rows["account.account"][line["account"]]["code"]
                    by_account[code] = by_account.get(code, Decimal(0)) + line["debit"] - line["credit"]
            return {tender: by_account.get(code, Decimal(0)) for tender, code in tenders.items()}

    def invoices(self) -> list[Json]:
        """Every invoice."""
        with self.lock:
            return [dict(row) for row in self.rows.get("account.invoice", {}).values()]

    def entries(self) -> list[Json]:
        """Every journal entry (move)."""
        with self.lock:
            return [dict(row) for row in self.rows.get("account.move", {}).values()]

    def expire_sessions(self) -> None:
        self._sessions.clear()

    # -- the protocol -------------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> Response:
        with self.lock:
            self.requests.append(request)
            if request.method != "POST" or request.path != f"/{self.database}/rpc/":
                return Response(404, {"content-type": "text/html"}, b"<!doctype html><title>404 Not Found</title>")
            call = request.json()
            method, parameters = call["method"], plain(call["params"])
            if method == "common.db.login":
                return self._login(call["id"], parameters)
            if request.headers.get("authorization", "") not in self._sessions:
                return Response(401, {"content-type": "text/plain", "www-authenticate": 'Basic realm="Tryton"'}, b"")
            snapshot = {model: {key: dict(row) for key, row in rows.items()} for model, rows in self.rows.items()}
            try:
                result = self._dispatch(method, parameters)
            except _FaultError as fault:
                self.rows = snapshot
                return answer(200, {"id": call["id"], "error": fault.error})
            except LookupError:
                return Response(403, {"content-type": "text/html"}, b"<!doctype html><title>403 Forbidden</title>")
            body = json.dumps({"id": call["id"], "result": typed(result)}).encode()
            return Response(200, {"content-type": "application/json"}, body)

    def throttled(self, seconds: int) -> Response:
        """What a proxy in front answers; Tryton itself throttles only logins."""
        return answer(429, {"detail": "Too Many Requests"}, {"retry-after": str(seconds)})

    def _login(self, call_id: int, parameters: list[Any]) -> Response:
        login, factors = parameters[0], parameters[1]
        if login != self.username or factors.get("password") != self.password:
            return Response(401, {"content-type": "text/html"}, b"<!doctype html><title>401 Unauthorized</title>")
        token = secrets.token_hex(16)
        key = base64.b64encode(f"{login}:1:{token}".encode()).decode()
        self._sessions.add(f"Session {key}")
        return answer(200, {"id": call_id, "result": [1, token, None]})

    def _dispatch(self, method: str, parameters: list[Any]) -> Any:
        prefix, _, rest = method.partition(".")
        model, _, verb = rest.rpartition(".")
        if prefix != "model":
            raise LookupError(method)
        arguments = parameters[:-1]  # the last one is the context
        handlers = {
            "fields_get": self._fields_get, "search_read": self._search_read,
            "search_count": self._search_count, "create": self._create, "write": self._write,
            "delete": self._delete,
            "post": {"account.invoice": self._post_invoice, "account.move": self._post_move}.get(model),
        }  # fmt: skip
        handler = handlers.get(verb)
        if handler is None:
            raise LookupError(method)
        return handler(model, *arguments)

    # -- a small ORM --------------------------------------------------------------------------------------------

    def _insert(self, model: str, values: Json) -> int:
        table = self.rows.setdefault(model, {})
        key = max(self._last_key.get(model, 0), max(table, default=0)) + 1
        table[key] = {"id": key, **values}
        return key

    def _search_read(
        self, model: str, domain: list[Any], offset: int, limit: int | None, order: Any, fields: list[str]
    ) -> list[Json]:
        found = [row for row in self.rows.get(model, {}).values() if all(_matches(row, clause) for clause in domain)]
        found = found[offset : None if limit is None else offset + limit]
        shown = [name for name in fields if "." not in name]
        nested = [name.partition(".")[::2] for name in fields if "." in name]
        return [
            {
                "id": row["id"],
                **{name: self._value(model, row, name) for name in shown},
                **{f"{name}.": {"id": 1, inner: self._related(row, name).get(inner)} for name, inner in nested},
            }
            for row in found
        ]

    def _related(self, row: Json, name: str) -> Json:
        """The record that a field refers to, as far as it is kept here."""
        value = row.get(name)
        found: Json = value if isinstance(value, dict) else self.rows["product.uom"].get(value or 0, {})
        return found if name in ("type", "default_uom") else {}

    def _search_count(self, model: str, domain: list[Any]) -> int:
        return sum(all(_matches(row, clause) for clause in domain) for row in self.rows.get(model, {}).values())

    def _fields_get(self, model: str, names: list[str] | None) -> Json:
        """Some fields of a model, in the form of trytond's `fields_get`: what kind, called what, needed or not."""
        shown = {
            "account.invoice": {"reference": "char", "description": "char", "comment": "text", "party": "many2one"},
            "account.move": {"description": "char", "date": "date", "journal": "many2one"},
            "product.product": {
                "code": "char", "name": "char", "list_price": "numeric", "active": "boolean", "attributes": "dict",
                "create_date": "timestamp", "write_date": "timestamp", "default_uom": "many2one",
            },
        }.get(model, {})  # fmt: skip
        return {
            name: {"name": name, "type": kind, "string": name.capitalize(), "required": kind == "many2one", "readonly": False}
            for name, kind in shown.items()
            if names is None or name in names
        }

    def _value(self, model: str, row: Json, name: str) -> Any:
        if model == "account.invoice":
            computed = {
                "amount_to_pay": self._amount_to_pay, "total_amount": self._total, "lines_to_pay": self._lines_to_pay,
            }  # fmt: skip
            if name in computed:
                return computed[name](row)
        return row.get(name)

    def _create(self, model: str, values: list[Json]) -> list[int]:
        makers = {
            "account.invoice": self._new_invoice, "account.move": self._new_move,
            "account.move.reconciliation": self._new_reconciliation,
        }  # fmt: skip
        if model not in makers:
            raise LookupError(model)
        return [makers[model](item) for item in values]

    def _write(self, model: str, ids: list[int], values: Json) -> None:
        for key in ids:
            row = self._get(model, key)
            for name, value in values.items():
                if name == "payment_lines":
                    for operation, lines in value:
                        assert operation == "add"
                        self._check_payment(row, lines)
                        row[name] = [*row[name], *lines]
                else:
                    row[name] = value

    def _delete(self, model: str, ids: list[int]) -> None:
        """Only drafts, as trytond_account and trytond_account_invoice check."""
        if model not in ("account.invoice", "account.move"):
            raise LookupError(model)
        for key in ids:
            if self._get(model, key)["state"] != "draft":
                raise _FaultError("UserError", f'You cannot delete "{model}" "{key}" because it is posted.', "", None)
            del self.rows[model][key]
            self._last_key[model] = max(self._last_key.get(model, 0), key)
            if model == "account.move":
                lines = self.rows["account.move.line"]
                self._last_key["account.move.line"] = max(lines, default=0)
                self.rows["account.move.line"] = {k: line for k, line in lines.items() if line["move"] != key}

    def _check_payment(self, invoice: Json, lines: list[int]) -> None:
        """The domain of `payment_lines`: only the side that pays the invoice (trytond_account_invoice, seen on 8.0)."""
        side = "debit" if self._total(invoice) >= 0 else "credit"
        if any(self._get("account.move.line", line)[side] for line in lines):
            text = 'The value for field "Payment Lines" of "Account Invoice" is not valid according to its domain.'
            raise _FaultError("UserError", text, "", None)

    def _get(self, model: str, key: int) -> Json:
        row = self.rows.get(model, {}).get(key)
        if row is None:
            raise _FaultError("UserError", f'You are trying to read records "{key}" of "{model}" that don\'t exist.', "", None)
        return row

    def _require(self, values: Json, model: str, *names: str) -> None:
        for name in names:
            if values.get(name) is None:
                raise _FaultError("UserError", f'A value is required for field "{name}" in "{model}".', "", None)

    # -- invoices -----------------------------------------------------------------------------------------------

    def _new_invoice(self, values: Json) -> int:
        self._require(values, "account.invoice", "party", "invoice_address", "currency", "journal", "account", "company")
        for name, model in (("account", "account.account"), ("journal", "account.journal"), ("party", "party.party")):
            self._get(model, values[name])
        lines = [line for _, created in values.pop("lines", []) for line in created]
        taxes = [tax for _, created in values.pop("taxes", []) for tax in created]
        for line in lines:
            self._check_line(line)
        key = self._insert("account.invoice", {**values, "state": "draft", "number": None, "payment_lines": [], "move": None})
        self.rows["account.invoice"][key] |= {"_lines": lines, "_taxes": taxes, "_warned": False}
        return key

    def _check_line(self, line: Json) -> None:
        """A revenue account; no more digits than unit price and unit have (all three seen on 8.0)."""
        account = self._get("account.account", line["account"])
        if account["kind"] != "revenue":
            text = f'The value "{account["code"]}" for field "Account" of "Account Invoice Line" is not valid'
            raise _FaultError("UserError", f"{text} according to its domain.", "", None)
        digits = self.rows["product.uom"][line["unit"]]["digits"] if line.get("unit") else None
        for name, value, most in (
            ("Unit Price", line["unit_price"], _PRICE_DIGITS),
            ("Quantity", Decimal(str(line["quantity"])), digits),
        ):
            if most is not None and value != round(value, most):
                text = f'The number of digits in the value "{value}" for field "{name}" exceeds the limit of "(None, {most})".'
                raise _FaultError("UserError", text, "", None)

    def _total(self, row: Json) -> Decimal:
        return sum((self._rounded(line) for line in row["_lines"]), Decimal(0)) + sum(
            (tax["amount"] for tax in row["_taxes"]), Decimal(0)
        )

    def _rounded(self, line: Json) -> Decimal:
        """trytond_account_invoice: currency.round(Decimal(str(quantity)) * unit_price), half to even."""
        amount = Decimal(str(line["quantity"])) * line["unit_price"]
        rounded: Decimal = (amount / self.rounding).quantize(Decimal(1), ROUND_HALF_EVEN) * self.rounding
        return rounded

    def _post_invoice(self, model: str, ids: list[int]) -> None:
        for key in ids:
            row = self._get(model, key)
            if row["state"] != "draft":
                continue
            products = self.rows.get("product.product", {})
            wrong = [line for line in row["_lines"] if products.get(line.get("product"), {}).get("taxes")]
            if wrong:
                name = f"{secrets.token_hex(16)}.invoice_taxes"
                text = f'The invoice "[{row["reference"]}]" does not have the default taxes for {wrong[0]["description"]}.'
                raise _FaultError("UserWarning", name, text, "")
            row["invoice_date"] = row.get("invoice_date") or self.today()
            numbered = [other for other in self.rows["account.invoice"].values() if other["number"]]
            if any(other["invoice_date"] > row["invoice_date"] for other in numbered):
                raise _FaultError(
                    "UserError", f'To number the invoice "[{row["reference"]}]", you must set a later invoice date.', ""
                )
            row |= {"state": "posted", "number": str(key)}
            entries = [(row["account"], self._total(row))]
            entries += [(line["account"], -self._rounded(line)) for line in row["_lines"]]
            entries += [(tax["account"], -tax["amount"]) for tax in row["_taxes"]]
            row["move"] = self._book(f"Invoice {key}", entries, row["party"])

    def _lines_to_pay(self, row: Json) -> list[int]:
        return [] if row["move"] is None else self._receivable_lines(row["move"])

    def _receivable_lines(self, move: int) -> list[int]:
        accounts = self.rows["account.account"]
        lines = self.rows["account.move.line"].values()
        return [line["id"] for line in lines if line["move"] == move and accounts[line["account"]]["receivable"]]

    def _amount_to_pay(self, row: Json) -> Decimal:
        lines = self.rows["account.move.line"]
        return sum((lines[k]["debit"] - lines[k]["credit"] for k in self._lines_to_pay(row) + row["payment_lines"]), Decimal(0))

    # -- journal entries ----------------------------------------------------------------------------------------

    def _new_move(self, values: Json) -> int:
        self._require(values, "account.move", "journal", "period", "date", "company")
        lines = [line for _, created in values.pop("lines", []) for line in created]
        for line in lines:
            account = self._get("account.account", line["account"])
            if account["party_required"] != bool(line.get("party")):
                word = "requires a party" if account["party_required"] else "does not take a party"
                raise _FaultError("UserError", f'The account "{account["code"]}" {word}.', "", None)
        key = self._insert("account.move", {**values, "state": "draft"})
        for line in lines:
            self._insert("account.move.line", {"party": None, "reconciliation": None, **line, "move": key})
        return key

    def _book(self, description: str, entries: Iterable[tuple[int, Decimal]], party: int) -> int:
        move = self._insert("account.move", {"description": description, "state": "posted"})
        for account, amount in entries:
            self._insert("account.move.line", {
                "move": move, "account": account, "debit": max(amount, Decimal(0)), "credit": max(-amount, Decimal(0)),
                "party": party if self.rows["account.account"][account]["receivable"] else None, "reconciliation": None,
            })  # fmt: skip
        return move

    def _post_move(self, model: str, ids: list[int]) -> None:
        for key in ids:
            row = self._get(model, key)
            lines = [line for line in self.rows["account.move.line"].values() if line["move"] == key]
            if sum((line["debit"] - line["credit"] for line in lines), Decimal(0)):
                raise _FaultError("UserError", f'To post the move "{key}" its lines must be balanced.', "", None)
            row["state"] = "posted"

    def _new_reconciliation(self, values: Json) -> int:
        keys = [line for _, added in values.pop("lines") for line in added]
        lines = [self._get("account.move.line", key) for key in keys]
        if any(line["reconciliation"] for line in lines):
            raise _FaultError("UserError", "A line is already reconciled.", "", None)
        if sum((line["debit"] - line["credit"] for line in lines), Decimal(0)):
            raise _FaultError("UserError", "The lines to reconcile do not balance.", "", None)
        key = self._insert("account.move.reconciliation", values)
        for line in lines:
            line["reconciliation"] = key
        for invoice in self.rows["account.invoice"].values():
            mine = self._lines_to_pay(invoice)
            if mine and all(self.rows["account.move.line"][line]["reconciliation"] for line in mine):
                invoice["state"] = "paid"
        return key


def _matches(row: Json, clause: list[Any]) -> bool:
    if clause[0] == "OR":
        return any(_matches(row, inner) for inner in clause[1:])
    name, operator, value = clause
    mine = row.get(name)
    match operator:
        case "=":
            return bool(mine == value)
        case "in":
            return mine in value
        case ">=":
            return mine is not None and mine >= value
        case "<=":
            return mine is not None and mine <= value
    raise _FaultError("UserError", f"Operator {operator} is not supported here.", "", None)
