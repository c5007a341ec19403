"""An ERP and the project's plugins for hubs that run in one process, asked without a network."""

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache

from hub_tryton.simulator import TrytonSimulator

from hub.runtime.plugins import Plugins, load_plugins
from hub.sdk.testing import SimRequest


@cache
def loaded_plugins() -> Plugins:
    """The plugins of this environment, loaded once."""
    return load_plugins()


def erp_with(skus: Iterable[str], accounts: Iterable[str], now: datetime, currency: str = "USD") -> tuple[TrytonSimulator, str]:
    """An ERP that knows the articles and has the accounts (codes that begin with 4 are revenue), and a session on it."""
    erp = TrytonSimulator(today=lambda: now.date(), currency=currency)
    for sku in skus:
        erp.add_product(sku, sku)
    known = {row["code"] for row in erp.rows["account.account"].values()}
    for code in sorted(set(accounts) - known):
        is_revenue = code.startswith("4")
        erp._insert("account.account", {
            "code": code, "name": code, "kind": "revenue" if is_revenue else "other", "receivable": False,
            "type": {"revenue": is_revenue}, "party_required": False,
        })  # fmt: skip
    parameters = [erp.username, {"password": erp.password}, "en"]
    body = json.dumps({"id": 1, "method": "common.db.login", "params": parameters}).encode()
    user, token, _ = json.loads(erp.handle(SimRequest("POST", "/tryton/rpc/", body=body)).content)["result"]
    return erp, base64.b64encode(f"{erp.username}:{user}:{token}".encode()).decode()
