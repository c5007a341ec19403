"""A real Tryton 8.0 server for the demo: installed from the package index into the demo's folder, seeded once, served locally.

Gives the closing table the same face as the simulator (`invoices`, `entries`, `money`), read back through Tryton's own API.
"""

import base64
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from hub.demo.stage import DemoError, free_port

_MODULES = ("party", "company", "currency", "country", "product", "product_attribute", "account", "account_product",
            "account_invoice")  # fmt: skip
_SERIES = "8.0"
_SEED = """
import os, sys
os.environ["TRYTOND_DATABASE_URI"], os.environ["TRYTOND_CONFIG"] = sys.argv[1], sys.argv[2]
import datetime, json
from decimal import Decimal
from proteus import Model, config
from trytond.modules.account.tests.tools import create_chart, create_fiscalyear
from trytond.modules.account_invoice.tests.tools import set_fiscalyear_invoice_sequences
from trytond.modules.company.tests.tools import create_company, get_company
from trytond.modules.currency.tests.tools import get_currency
config.set_trytond(database=sys.argv[1], config_file=sys.argv[2])
Party = Model.get("party.party")
owner = Party(name="Harbour Street Retail"); owner.save()
create_company(owner, get_currency("USD")); company = get_company()
create_chart(company)
year = datetime.date.today().year
for y in (year - 1, year, year + 1):
    fiscal = create_fiscalyear(company, (datetime.date(y, 1, 1), datetime.date(y, 12, 31)))
    fiscal = set_fiscalyear_invoice_sequences(fiscal); fiscal.click("create_period")
walk_in = Party(name="Walk-in customer"); walk_in.addresses.new(street="1 Harbour Street"); walk_in.save()
Account = Model.get("account.account")
revenue, = Account.find([("code", "=", "4.1.1"), ("company", "=", company.id)])
expense, = Account.find([("code", "=", "5.1.1"), ("company", "=", company.id)])
Category = Model.get("product.category")
goods = Category(name="Goods", accounting=True); goods.account_revenue = revenue; goods.account_expense = expense; goods.save()
Unit = Model.get("product.uom"); unit, = Unit.find([("name", "=", "Unit")], limit=1)
Template = Model.get("product.template")
for code, name, price in json.load(open(sys.argv[3])):
    template = Template(name=name); template.code = code; template.default_uom = unit; template.type = "goods"
    template.account_category = goods; template.list_price = Decimal(str(price)); template.save()
User, Group = Model.get("res.user"), Model.get("res.group")
user = User(name="Crossdock", login="hub"); user.password = sys.argv[4]
user.companies.append(company); user.company = company
for group in Group.find([]):
    if "Account" in group.name or "Product" in group.name or "Party" in group.name:
        user.groups.append(Group(group.id))
user.save()
"""


