"""Deliveries travel by the parcel: of one connection and lane, in their order, acknowledged when each has its end."""

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from hub.flow.deliver import _Parcel
from hub.flow.relay import _PARCEL, _parcels, delivery_ids
from hub.runtime.loop import Inbox


def _row(number: int, connection: str = "erp", lane: str = "live", trial: bool = False) -> dict[str, Any]:
    return {"id": str(number), "tenant_id": "acme", "connection_id": connection, "lane": lane, "trial": trial}


def test_a_parcel_holds_what_goes_to_one_connection_in_its_order() -> None:
    rows = [*(_row(n) for n in range(_PARCEL + 3)), _row(90, lane="bulk"), _row(91, lane="bulk", trial=True), _row(92, "stock")]

    parcels = _parcels(rows)

    assert [len(parcel) for parcel in parcels] == [_PARCEL, 3, 1, 1, 1]
    assert [row["id"] for parcel in parcels for row in parcel] == [row["id"] for row in rows]


def test_it_is_acknowledged_once_when_the_last_has_its_end() -> None:
    acknowledged: list[bool] = []
    parcel = _Parcel(3, lambda: acknowledged.append(True))

    parcel.one_done()
    parcel.one_done()
    assert acknowledged == []
    parcel.one_done()
    assert acknowledged == [True]


def test_a_message_of_before_the_parcels_is_understood() -> None:
    assert delivery_ids({"delivery_ids": ["a", "b"]}) == ["a", "b"]
    assert delivery_ids({"delivery_id": "a", "trial": False}) == ["a"]
    assert delivery_ids({}) == []


def test_an_inbox_runs_every_call_of_every_thread_in_the_order_of_each() -> None:
    seen: list[tuple[int, int]] = []

    async def work() -> None:
        inbox = Inbox(asyncio.get_running_loop())
        threads = [
            threading.Thread(target=lambda t=t: [inbox.call(lambda n=n: seen.append((t, n))) for n in range(500)])
            for t in range(4)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or len(seen) < 2000:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(work(), 30))

    assert len(seen) == 2000
    assert all([n for t, n in seen if t == thread] == list(range(500)) for thread in range(4))


def test_a_result_comes_through_and_so_does_what_was_raised() -> None:
    async def work() -> None:
        inbox = Inbox(asyncio.get_running_loop())
        good, bad, left = Future[int](), Future[int](), Future[int]()
        threading.Timer(0.01, lambda: (good.set_result(7), bad.set_exception(KeyError("x")))).start()
        assert await inbox.result(good) == 7
        with pytest.raises(KeyError):
            await inbox.result(bad)
        waiting = asyncio.ensure_future(inbox.result(left))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)
        with pytest.raises(CancelledError):
            left.result(0)

    asyncio.run(work())
