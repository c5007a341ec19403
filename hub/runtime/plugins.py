"""Carries plugins into the hub: entry points `hub.connectors`, loaded one by one; a broken one is quarantined."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

import pluggy

from hub.sdk import hookspecs
from hub.sdk.connector import Connector

GROUP = "hub.connectors"


@dataclass
class Plugins:
    """What is installed: connectors by name, their distributions, and what could not be loaded."""

    connectors: dict[str, type[Connector]] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> type[Connector]:
        """The connector class; raises KeyError whose text says what is installed."""
        if name not in self.connectors:
            why = f" (quarantined: {self.quarantined[name]})" if name in self.quarantined else ""
            known = ", ".join(sorted(self.connectors)) or "none"
            raise KeyError(f"connector {name!r} is not installed{why}; installed: {known}")
        return self.connectors[name]


def load_plugins(points: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every plugin; one that fails costs only itself."""
    plugins = Plugins()
    for point in entry_points(group=GROUP) if points is None else points:
        # Whatever a plugin's import does wrong, SystemExit included, must not stop the host.
        try:
            for connector in _connectors_of(point):
                _accept(plugins, point, connector)
        except (Exception, SystemExit) as error:
            plugins.quarantined[point.name] = f"{type(error).__name__}: {str(error)[:500]}"
    return plugins


def _connectors_of(point: EntryPoint) -> list[type[Connector]]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(point.load(), name=point.name)
    manager.check_pending()
    return [connector for answer in manager.hook.hub_connectors() for connector in answer]


def _accept(plugins: Plugins, point: EntryPoint, connector: type[Connector]) -> None:
    name = connector.manifest.connector
    if name in plugins.connectors:
        raise ValueError(f"connector {name!r} is already carried by {plugins.distributions[name]}")
    if problems := connector.disagreements():
        raise ValueError("; ".join(problems))
    plugins.connectors[name] = connector
    distribution = point.dist.name if point.dist else point.value
    plugins.distributions[name] = f"{distribution} {point.dist.version if point.dist else ''}".strip()
