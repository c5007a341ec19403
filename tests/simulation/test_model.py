"""L1: a Hypothesis state machine of the hub against a dict: accept, deliver, crash, retry, correct, replay, pause, resume, rotate."""

import copy
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub.errors import HubError
from hub.flow import recover, replay
from hub.identity import connections
from hub.identity.vault import open_vault, save_credentials
from simulation.world import TENANT, Crash, SimHub, World, document

PRODUCTS = st.sampled_from(["A", "B", "C"])
VERSIONS = st.integers(1, 6)
FAULTS = st.lists(st.sampled_from(["lost", "slow", "down", "reject", "applied and refused", ""]), max_size=3)


class HubModel(RuleBasedStateMachine):
    """The hub, and what it must look like: accepted facts by id, and which of them may still change."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self.hub: SimHub
        self.accepted: dict[str, tuple[str, int]] = {}
        self.discarded: set[str] = set()
        self.paused = False
        self.rejected = 0

    @initialize(strategy=st.sampled_from(["finder", "prober", "native"]))
    def begin(self, strategy: str) -> None:
        self.world = World(strategy)
        self.hub = self.world.incarnation()

    def _again(self) -> None:
        World.memory.crash()
        self.hub.end()
        self.hub = self.world.incarnation()

    def _dead(self) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return uow.deliveries.page(TENANT, None, 200, state="dead")

    @rule(product=PRODUCTS, version=VERSIONS)
    def accept(self, product: str, version: int) -> None:
        """A new fact, or one that was sent before: one message either way."""
        first = self.world.acknowledged.get(f"{product}@{version}")
        message = self.hub.publish(product, version)
        assert first in (None, message), "the same fact became another message"
        self.accepted[f"{product}@{version}"] = (product, version)

    @rule(product=PRODUCTS, version=VERSIONS)
    def accept_another_document_under_a_known_id(self, product: str, version: int) -> None:
        name = f"{product}@{version}"
        if name not in self.accepted:
            return
        changed = copy.deepcopy(document(product, version)) | {"name": "another"}
        envelope = {"specversion": "1.0", "id": name, "source": "/pim", "type": "product.v1", "time": changed["updated_at"],
                    "data": changed}  # fmt: skip
        from hub.flow.ingest import accept_event
        from hub.identity.api_keys import SCOPES, Client

        try:
            accept_event(self.hub.ctx, Client(TENANT, "k", "pim", frozenset(SCOPES)), envelope)
        except HubError as error:
            assert error.code == "idempotency_mismatch"  # noqa: PT017
            return
        raise AssertionError("another document was accepted under a known id")

    @rule(product=st.sampled_from(["X", "Y"]), version=VERSIONS)
    def announce(self, product: str, version: int) -> None:
        """A thin webhook; what it becomes depends on what the till says when it is asked."""
        self.hub.webhook(product, version)

    @rule(faults=FAULTS)
    def misbehave(self, faults: list[str]) -> None:
        self.world.target.faults += faults

    @rule()
    def step(self) -> None:
        self.hub.step()

    @rule(seconds=st.sampled_from([0.5, 3.0, 12.0, 70.0]))
    def wait(self, seconds: float) -> None:
        from datetime import timedelta

        self.world.now += timedelta(seconds=seconds)
        recover.recover(self.hub.ctx)
        self.hub.relay.give_back_stale()

    @rule(at=st.integers(1, 12))
    def crash(self, at: int) -> None:
        """The process dies at its ``at``-th effect from here."""
        self.hub.ports.crash_at = self.hub.ports.count + at
        try:
            self.hub.step()
        except Crash:
            self._again()
        else:
            self.hub.ports.crash_at = 0

    @rule()
    def restart(self) -> None:
        self._again()

    @rule()
    def broker_forgets(self) -> None:
        self.world.messages.clear()

    @rule()
    def broker_repeats(self) -> None:
        self.world.messages += self.world.messages[:3]

    @precondition(lambda self: hasattr(self, "hub") and self._dead())
    @rule(what=st.sampled_from(["replay", "correct", "discard"]))
    def decide(self, what: str) -> None:
        """A person decides about the first dead letter."""
        row = self._dead()[-1]
        if what == "replay":
            replay.replay_delivery(self.hub.ctx, TENANT, row["id"], "test")
        elif what == "discard":
            replay.discard_delivery(self.hub.ctx, TENANT, row["id"], "test", "by hand")
        else:
            with self.hub.ctx.store.read() as uow:
                message = uow.messages.get(TENANT, row["message_id"])
            assert message is not None
            product, _, version = message["source_id"].partition("@")
            known = {
                "id": product,
                "sku": product,
                "name": "corrected",
                "active": True,
                "updated_at": document(product, 1)["updated_at"],
            }
            if version.isdigit():
                known["updated_at"] = document(product, int(version))["updated_at"]
            else:
                known["updated_at"] = version
            replay.correct_delivery(self.hub.ctx, TENANT, row["id"], known, "test", "a better name")

    @rule()
    def pause(self) -> None:
        with self.hub.ctx.store.begin() as uow:
            session = self.hub.ctx.sessions.get(uow, TENANT, "erp")
            connections.pause(uow, session, "401", self.world.now, "test")
        self.paused = True

    @rule()
    def resume(self) -> None:
        with self.hub.ctx.store.begin() as uow:
            connections.resume(uow, TENANT, "erp", self.world.now, "test", "")
        self.paused = False

    @rule()
    def rotate(self) -> None:
        """The till's signing secret is replaced; webhooks are signed with the new one at once."""
        from simulation.world import SECRET

        with self.hub.ctx.store.begin() as uow:
            save_credentials(uow, open_vault(self.world.settings), TENANT, "till", {"secret": SECRET}, self.world.now)

    # -- what holds at every moment ---------------------------------------------------------------------------------

    @invariant()
    def everything_accepted_is_there_with_its_delivery(self) -> None:
        if not hasattr(self, "hub"):
            return
        messages = {row["source_id"]: row for row in self.hub.rows("message")}
        deliveries = self.hub.rows("delivery")
        assert set(self.accepted) <= set(messages)
        assert len(messages) == len(deliveries)

    @invariant()
    def nothing_is_at_the_target_twice(self) -> None:
        if not hasattr(self, "hub"):
            return
        keys = [row["key"] for row in self.world.target.documents]
        assert len(keys) == len(set(keys))

    @invariant()
    def one_delivery_of_an_entity_is_under_way(self) -> None:
        if not hasattr(self, "hub"):
            return
        busy = [row["subject"] for row in self.hub.rows("delivery") if row["state"] in ("claimed", "sending")]
        assert len(busy) == len(set(busy))

    @invariant()
    def nothing_goes_to_a_paused_connection(self) -> None:
        if not hasattr(self, "hub"):
            return
        if self.paused:
            before = len(self.world.target.documents)
            self.hub.relay.sweep()
            assert len(self.world.target.documents) == before

    def teardown(self) -> None:
        """Resume, mend what is dead, let it come to rest: then every invariant of the sweep holds."""
        if not hasattr(self, "hub"):
            return
        from simulation.invariants import check

        self.world.target.faults.clear()
        self._again()
        self.resume()
        for _ in range(60):
            self.hub.run()
            if not self._dead():
                break
            self.decide("discard")
        self.hub.end()
        discarded = any(row["state"] == "discarded" for row in self.hub.rows("delivery"))
        if not discarded:
            check(self.world)
        else:
            keys = [row["key"] for row in self.world.target.documents]
            assert len(keys) == len(set(keys))


EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "40"))
HubModel.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)  # fmt: skip
TestHubModel = HubModel.TestCase
