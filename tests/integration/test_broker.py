"""The broker's behaviour, the same on memory:// and on a real RabbitMQ (TEST_RABBITMQ)."""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from hub.broker import DELIVERIES, EVENTS, Broker, queue_name, topology_for

RABBITMQ = os.environ.get("TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
TOPOLOGY = topology_for(["square", "tryton"])
LIVE = queue_name("tryton", "live")


@pytest.fixture(params=["memory", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    url = "memory://"
    if request.param == "rabbitmq":
        url = RABBITMQ
        problem = Broker(url).problem()
        if problem is not None:
            reason = f"no RabbitMQ (set TEST_RABBITMQ): {problem}"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    broker = Broker(url, namespace)
    broker.declare(TOPOLOGY)
    yield broker
    broker.close()
    with kombu.Connection(url) as connection, connection.channel() as channel:
        for queue in TOPOLOGY.queues:
            channel.queue_delete(f"{namespace}.{queue.name}")
        if request.param == "rabbitmq":
            for exchange in TOPOLOGY.exchanges:
                channel.exchange_delete(f"{namespace}.{exchange}")


class Consumer:
    """Consumes in a thread; acknowledges what ``take`` says."""

    def __init__(self, broker: Broker, queues: list[str], take: Any = lambda payload: True) -> None:
        self.seen: list[dict[str, Any]] = []
        self._stop = threading.Event()

        def receive(payload: Any, acknowledge: Any) -> None:
            self.seen.append(payload)
            if take(payload):
                acknowledge()

        self._thread = threading.Thread(target=broker.consume, args=(queues, receive, self._stop), daemon=True)
        self._thread.start()

    def wait(self, count: int, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while len(self.seen) < count:
            assert time.monotonic() < deadline, f"{len(self.seen)} of {count}"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


def test_what_is_published_arrives_once_at_its_queue_and_no_other(broker: Broker) -> None:
    sent = [{"n": n} for n in range(100)]
    assert broker.publish(DELIVERIES, [(LIVE, payload) for payload in sent]) == 100
    mine, other = Consumer(broker, [LIVE]), Consumer(broker, [queue_name("square", "live"), queue_name("tryton", "bulk")])
    mine.wait(100)
    time.sleep(0.2)
    mine.stop()
    other.stop()

    assert mine.seen == sent
    assert other.seen == []


def test_what_was_not_acknowledged_comes_again_to_the_next_consumer(broker: Broker) -> None:
    broker.publish(DELIVERIES, [(LIVE, {"n": n}) for n in range(5)])
    first = Consumer(broker, [LIVE], take=lambda payload: payload["n"] < 2)
    first.wait(5)
    time.sleep(0.2)
    first.stop()

    second = Consumer(broker, [LIVE])
    second.wait(3)
    second.stop()
    assert sorted(payload["n"] for payload in second.seen) == [2, 3, 4]


def test_declaring_again_keeps_what_waits(broker: Broker) -> None:
    broker.publish(DELIVERIES, [(LIVE, {"n": 1})])
    broker.declare(TOPOLOGY)

    consumer = Consumer(broker, [LIVE])
    consumer.wait(1)
    consumer.stop()
    assert consumer.seen == [{"n": 1}]


def test_an_event_without_a_subscriber_is_no_error(broker: Broker) -> None:
    assert broker.publish(EVENTS, [("acme.sale.completed.v1", {"specversion": "1.0"})]) == 1


def test_the_topology_has_a_queue_per_connector_and_lane_and_none_per_tenant() -> None:
    assert [queue.name for queue in TOPOLOGY.queues] == [
        "deliveries.square.live", "deliveries.square.bulk", "deliveries.tryton.live", "deliveries.tryton.bulk",
    ]  # fmt: skip


def test_a_broker_that_cannot_be_reached_is_named_without_its_password() -> None:
    problem = Broker("amqp://user:s3cr3t@127.0.0.1:9//").problem()

    assert problem is not None
    assert "s3cr3t" not in problem
