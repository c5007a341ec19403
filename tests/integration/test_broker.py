"""The broker's behaviour, the same on memory://, on Redis (TEST_REDIS) and on a real RabbitMQ through pika (TEST_RABBITMQ)."""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import kombu
import pika
import pytest

from hub.broker import DELIVERIES, UNROUTED, Broker, BrokerUnavailableError, open_broker, queue_name, topology_for
from hub.broker.rabbitmq import RabbitMQ

RABBITMQ = os.environ.get("TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379/9")
TOPOLOGY = topology_for(["square", "tryton"])
LIVE, BULK = queue_name("tryton", "live"), queue_name("tryton", "bulk")


def _reachable(url: str, setting: str) -> str:
    problem = open_broker(url).problem()
    if problem is not None:
        reason = f"no broker (set {setting}): {problem}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return url


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    url = "memory://"
    if request.param == "redis":
        pytest.importorskip("redis", reason="kombu's Redis transport needs the redis package: pip install redis")
        url = _reachable(REDIS, "TEST_REDIS")
    elif request.param == "rabbitmq":
        url = _reachable(RABBITMQ, "TEST_RABBITMQ")
    yield from _declared(url)


@pytest.fixture
def rabbitmq() -> Iterator[Broker]:
    yield from _declared(_reachable(RABBITMQ, "TEST_RABBITMQ"))


def rabbit_blocking(url: str) -> Any:
    return pika.BlockingConnection(pika.URLParameters(url.removesuffix("//")))


def _declared(url: str) -> Iterator[Broker]:
    prefix = f"test-{uuid.uuid4().hex[:10]}"
    broker = open_broker(url, prefix)
    broker.declare(TOPOLOGY)
    yield broker
    broker.close()
    if url.startswith("amqp"):
        with rabbit_blocking(url) as connection:
            channel = connection.channel()
            for queue in TOPOLOGY.queues:
                channel.queue_delete(f"{prefix}.{queue.name}")
            for exchange in TOPOLOGY.exchanges:
                channel.exchange_delete(f"{prefix}.{exchange.name}")
    else:
        with kombu.Connection(url) as connection, connection.channel() as channel:
            for queue in TOPOLOGY.queues:
                channel.queue_delete(f"{prefix}.{queue.name}")


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
    assert broker.publish(DELIVERIES, [(LIVE, payload) for payload in sent]) == []
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
    assert broker.announce([("acme.sale.completed.v1", {"specversion": "1.0"})]) == ([], [0])


def test_a_key_that_no_queue_is_bound_for_is_never_lost_silently(broker: Broker) -> None:
    refused = broker.publish(DELIVERIES, [(LIVE, {"n": 1}), ("deliveries.nobody.live", {"n": 2}), (LIVE, {"n": 3})])
    consumer = Consumer(broker, [LIVE])
    consumer.wait(2)
    consumer.stop()

    assert consumer.seen == [{"n": 1}, {"n": 3}]
    if refused != [1]:  # RabbitMQ keeps it in the alternate exchange's queue
        net = Consumer(broker, [UNROUTED])
        net.wait(1)
        net.stop()
        assert (refused, net.seen) == ([], [{"n": 2}])


def test_a_stopped_consumer_finishes_what_it_has_in_hand(broker: Broker) -> None:
    broker.publish(DELIVERIES, [(LIVE, {"n": 1})])
    stop, in_hand = threading.Event(), []
    thread = threading.Thread(
        target=broker.consume, args=([LIVE], lambda payload, ack: in_hand.append(ack), stop, 10, 5.0), daemon=True
    )
    thread.start()
    while not in_hand:
        time.sleep(0.01)
    stop.set()
    time.sleep(0.3)
    assert thread.is_alive()
    in_hand[0]()
    thread.join(5)

    assert not thread.is_alive()
    second = Consumer(broker, [LIVE])
    time.sleep(0.3)
    second.stop()
    assert second.seen == []


def test_without_an_alternate_exchange_an_unroutable_message_is_returned_and_reported(rabbitmq: Broker) -> None:
    """`mandatory` is the net below the net."""
    assert isinstance(rabbitmq, RabbitMQ)
    with rabbitmq._blocking() as connection:
        channel = connection.channel()
        channel.queue_unbind(rabbitmq._named(UNROUTED), rabbitmq._named(UNROUTED), "")
    assert rabbitmq.publish(DELIVERIES, [(LIVE, {"n": 1}), ("deliveries.nobody.live", {"n": 2})]) == [1]


def test_thousands_are_confirmed_in_one_go_and_none_is_missing(rabbitmq: Broker) -> None:
    assert rabbitmq.publish(DELIVERIES, [(LIVE, {"n": n}) for n in range(3000)]) == []
    consumer = Consumer(rabbitmq, [LIVE])
    consumer.wait(3000)
    consumer.stop()
    assert [payload["n"] for payload in consumer.seen] == list(range(3000))


