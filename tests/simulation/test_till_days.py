"""Money per tender, tax and stock per SKU agree to the last unit on all sides after any day at a till, or the difference waits
in quarantine with its figures.

`TILL_DAYS=1000 pytest tests/simulation/test_till_days.py` runs more days of each till (the figure in docs/reference/properties.md).
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from simulation.shopify_till import ShopifyTill
from simulation.square_till import SquareTill
from simulation.till_days import Day

DAYS = int(os.environ.get("TILL_DAYS", "25"))
ACTIONS = 9


@pytest.mark.parametrize("till", [SquareTill, ShopifyTill])
def test_till_hub_and_targets_agree_when_a_generated_day_has_ended(till: Callable[..., Any]) -> None:
    happened: Counter[str] = Counter()
    for seed in range(DAYS):
        day = Day(till, seed)
        day.run(ACTIONS)
        untold = {day.pos.untold(row["cause"]) for row in day.quarantined()}

        assert day.open() == [], seed
        assert day.pos.books(untold).shown() == day.of_hub().shown(), seed
        assert day.of_hub().shown() == day.of_targets().shown(), seed
        happened += day.happened
    assert sum(happened.values()) == DAYS * ACTIONS
    assert happened["nothing"] < sum(happened.values()) / 3, "most actions do something"
