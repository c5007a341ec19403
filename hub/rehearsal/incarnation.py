"""One incarnation of a hub's process: the flow's own steps, driven one after the other until nothing is open."""

from datetime import timedelta
from typing import Any

from hub.flow import deliver, recover
from hub.flow.context import Context
from hub.flow.relay import Relay
from hub.flow.translate import Translator
from hub.identity.api_keys import Clients
from hub.identity.sessions import Sessions
from hub.identity.vault import open_vault
from hub.integrations.routes import Routes
from hub.rehearsal.ports import InlineLoop, PortedBroker, PortedPerformer, Ports, Surroundings
from hub.runtime.plugins import Plugins
from hub.store import Configured, InlineGroup, MemoryStore
from hub.sync.poll import Poller
from hub.telemetry import Telemetry

_TELEMETRY = Telemetry(sample_ratio=0.0)
_OPEN = ("pending", "claimed", "sending", "ambiguous")


class Incarnation:
    """A hub between its start and its crash; what it knows is gone with it."""

    def __init__(self, world: Surroundings, tenant: str, ports: Ports) -> None:
        self.world, self.tenant, self.ports = world, tenant, ports
        store = MemoryStore(world.memory, lambda: ports("commit"))
        plugins, vault = Plugins(world.connectors), open_vault(world.settings)
        self.loop = InlineLoop(world, PortedPerformer(world, ports, _TELEMETRY))
        configured = Configured()
        self.ctx = Context(
            world.settings, store, InlineGroup(store), PortedBroker(world, ports), plugins, vault,  # type: ignore[arg-type]
            configured, Clients(configured), Sessions(plugins, vault, configured, store), Routes(configured), _TELEMETRY,
            self.loop, lambda: world.now, f"rehearsal-{id(ports)}",  # type: ignore[arg-type]
        )  # fmt: skip
        self.relay, self.translator, self.deliverer = Relay(self.ctx), Translator(self.ctx), deliver.Deliverer(self.ctx)
        self.poller = Poller(self.ctx, threads=1)

    def step(self) -> bool:
        """Everything that is due, once; False if nothing was."""
        found = self.translator.run_once()
        found += self.relay.run_due()
        found += self.relay.sweep()
        found += self.relay.announce()
        found += self.consume()
        return bool(found)

    def consume(self) -> int:
        """Deliver what the broker holds."""
        taken = 0
        for message in list(self.world.messages):
            taken += 1
            for delivery_id in message[1]["delivery_ids"]:
                self.loop.loop.run_until_complete(self.deliverer.deliver(self.tenant, delivery_id, message[1]["trial"]))
            self.ports("acknowledge")
            if message in self.world.messages:
                self.world.messages.remove(message)
        return taken

    def run(self, limit: int = 300) -> None:
        """Until nothing is open (dead letters apart); moves the clock when nothing is due. AssertionError: never at rest."""
        for _ in range(limit):
            if self.step():
                continue
            if not self.waiting():
                return
            self.world.now += timedelta(seconds=self.patience())
            recover.recover(self.ctx)
            self.relay.give_back_stale()
            self.relay.promote()
        raise AssertionError(f"not at rest: {self.rows('delivery')} {self.rows('raw_input')}")

    def patience(self) -> float:
        """Seconds until something can be due: the nearest lease or time of availability, or one."""
        due = self.world.memory.next_due(self.world.now)
        return 1.0 if due is None else max(0.01, (due - self.world.now).total_seconds() + 0.001)

    def waiting(self) -> bool:
        """Whether something is open that time, or a person, has not ended."""
        with self.ctx.store.read() as uow:
            rows = uow.deliveries.page(self.tenant, None, 200)
            blocked = {row["id"] for row in rows if row["state"] == "pending" and uow.deliveries.blocker(row)}
            paused = {row["connection_id"] for row in uow.connections.all(self.tenant) if row["state"] == "paused"}
            raws = uow.raws.page(self.tenant, None, 200, state="received")
        dead = {row["subject"] for row in rows if row["state"] == "dead"}
        return bool(raws) or any(
            row["state"] in _OPEN
            and not (row["id"] in blocked and row["subject"] in dead)
            and row["connection_id"] not in paused
            for row in rows
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.world.memory.rows(table)

    def end(self) -> None:
        self.loop.close()
