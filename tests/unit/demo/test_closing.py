"""The closing table counts what Square's own orders say, and shows every difference."""

from decimal import Decimal
from io import StringIO

import pytest
from hub_square.simulator import SquareSimulator
from rich.console import Console

from hub.demo.closing import Closing, owed_by_till, print_closing
from hub.reconcile.compare import Comparison


def test_owed_by_till_subtracts_tax_and_gift_cards_when_they_are_returned() -> None:
    square = SquareSimulator()
    card = square.typed_in("Gift card", 2500, "GIFT_CARD", is_taxed=False)
    mug = (square.add_item("SKU-0003", "Mug, blue", 1200, 10), 1)
    sale = square.ring_sale([card, card, mug])
    whole = owed_by_till(square.orders.values())
    assert whole["gift cards owed"] == Decimal("50.00")
    assert whole["tax"] > 0

    square.ring_return(sale, {sale["line_items"][0]["uid"]: 1, sale["line_items"][2]["uid"]: 1})

    assert owed_by_till(square.orders.values()) == {"tax": Decimal(0), "gift cards owed": Decimal("25.00")}


@pytest.mark.parametrize("is_known_to_till", [True, False], ids=["opposite signs", "only in the ERP"])
def test_closing_table_shows_a_difference_when_the_hub_and_the_erp_disagree(is_known_to_till: bool) -> None:
    def row(left: str, right: str) -> Comparison:
        return Comparison("voucher", Decimal(left), Decimal(right), Decimal(0))

    till = [row("12.34", "7.34")] if is_known_to_till else []
    erp = [row("7.34", "12.34")] if is_known_to_till else [row("0", "10.00")]
    text = StringIO()

    print_closing(Closing(money=[("till → hub", till), ("hub → ERP", erp)], owed=[("", []), ("", [])], stock=[("", []), ("", [])]),
                  Console(file=text, width=120), real_erp=False)  # fmt: skip

    line = next(line for line in text.getvalue().splitlines() if "voucher" in line)
    assert line.split()[-2] == "10.00"
