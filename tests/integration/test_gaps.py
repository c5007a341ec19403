"""Receipts that were never told: noticed by their numbers, waited for, fetched, listed, and ended."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import INTEGRATION, Shop

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.cli import main
from hub.flow.recipients import NewMessage
from hub.flow.route import admit
from hub.integrations.files import parse_integration
from hub.sdk.errors import ManifestError
from hub.store import new_id
from hub.store.ids import first_id
from hub.sync.gaps import GapFinder

SEQUENCES = """
sequences:
  receipts: {on: [sale.completed.v1, return.completed.v1], from: pos, series: [location.code, till.number], within: WITHIN}
"""


class Numbered(Shop):
    """A till whose receipts are numbered."""

    def number(self, *numbers: str, till: str = "1") -> None:
        """Receipts arrive."""
        with self.hub.ctx.store.begin() as uow:
            for text in numbers:
                sale = EXAMPLES["sale.completed.v1"] | {"id": f"{till}-{text}", "number": text, "till": {"number": till}}
                message = NewMessage(self.tenant, "sale.completed.v1", "connection/pos", f"order:{till}-{text}", sale, utc_now(), "",
                                     "test", "pos")  # fmt: skip
                admit(self.hub.ctx, uow, message)

    def gaps(self) -> dict[str, str]:
        with self.hub.ctx.store.read() as uow:
            return {f"{row['series']} {row['number']}": row["state"] for row in uow.gaps.page(self.tenant, None, 200)}

    def audited(self) -> list[Any]:
        with self.hub.ctx.store.read() as uow:
            rows = uow.audit.page(self.tenant, None, 200)
        return [row["detail"] for row in rows if row["action"] == "gap.found"]

    def within(self, seconds: float) -> None:
        text = INTEGRATION.format(**{name: server.url for name, server in self.servers.items()})
        self.apply(text + SEQUENCES.replace("WITHIN", str(seconds)))


@pytest.fixture
def shop(tmp_path: Path, emptied_url: str) -> Iterator[Numbered]:
    shop = Numbered(tmp_path, emptied_url)
    yield shop
    shop.close()


def test_what_lies_between_is_missed_after_its_time_and_fetched(shop: Numbered) -> None:
    shop.within(900)
    finder = GapFinder(shop.hub.ctx)
    with shop.hub.ctx.store.begin() as uow:
        later = utc_now() + timedelta(hours=1)
        uow.cursors.put({"tenant_id": shop.tenant, "connection_id": "pos", "object": "inventory_change", "value": {},
                         "updated_at": utc_now(), "next_run_at": later, "run": {}})  # fmt: skip
    shop.number("1017", "1019", "1022")

    assert finder.run_due() == 3
    assert shop.gaps() == dict.fromkeys(("HARBOUR-ST 1 1018", "HARBOUR-ST 1 1020", "HARBOUR-ST 1 1021"), "waiting")
    shop.number("1020")  # it was only late
    assert finder.run_due() == 0
    assert shop.gaps()["HARBOUR-ST 1 1020"] == "filled"
    assert shop.audited() == [], "they may still come"

    with shop.hub.ctx.store.begin() as uow:
        import sqlalchemy as sa

        from hub.store.tables import gap

        uow.gaps._c.execute(sa.update(gap).values(due_at=utc_now() - timedelta(seconds=1)))
    finder.run_due()
    finder.run_due()

    assert shop.gaps()["HARBOUR-ST 1 1018"] == shop.gaps()["HARBOUR-ST 1 1021"] == "open"
    (told,) = shop.audited()
    assert (told["count"], told["missing"]) == (2, ["HARBOUR-ST 1 1018", "HARBOUR-ST 1 1021"])
    with shop.hub.ctx.store.read() as uow:
        row = uow.cursors.get(shop.tenant, "pos", "inventory_change")
    assert row is not None
    assert row["next_run_at"] <= utc_now(), "the connection's streams are read at once"
    shop.number("1018")
    finder.run_due()
    assert shop.gaps()["HARBOUR-ST 1 1018"] == "filled"


def test_what_a_poll_has_passed_by_is_fetched(shop: Numbered) -> None:
    """A receipt whose webhook was lost, and whose stream has been read farther: it is read from the one before it on."""
    text = INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()})
    text = text.replace("  - name: transactions", "  - name: transactions\n    from: pos\n    read: [order]", 1)
    shop.apply(text + SEQUENCES.replace("WITHIN", "0"))
    item = shop.stock_item("SKU-1")
    for number in ("1017", "1018", "1019"):
        shop.square.ring_sale([(item, 1)], announce=number != "1018", ticket=number)
    with shop.hub.ctx.store.begin() as uow:
        far = {"since": (utc_now() + timedelta(days=1)).isoformat()}
        uow.cursors.put({"tenant_id": shop.tenant, "connection_id": "pos", "object": "order", "value": far,
                         "updated_at": utc_now(), "next_run_at": utc_now() + timedelta(days=1), "run": {"state": "complete"}})  # fmt: skip
    shop.start().serve()
    shop.announce()

    def receipts() -> set[str]:
        with shop.hub.ctx.store.read() as uow:
            rows = uow.messages.each(shop.tenant, ["sale.completed.v1"])
        return {json.loads(row["body"])["data"]["number"] for row in rows}

    shop.until(lambda: receipts() == {"1017", "1019"})
    finder = GapFinder(shop.hub.ctx)
    finder.run_due()
    shop.until(lambda: receipts() == {"1017", "1018", "1019"})
    finder.run_due()

    assert shop.gaps() == {"HARBOUR-ST 1018": "filled"}
    with shop.hub.ctx.store.read() as uow:
        (run,) = uow.runs.page(shop.tenant, None, 10, kind="backfill")
    assert (run["actor"], run["object"]) == ("gaps", "order")


def test_tills_and_ways_of_numbering_are_series_of_their_own(shop: Numbered) -> None:
    shop.within(900)
    finder = GapFinder(shop.hub.ctx)
    shop.number("0009", "0011")
    shop.number("7", "9", till="2")
    shop.number("A-1", "A-3", "B-5", "no number", till="3")
    finder.run_due()

    assert set(shop.gaps()) == {"HARBOUR-ST 1 0010", "HARBOUR-ST 2 8", "HARBOUR-ST 3 A-… A-2"}


def test_a_sequence_that_begins_anew_owes_nothing(shop: Numbered) -> None:
    shop.within(900)
    finder = GapFinder(shop.hub.ctx)
    shop.number("5", "900000")
    finder.run_due()
    shop.number("1", "2")  # somebody set the till back
    shop.number("900001")
    finder.run_due()

    assert shop.gaps() == {}


def test_the_same_is_not_missed_twice(shop: Numbered) -> None:
    shop.within(900)
    finder = GapFinder(shop.hub.ctx)
    shop.number("1", "3")

    assert [finder.run_due() for _ in range(3)] == [1, 0, 0]


def test_a_person_says_that_a_receipt_never_was(shop: Numbered) -> None:
    shop.within(0)
    shop.serve()
    assert shop.web is not None
    shop.number("1", "3")
    GapFinder(shop.hub.ctx).run_due()
    options = ["--url", f"http://127.0.0.1:{shop.web.port}", "--key", shop.key, "--json"]

    listed = CliRunner().invoke(main, ["sync", "gaps", "--state", "open", *options])
    assert listed.exit_code == 1
    (item,) = json.loads(listed.output)["items"]
    accepted = CliRunner().invoke(main, ["sync", "accept", item["id"], "--reason", "given up at the till", *options])
    again = CliRunner().invoke(main, ["sync", "accept", item["id"], *options])

    assert json.loads(accepted.output)["state"] == "accepted"
    assert again.exit_code == 4
    assert CliRunner().invoke(main, ["sync", "gaps", *options]).exit_code == 0


def test_what_is_wrong_with_a_sequence_is_said(shop: Numbered) -> None:
    text = INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()}) + SEQUENCES.replace("WITHIN", "1")

    for wrong, said in (("from: pos, series", "is not a connection"), ("[sale.completed.v1, ret", "unknown type"),
                        ("till.number]", "is not JMESPath")):  # fmt: skip
        broken = text.replace(wrong, wrong.replace("pos", "nobody").replace("[sale.", "[sail.").replace("number]", "]"))
        with pytest.raises(ManifestError, match=said):
            parse_integration(broken if said != "is not JMESPath" else text.replace("till.number", "'till['"), "stores.yaml")


def test_ids_are_bounded_by_their_time() -> None:
    before, identity, after = first_id(utc_now() - timedelta(seconds=1)), new_id(), first_id(utc_now() + timedelta(seconds=1))

    assert before < identity < after
