"""The flows that are swept: what happens, written so that whoever started it starts it again after a crash."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.flow import replay
from simulation.world import TENANT, SimHub, World


@dataclass(frozen=True)
class Flow:
    """A target strategy, the target's faults, and what happens."""

    target: str
    faults: tuple[str, ...]
    act: Callable[[SimHub], None]

    def world(self) -> World:
        world = World(self.target)
        world.target.faults = list(self.faults)
        return world


def _webhook(hub: SimHub) -> None:
    """A thin webhook, fetched, translated, delivered; the till repeats what was not answered."""
    if "P@1" not in hub.world.acknowledged:
        hub.webhook("P", 1)
    hub.run()


def _event(hub: SimHub) -> None:
    """An event of an internal system, which repeats what was not answered."""
    if "P@1" not in hub.world.acknowledged:
        hub.publish("P", 1)
    hub.run()


def _siblings(hub: SimHub) -> None:
    """Two states of one entity, and another entity."""
    for product, version in (("P", 1), ("P", 2), ("Q", 1)):
        if f"{product}@{version}" not in hub.world.acknowledged:
            hub.publish(product, version)
    hub.run()


def _dead_and_replayed(hub: SimHub) -> None:
    """The target refuses once; a person replays."""
    _event(hub)
    for row in hub.rows("delivery"):
        if row["state"] == "dead":
            with hub.ctx.store.read() as uow:
                dead = uow.deliveries.page(TENANT, None, 10, state="dead")
            replay.replay_delivery(hub.ctx, TENANT, dead[0]["id"], "test")
    hub.run()


def _stale(hub: SimHub) -> None:
    """A newer state comes first and is applied; the older one comes late."""
    if "P@2" not in hub.world.acknowledged:
        hub.publish("P", 2)
    hub.run()
    if "P@1" not in hub.world.acknowledged:
        hub.publish("P", 1)
    hub.run()


FLOWS: dict[str, Flow] = {
    "webhook": Flow("finder", (), _webhook),
    "event": Flow("finder", (), _event),
    "event, native key": Flow("native", (), _event),
    "siblings": Flow("native", (), _siblings),
    "answer lost": Flow("finder", ("lost",), _event),
    "answer to the second request lost": Flow("finder", ("", "lost"), _event),
    "applied after the time-out": Flow("finder", ("slow",), _event),
    "target down": Flow("finder", ("down", "", "down"), _event),
    "dead and replayed": Flow("finder", ("", "reject"), _dead_and_replayed),
    "refused though applied, replayed": Flow("prober", ("applied and refused",), _dead_and_replayed),
    "sent without looking": Flow("prober", (), _event),
    "sent without looking, answer lost": Flow("prober", ("lost",), _siblings),
    "late state": Flow("native", (), _stale),
}