def test_a_connection_that_is_cut_is_made_anew_and_what_was_in_hand_comes_again(rabbitmq: Broker) -> None:
    assert isinstance(rabbitmq, RabbitMQ)
    rabbitmq.publish(DELIVERIES, [(LIVE, {"n": 1})])
    consumer = Consumer(rabbitmq, [LIVE], take=lambda payload: len(consumer.seen) > 1)
    consumer.wait(1)
    publisher = rabbitmq._publisher
    assert publisher is not None
    for thread, connection in ((publisher, publisher._connection),):
        assert thread
        connection.ioloop.add_callback_threadsafe(lambda c=connection: c._transport.abort())
    with rabbitmq._blocking() as connection:  # the queue goes: its consumer is cancelled, declares it again and goes on
        connection.channel().queue_delete(rabbitmq._named(LIVE))
    deadline = time.monotonic() + 15
    while True:
        try:
            rabbitmq.publish(DELIVERIES, [(LIVE, {"n": 2})])
            consumer.wait(2, 1.0)
            break
        except (BrokerUnavailableError, AssertionError):
            assert time.monotonic() < deadline
    consumer.stop()
    assert consumer.seen[1] == {"n": 2}


def test_the_doctor_sees_what_is_missing_and_what_differs(rabbitmq: Broker) -> None:
    assert isinstance(rabbitmq, RabbitMQ)
    assert rabbitmq.differences(TOPOLOGY) == []
    with rabbitmq._blocking() as connection:
        channel = connection.channel()
        channel.queue_delete(rabbitmq._named(LIVE))
        channel.queue_delete(rabbitmq._named(BULK))
        channel.queue_declare(rabbitmq._named(BULK), durable=True, arguments={"x-queue-type": "classic"})
    rabbitmq.publish(DELIVERIES, [("deliveries.nobody.live", {"n": 1})])

    missing, differs, waits = sorted(rabbitmq.differences(TOPOLOGY), key=lambda line: ("holds" in line, "differs" in line))
    assert "tryton.live is missing" in missing
    assert "tryton.bulk differs" in differs
    assert "inequivalent arg" in differs
    assert "hub.unrouted holds 1" in waits
    with rabbitmq._blocking() as connection:
        connection.channel().queue_delete(rabbitmq._named(BULK))


def _spoil(broker: RabbitMQ, name: str, **arguments: Any) -> None:
    """Let a queue exist with other arguments, as an older version or an operator's hand leaves it."""
    with broker._blocking() as connection:
        channel = connection.channel()
        channel.queue_delete(broker._named(name))
        channel.queue_declare(broker._named(name), durable=True, **arguments)


def test_the_other_queues_work_when_one_is_refused_and_it_does_when_it_is_mended(rabbitmq: Broker) -> None:
    assert isinstance(rabbitmq, RabbitMQ)
    _spoil(rabbitmq, LIVE)
    rabbitmq.declare(TOPOLOGY)

    assert list(rabbitmq.refused) == [LIVE]
    assert rabbitmq._named(LIVE) in rabbitmq.refused[LIVE]
    assert "delete this queue" in rabbitmq.refused[LIVE]
    assert rabbitmq.differences(TOPOLOGY) == [rabbitmq.refused[LIVE]]
    consumer = Consumer(rabbitmq, [LIVE, BULK])
    rabbitmq.publish(DELIVERIES, [(BULK, {"n": 1})])
    consumer.wait(1)

    with rabbitmq._blocking() as connection:
        connection.channel().queue_delete(rabbitmq._named(LIVE))
    rabbitmq.declare(TOPOLOGY)
    assert rabbitmq.refused == {}
    rabbitmq.publish(DELIVERIES, [(LIVE, {"n": 2}), (BULK, {"n": 3})])
    consumer.wait(3)
    consumer.stop()
    assert sorted(payload["n"] for payload in consumer.seen) == [1, 2, 3]


def test_a_consumer_waits_when_all_its_queues_are_refused(rabbitmq: Broker) -> None:
    assert isinstance(rabbitmq, RabbitMQ)
    _spoil(rabbitmq, LIVE, arguments={"x-queue-type": "classic"})
    rabbitmq.declare(TOPOLOGY)
    consumer = Consumer(rabbitmq, [LIVE])
    time.sleep(0.3)
    _spoil(rabbitmq, LIVE, arguments=rabbitmq._queue(next(item for item in TOPOLOGY.queues if item.name == LIVE))["arguments"])
    rabbitmq.declare(TOPOLOGY)
    rabbitmq.publish(DELIVERIES, [(LIVE, {"n": 1})])
    consumer.wait(1)
    consumer.stop()


def test_the_topology_has_a_queue_per_connector_and_lane_and_none_per_tenant() -> None:
    assert [queue.name for queue in TOPOLOGY.queues] == [
        "hub.unrouted", "hub.dead",
        "deliveries.square.live", "deliveries.square.bulk", "deliveries.tryton.live", "deliveries.tryton.bulk", "inputs",
    ]  # fmt: skip


@pytest.mark.parametrize("url", ["amqp://user:s3cr3t@127.0.0.1:9//", "redis://:s3cr3t@127.0.0.1:9/0"])
def test_a_broker_that_cannot_be_reached_is_named_without_its_password(url: str) -> None:
    broker = open_broker(url, confirm_seconds=0.3)
    problem = broker.problem()

    assert problem is not None
    assert "s3cr3t" not in problem
    with pytest.raises(BrokerUnavailableError) as caught:
        broker.declare(TOPOLOGY)
        broker.publish(DELIVERIES, [(LIVE, {})])
    assert "s3cr3t" not in str(caught.value)
    broker.close()