class TrytonServer:
    """The server process and an account to read its books."""

    username, database = "hub", "tryton"

    def __init__(self, folder: Path, run_folder: Path, say: Any) -> None:
        self._folder, self._say = folder, say
        self.password = "Demo-passw0rd-long"  # noqa: S105 - of a server on loopback that lives for the demo
        self._process: subprocess.Popen[bytes] | None = None
        self._header = ""
        self._install()
        self._seed_once()
        database = run_folder / "tryton-db"
        database.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._folder / "seeded-2.sqlite", database / "tryton.sqlite")
        self.port = free_port(18200)
        self._config = run_folder / "trytond.conf"
        self._config.write_text(
            f"[database]\nuri = sqlite://\npath = {database.resolve()}\n[web]\nlisten = 127.0.0.1:{self.port}\n"
        )
        self._log = run_folder / "trytond.log"
        self._serve()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self, *command: str, what: str, **environment: str) -> None:
        log = self._folder / "install.log"
        with log.open("ab") as file:
            done = subprocess.run(command, stdout=file, stderr=file, env={**os.environ, **environment}, check=False)
        if done.returncode:
            raise DemoError(f"Tryton: {what} failed; see {log}")

    def _install(self) -> None:
        venv = self._folder / "venv"
        if (venv / "installed-2").exists():
            return
        self._say("installing Tryton 8.0 (about 100 MB, once)")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run(sys.executable, "-m", "venv", str(venv), what="making a virtual environment")
        wanted = [f"{name}~={_SERIES}.0" for name in ("trytond", "proteus")]
        wanted += [f"trytond-{module.replace('_', '-')}~={_SERIES}.0" for module in _MODULES]
        self._run(str(venv / "bin/pip"), "install", "-q", "--disable-pip-version-check", *wanted, what="installing")
        (venv / "installed-2").touch()

    def _seed_once(self) -> None:
        from hub.demo.day import CATALOGUE

        target = self._folder / "seeded-2.sqlite"
        if target.exists():
            return
        self._say("seeding a company, its chart of accounts and products (about 40 s, once)")
        work = self._folder / "seed"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        database = work / "tryton.sqlite"
        database.touch()
        (work / "trytond.conf").write_text(f"[database]\nuri = sqlite://\npath = {work.resolve()}\n")
        (work / "adminpw").write_text("admin")
        (work / "products.json").write_text(json.dumps([[sku, name, price / 100] for sku, name, price in CATALOGUE]))
        (work / "seed.py").write_text(_SEED)
        tool, config = str(self._folder / "venv/bin/trytond-admin"), str(work / "trytond.conf")
        password = {"TRYTONPASSFILE": str(work / "adminpw")}
        base = (tool, "-c", config, "-d", "tryton")
        self._run(*base, "--email", "admin@example.com", "--all", what="creating the database", **password)
        self._run(*base, "-u", *_MODULES, "--activate-dependencies", what="activating modules", **password)
        python = str(self._folder / "venv/bin/python")
        arguments = ("sqlite:///tryton", config, str(work / "products.json"), self.password)
        self._run(python, str(work / "seed.py"), *arguments, what="seeding")
        shutil.copy(database, target)

    def _serve(self) -> None:
        # -d loads the database at start; without it the first requests fail.
        command = [str(self._folder / "venv/bin/trytond"), "-c", str(self._config), "-d", "tryton"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DemoError(f"Tryton ended with code {self._process.returncode}; see {self._log}")
            try:
                self._login()
                return
            except OSError:
                time.sleep(0.2)
        raise DemoError(f"Tryton did not answer within 60 s; see {self._log}")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    # -- reading its books --------------------------------------------------------------------------------------

    def _post(self, body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json", **({"Authorization": self._header} if self._header else {})}
        connection.request("POST", f"/{self.database}/rpc/", json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != 200:
            raise OSError(f"Tryton answered {response.status}")
        return json.loads(content)

    def _login(self) -> None:
        parameters = [self.username, {"password": self.password}, "en"]
        user, token = self._post({"id": 1, "method": "common.db.login", "params": parameters})["result"][:2]
        self._header = "Session " + base64.b64encode(f"{self.username}:{user}:{token}".encode()).decode()

    def _search(self, model: str, domain: list[Any], fields: list[str]) -> list[dict[str, Any]]:
        parameters = [domain, 0, None, None, fields, {"company": 1}]
        try:
            answer = self._post({"id": 1, "method": f"model.{model}.search_read", "params": parameters})
        except OSError:  # the session ran out
            self._header = ""
            self._login()
            answer = self._post({"id": 1, "method": f"model.{model}.search_read", "params": parameters})
        found: list[dict[str, Any]] = answer["result"]
        return found

    def invoices(self) -> list[dict[str, Any]]:
        """Every invoice: number, reference, state."""
        return self._search("account.invoice", [], ["number", "reference", "state"])

    def entries(self) -> list[dict[str, Any]]:
        """Every journal entry."""
        return self._search("account.move", [], ["description", "state"])

    def money(self, tenders: dict[str, str]) -> dict[str, Decimal]:
        """Tender → balance of its account, posted entries only."""
        totals = {}
        for tender, code in tenders.items():
            domain = [["account.code", "=", code], ["move.state", "=", "posted"]]
            lines = self._search("account.move.line", domain, ["debit", "credit"])
            totals[tender] = sum((_decimal(x["debit"]) - _decimal(x["credit"]) for x in lines), Decimal(0))
        return totals

    def add_product(self, code: str, name: str) -> None:
        """Products are seeded once, with the database."""


def _decimal(value: Any) -> Decimal:
    return Decimal(value["decimal"])
