"""On SQLite too, every statement that a hub makes in its work takes a few steps, however much was before."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from integration.test_query_plans import _work
from support import Shop

from hub.store.direct import Direct

EVENTS = 20_000
#: Instructions of SQLite's machine that a statement may take: one that reads a table of the history takes four times as many and more.
MOST_STEPS, EVERY = 20_000, 1_000


def _id(kind: int) -> str:
    return f"printf('%012x', 1500000000000 + g.n) || '70008000' || '{kind:012x}'"


_COPIED: Mapping[str, Mapping[str, str]] = {
    "message": {
        "id": _id(1), "source_id": "'fill-' || g.n", "subject": "'sale/fill-' || g.n", "digest": "printf('%064d', g.n)",
        "fingerprint": "printf('%064d', g.n)", "correlation_id": "'fill-' || g.n", "raw_id": "NULL",
    },
    "delivery": {"id": _id(2), "message_id": _id(1), "subject": "'sale/fill-' || g.n", "key": "printf('%032d', g.n)"},
    "attempt": {"id": _id(3), "delivery_id": _id(2)},
    "link": {"canonical_id": "'fill-' || g.n", "external_id": "'fill-' || g.n"},
    "raw_input": {"id": _id(4), "source_event_id": "'fill-' || g.n", "run_id": "NULL"},
    "record": {"ref": "'fill-' || g.n"},
    "audit": {"sequence": "1000000 + g.n", "subject": "'message/fill-' || g.n"},
}  # fmt: skip


def _history(file: Path) -> None:
    """Rows as the hub writes them, made from its own."""
    with sqlite3.connect(file) as connection:
        for table, changed in _COPIED.items():
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(changed.get(name, f"t.{name}") for name in names)
            where = {"delivery": "state = 'applied'", "raw_input": "state <> 'received'"}.get(table, "true")
            connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM (SELECT * FROM {table} WHERE {where} LIMIT 1) t, "
                f"(WITH RECURSIVE g(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM g WHERE n < {EVENTS} - 1) SELECT n FROM g) g"
            )


class Heard:
    """How many steps each statement took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: sa.Engine) -> None:
        self.steps: dict[str, int] = {}
        sa.event.listen(engine, "before_cursor_execute", lambda c, cursor, text, *_: self._hear(cursor.connection, text))
        run = Direct.run

        def noted(direct: Direct, connection: sa.Connection, values: Any) -> Any:
            self._hear(connection.connection.driver_connection, direct.text)
            return run(direct, connection, values)

        monkeypatch.setattr(Direct, "run", noted)

    def _hear(self, connection: Any, text: str) -> None:
        steps = 0
        self.steps.setdefault(text, 0)

        def went_on() -> None:
            nonlocal steps
            steps += EVERY
            self.steps[text] = max(steps, self.steps[text])

        connection.set_progress_handler(went_on, EVERY)


def test_no_statement_reads_what_was_before(make_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shop: Shop = make_shop()
    shop.stock_item("SKU-1", 950)
    shop.start().serve()
    _work(shop, 1)
    _history(shop.hub.settings.data_dir / "hub.sqlite")
    heard = Heard(monkeypatch, shop.hub.ctx.store.engine)
    _work(shop, 2)
    shop.until(lambda: any("published_at <" in text for text in heard.steps), 30)  # the sweeps have been round
    shop.hub.close()

    wrong = [f"{steps} steps: {' '.join(text.split())[-400:]}" for text, steps in heard.steps.items() if steps > MOST_STEPS]
    assert len(heard.steps) > 50, "the hub was heard at work"
    assert not wrong, "\n".join(wrong)
