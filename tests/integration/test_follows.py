"""A fact about an earlier fact is admitted only where the earlier one was: a refund that fails while it is pending is no news."""

from collections.abc import Callable
from typing import Any

import pytest
from support import Shop


def _types(shop: Shop) -> list[str]:
    with shop.hub.ctx.store.read() as uow:
        return sorted(row["type"] for row in uow.messages.page(shop.tenant, None, 200))


@pytest.mark.parametrize("is_told_first", [True, False])
def test_reversal_is_admitted_only_when_its_refund_was_told(make_shop: Callable[..., Shop], is_told_first: bool) -> None:
    shop: Any = make_shop()
    shop.start()
    sale = shop.square.ring_sale([(shop.stock_item("SKU-1"), 2)], "CARD")
    status = "COMPLETED" if is_told_first else "PENDING"
    order = shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1}, status=status)
    shop.announce()
    shop.settle()

    shop.square.settle_refund(order, "FAILED")
    shop.announce()
    shop.settle()

    expected = ["payment.reversed.v1", "return.completed.v1", "sale.completed.v1"] if is_told_first else ["sale.completed.v1"]
    assert _types(shop) == expected
    assert shop.raws(state="quarantined") == []
