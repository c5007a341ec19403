"""Every statement that a hub makes in its work reads a few pages, however much was before: no table is read through.

The statements are taken from a running hub, and explained, executed, on a history of tens of thousands of events.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from benchmarks import fill
from support import Shop

from hub.store.prepared import Prepared

EVENTS, DEAD = 50_000, 5_000
#: Pages that a statement may touch: a table of the history has a thousand and more.
MOST_PAGES = 400
#: How often each is explained.
OF_EACH = 20
GROWING = {"message", "delivery", "attempt", "audit", "raw_input", "link", "announcement", "record", "idempotency"}


class Heard:
    """Every statement as the driver gets it, explained where and when it is made, executed and undone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:
        self.pages: dict[str, int] = {}
        self.scanned: dict[str, set[str]] = {}
        self._times: Counter[str] = Counter()
        later = Prepared.later

        def noted(prepared: Prepared, connection: sa.Connection, values: Any) -> Any:
            self._note(connection.connection.driver_connection, prepared.text, {**prepared.literals, **values})
            return later(prepared, connection, values)

        monkeypatch.setattr(Prepared, "later", noted)
        sa.event.listen(
            shop.hub.ctx.store.engine, "before_cursor_execute",
            lambda c, cursor, text, values, *_: self._note(cursor.connection, text, values),
        )  # fmt: skip

    def _note(self, connection: Any, text: str, values: Any) -> None:
        self._times[text] += 1
        if self._times[text] > OF_EACH or text.split(None, 1)[0].upper() not in (
            "SELECT",
            "WITH",
            "UPDATE",
            "INSERT",
            "DELETE",
        ):
            return
        if isinstance(values, list):
            values = values[0] if values else {}
        with connection.transaction(force_rollback=True), psycopg.ClientCursor(connection) as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", values)
            found = cursor.fetchone()[0]
        plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        touched = int(plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0))
        self.pages[text] = max(touched, self.pages.get(text, 0))
        scans = {node.get("Relation Name") for node in _nodes(plan) if node["Node Type"] == "Seq Scan"} & GROWING
        self.scanned.setdefault(text, set()).update(scans)


def _nodes(plan: Any) -> list[Any]:
    return [plan, *(node for inner in plan.get("Plans", ()) for node in _nodes(inner))]


def _work(shop: Shop, number: int) -> None:
    """Everything that a day has: sales, returns, counts, polls, dead letters, what is told twice."""
    ghost = shop.square.add_item(f"GHOST-{number}", "Ghost", 500, 0)
    for _ in range(3):
        sale = shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    shop.square.ring_sale([(ghost, 1)], "CARD")
    shop.square.count(shop.items["SKU-1"], 50 + number)
    shop.announce()
    shop.announce()
    shop.settle()
    assert shop.web is not None
    (message, *_) = shop.web.call("GET", "/v1/messages?limit=1")[1]["items"]
    for path in (
        "/v1/messages?limit=50", f"/v1/messages?type={message['type']}", f"/v1/messages/{message['id']}", "/v1/dead-letters",
        f"/v1/lineage?of={message['source_id']}", f"/v1/lineage?of={message['id']}", "/v1/deliveries", "/v1/quarantine", "/v1/audit",
        "/v1/runs", "/v1/conflicts", "/v1/gaps",
    ):  # fmt: skip
        status, answer, _ = shop.web.call("GET", path)
        assert status == 200, (path, answer)


def test_no_statement_reads_what_was_before(
    make_shop: Callable[..., Shop], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop(database_url=postgres_url)
    shop.stock_item("SKU-1", 950)
    shop.start().serve()
    _work(shop, 1)
    url = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    fill.events(url, 0, EVENTS)
    fill.dead_letters(url, 0, DEAD)
    heard = Heard(monkeypatch, shop)
    _work(shop, 2)
    shop.until(lambda: any("published_at <" in text for text in heard.pages), 30)  # the sweeps have been round
    shop.hub.close()

    wrong = [
        f"{pages} pages, reads through {sorted(heard.scanned[text])}: {' '.join(text.split())[:300]}"
        for text, pages in heard.pages.items()
        if pages > MOST_PAGES or heard.scanned[text]
    ]
    assert len(heard.pages) > 50, "the hub was heard at work"
    assert not wrong, "\n".join(wrong)
