"""The trading day: what customers, staff and misfortune do, second by second. Facts are made at the till, nowhere else."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hub.demo.stage import Stage
from hub.sdk.testing import Fault, OutgoingWebhook

CATALOGUE = [
    ("SKU-0001", "Filter coffee 250 g", 950), ("SKU-0002", "Espresso beans 1 kg", 2490), ("SKU-0003", "Mug, blue", 1200),
    ("SKU-0004", "Mug, white", 1200), ("SKU-0005", "Pour-over cone", 1995), ("SKU-0006", "Paper filters 100", 499),
    ("SKU-0007", "Gooseneck kettle", 5900), ("SKU-0008", "Hand grinder", 7950), ("SKU-0009", "Scale", 3450),
    ("SKU-0010", "Tea - black", 675), ("SKU-0011", "Tea - green", 725), ("SKU-0012", "Gift box", 1550),
]  # fmt: skip
#: In Square's catalogue only: neither the ERP nor the stock system knows it.
GHOST = ("SKU-GHOST", "Pop-up special", 1111)
OPENING_STOCK = 200
#: Length of the day in seconds.
LENGTH = 46.0


@dataclass
class Day:
    """The script and what it left behind for the closing table."""

    stage: Stage
    seed: int = 7
    log: list[tuple[float, str]] = field(default_factory=list)
    signature_refusals: int = 0
    malformed: int = 0
    items: dict[str, str] = field(default_factory=dict)
    sales: list[dict[str, Any]] = field(default_factory=list)
    returned: set[str] = field(default_factory=set)
    started: float = 0.0
    pending: list[dict[str, Any]] = field(default_factory=list)
    special: Counter[str] = field(default_factory=Counter)

    def open_shop(self) -> None:
        """Catalogue and opening stock at the till; products and parts in the other systems."""
        for sku, name, price in [*CATALOGUE, GHOST]:
            self.items[sku] = self.stage.square.add_item(sku, name, price, 0 if sku == GHOST[0] else OPENING_STOCK)
        for sku, name, _ in CATALOGUE:
            self.stage.inventree.add_part(sku, name, 1, OPENING_STOCK)
            self.stage.erp.add_product(sku, name)

    def script(self) -> list[tuple[float, str, Callable[[], object]]]:
        """(second, trouble shown to people or '', what happens), in order of time."""
        chance = random.Random(self.seed)
        events: list[tuple[float, str, Callable[[], object]]] = []
        for _ in range(60):
            events.append((chance.uniform(0.5, LENGTH), "", lambda: self.sell(chance)))
        for _ in range(7):
            events.append((chance.uniform(8, LENGTH), "", lambda: self.take_back(chance)))
        for _ in range(4):
            events.append((chance.uniform(8, LENGTH), "", lambda: self.exchange(chance)))
        for _ in range(5):
            events.append((chance.uniform(5, LENGTH), "", lambda: self.count(chance)))
        for _ in range(6):
            events.append((chance.uniform(5, LENGTH), "", lambda: self.adjust(chance)))
        events += self.special_facts(chance)
        events += [
            (6.0, "duplicate webhooks: the same events three times", self.duplicates),
            (9.0, "a webhook held up for 20 s at the vendor", lambda: self.late(chance)),
            (12.0, "rate-limit storm: every system answers 429", self.storm),
            (18.0, "time-outs after the ERP and the stock system applied the write", self.timeouts),
            (22.0, "a sale of an SKU that only the till knows", self.ghost),
            (24.0, "a malformed payload with a valid signature", self.malformed_payload),
            (25.0, "a webhook with a forged signature", self.forged),
            (27.0, "an offline till sends a sale again under a new id", self.offline_again),
            (33.0, "kill -9 of the hub, in mid-flight", lambda: self.kill(chance)),
        ]
        return sorted(events, key=lambda event: event[0])

    def special_facts(self, chance: random.Random) -> list[tuple[float, str, Callable[[], object]]]:
        """Schedule gift cards, delivery, bare amounts, rounded cash and refunds without goods: (second, trouble, action)."""
        kinds = (
            (4, self.gift_card), (4, self.delivery), (3, self.repair), (4, self.rounded_cash), (3, self.not_restocked),
            (2, self.money_back), (2, self.tip_back),
        )  # fmt: skip
        events: list[tuple[float, str, Callable[[], object]]] = []
        for times, happen in kinds:
            events += [(chance.uniform(6, LENGTH - 8), "", partial(happen, chance)) for _ in range(times)]
        return [*events, (20.0, "", partial(self.refund_pending, chance)), (30.0, "", self.refund_settled)]

    # -- ordinary life ------------------------------------------------------------------------------------------

    def sell(self, chance: random.Random, announce: bool = True) -> dict[str, Any]:
        skus = chance.sample([sku for sku, _, _ in CATALOGUE], chance.randint(1, 4))
        lines = [(self.items[sku], chance.randint(1, 3)) for sku in skus]
        tender = chance.choice(["CARD", "CARD", "CASH", "SQUARE_GIFT_CARD", "WALLET"])
        discount, tip = chance.choice([0, 0, 0, 50, 125]), chance.choice([0, 0, 0, 200])
        sale: dict[str, Any] = self.stage.square.ring_sale(lines, tender, discount, tip, announce=announce)
        self.sales.append(sale)
        return sale

    def take_back(self, chance: random.Random) -> None:
        if sale := self._old_sale(chance):
            self.stage.square.ring_return(sale, _some_of(sale, chance))

    def exchange(self, chance: random.Random) -> None:
        if sale := self._old_sale(chance):
            line = chance.choice(sale["line_items"])
            wanted = self.items[chance.choice(CATALOGUE)[0]]
            back = {line["uid"]: int(line["quantity"])}
            self.stage.square.ring_exchange(sale, back, [(wanted, chance.randint(1, 2))], tip=100)
            self.special["exchanges with a tip"] += 1

    def _old_sale(self, chance: random.Random) -> dict[str, Any] | None:
        candidates = [sale for sale in self.sales if sale["id"] not in self.returned]
        if not candidates:
            return None
        sale = chance.choice(candidates)
        self.returned.add(sale["id"])
        return sale

    def count(self, chance: random.Random) -> None:
        sku = chance.choice(CATALOGUE)[0]
        level = int(self.stage.square.stock()[sku])
        self.stage.square.count(self.items[sku], max(0, level - chance.randint(0, 2)))

    def adjust(self, chance: random.Random) -> None:
        variation = self.items[chance.choice(CATALOGUE)[0]]
        if chance.random() < 0.5:
            self.stage.square.adjust(variation, chance.randint(1, 2), "IN_STOCK", "WASTE")
        else:
            self.stage.square.adjust(variation, chance.randint(5, 20), "NONE", "IN_STOCK", announce=False)  # found by polling

    # -- what is no plain sale of goods ---------------------------------------------------------------------------

    def gift_card(self, chance: random.Random) -> None:
        """A gift card and an article: the card is a liability, no revenue, and moves no stock."""
        card = self.stage.square.typed_in("Gift card", chance.choice([2500, 5000]), "GIFT_CARD", is_taxed=False)
        self.stage.square.ring_sale([card, self._article(chance)], chance.choice(["CARD", "CASH"]))
        self.special["gift cards sold"] += 1

    def delivery(self, chance: random.Random) -> None:
        """Delivery and wrapping, each with its own taxes."""
        charges = [
            self.stage.square.charge(
                "Delivery", {"State delivery tax": "9", "City tax": "1.25"}, amount=chance.choice([490, 1000])
            ),
            self.stage.square.charge("Wrapping", {"State delivery tax": "9"}, percentage="5"),
        ]
        self.stage.square.ring_sale([self._article(chance)], "CARD", charges=charges)
        self.special["taxed deliveries"] += 1

    def repair(self, chance: random.Random) -> None:
        """An amount without an article, beside goods."""
        amount = self.stage.square.typed_in("Grinder repair", chance.randint(1500, 6000))
        self.stage.square.ring_sale([amount, self._article(chance)], "CARD")
        self.special["bare amounts"] += 1

    def rounded_cash(self, chance: random.Random) -> None:
        self.stage.square.ring_sale([self._article(chance)], "CASH", rounding=chance.choice([-2, 2]))
        self.special["rounded cash sales"] += 1

    def not_restocked(self, chance: random.Random) -> None:
        """The money goes back, the broken goods do not."""
        if sale := self._old_sale(chance):
            self.stage.square.ring_return(sale, _some_of(sale, chance), restock=False)
            self.special["returns not restocked"] += 1

    def money_back(self, chance: random.Random) -> None:
        if sale := self._old_sale(chance):
            self.stage.square.ring_return(sale, {}, amount=chance.randint(50, 300))
            self.special["refunds without goods"] += 1

    def tip_back(self, chance: random.Random) -> None:
        sale = self.stage.square.ring_sale([self._article(chance)], "CARD", tip=300)
        self.stage.square.ring_return(sale, {}, tip=300)
        self.special["tips given back"] += 1

    def refund_pending(self, chance: random.Random) -> None:
        """A refund that the bank has not made yet: no return until it has."""
        if sale := self._old_sale(chance):
            self.pending.append(self.stage.square.ring_return(sale, _some_of(sale, chance), status="PENDING"))

    def refund_settled(self) -> None:
        for order in self.pending:
            self.stage.square.settle_refund(order, "COMPLETED")
            self.special["pending refunds"] += 1
        self.pending.clear()

    def _article(self, chance: random.Random) -> tuple[str, int]:
        return self.items[chance.choice(CATALOGUE)[0]], chance.randint(1, 2)

    # -- trouble ------------------------------------------------------------------------------------------------

    def duplicates(self) -> None:
        """Every webhook of one sale, three times over."""
        self.flush()
        self.sell(random.Random(1))
        for _, body, headers in self.stage.square.take_webhooks(self.stage.webhook_url):
            for delay in (0.0, 0.1, 1.5):
                self.stage.sender.send(OutgoingWebhook(self.stage.webhook_url, headers, body), delay)

    def late(self, chance: random.Random) -> None:
        self.flush()
        self.sell(chance)
        for _, body, headers in self.stage.square.take_webhooks(self.stage.webhook_url):
            self.stage.sender.send(OutgoingWebhook(self.stage.webhook_url, headers, body), 20.0)

    def storm(self) -> None:
        self.stage.square_server.faults.add(Fault("throttle", count=10))
        self.stage.inventree_server.faults.add(Fault("throttle", count=5, seconds=1))
        self.stage.erp_server.faults.add(Fault("throttle", count=5, seconds=1))

    def timeouts(self) -> None:
        seconds = 9.0 if self.stage.real_erp else 1.8
        create = r'"model\.account\.invoice\.create"'
        self.stage.erp_server.faults.add(Fault("timeout_after_apply", create, "POST", 2, seconds))
        self.stage.erp_server.faults.add(Fault("drop_after_apply", r'"model\.account\.invoice\.post"', "POST", 1))
        self.stage.inventree_server.faults.add(Fault("timeout_after_apply", r"/api/stock/remove/", "POST", 2, 1.8))
        self.stage.inventree_server.faults.add(Fault("drop_after_apply", r"/api/stock/remove/", "POST", 1))

    def ghost(self) -> None:
        self.stage.square.ring_sale([(self.items[GHOST[0]], 1)], "CARD")

    def malformed_payload(self) -> None:
        broken = json.dumps({"merchant_id": self.stage.square.merchant_id, "type": "order.updated"}).encode()[:-9]
        body, headers = self.stage.square.signed(broken, self.stage.webhook_url)
        self.stage.sender.send(OutgoingWebhook(self.stage.webhook_url, headers, body))
        self.malformed += 1

    def forged(self) -> None:
        body, headers = self.stage.square.signed({"type": "order.updated", "event_id": "forged"}, self.stage.webhook_url)
        self.stage.sender.send(OutgoingWebhook(self.stage.webhook_url, headers, body.replace(b"forged", b"f0rged")))
        self.signature_refusals += 1

    def offline_again(self) -> None:
        lines = [(self.items["SKU-0003"], 1), (self.items["SKU-0006"], 2)]
        first = self.stage.square.ring_sale(lines, "CARD", ticket="OFF-77")
        self.stage.square.ring_sale(lines, "CARD", ticket="OFF-77")
        self.sales.append(first)

    def kill(self, chance: random.Random) -> None:
        """A burst of sales, and the hub dies among them; the vendor keeps retrying its webhooks meanwhile."""
        for _ in range(12):
            self.sell(chance)
        self.flush()
        time.sleep(0.4)
        self.stage.hub.kill()
        for _ in range(4):
            self.sell(chance)
        self.flush()
        time.sleep(1.0)
        self.stage.hub.start()
        self.stage.hub.wait_ready()

    def flush(self) -> None:
        """Send what happened since the last time."""
        for _, body, headers in self.stage.square.take_webhooks(self.stage.webhook_url):
            self.stage.sender.send(OutgoingWebhook(self.stage.webhook_url, headers, body))

    def live(self, tick: Callable[[float], None]) -> None:
        """Run the day; ``tick`` is called several times a second with the seconds gone."""
        self.started = time.monotonic()
        for second, trouble, happen in self.script():
            while (gone := time.monotonic() - self.started) < second:
                tick(gone)
                time.sleep(min(0.15, second - gone))
            if trouble:
                self.log.append((second, trouble))
                tick(second)
            happen()
            self.flush()


def _some_of(sale: dict[str, Any], chance: random.Random) -> dict[str, int]:
    """Some pieces of one line of a sale, by its uid."""
    line = chance.choice(sale["line_items"])
    return {line["uid"]: chance.randint(1, int(line["quantity"]))}
