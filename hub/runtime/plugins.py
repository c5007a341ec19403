"""Carries plugins into the hub: entry points `hub.connectors`, loaded one by one; a broken one is quarantined.

Distributions that may run in this process (`Isolation.in_process`) are imported; of every other the hub reads connector.yaml
and leaves the code to a process of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pluggy

from hub.runtime.conduct import Conduct
from hub.runtime.environments import Environment, of_package
from hub.runtime.guest import Limits
from hub.runtime.isolation import Guests, IsolatedConnector, isolated
from hub.sdk import hookspecs
from hub.sdk.connector import Connector
from hub.sdk.manifest import parse_manifest

GROUP = "hub.connectors"


@dataclass(frozen=True)
class Isolation:
    """Where isolated connectors live, and who is none of them.

    Attributes:
        home: folder of their environments.
        in_process: patterns of distributions that run in the hub's own process.
        environments: what was installed from a catalogue, verified.
        guests: their processes.
    """

    home: Path
    in_process: Sequence[str] = ("crossdock-*",)
    environments: Sequence[Environment] = ()
    guests: Guests = field(default_factory=lambda: Guests(Limits()))


@dataclass
class Plugins:
    """What is installed: connectors by name, their distributions, what could not be loaded, and how they behave."""

    connectors: dict[str, type[Connector]] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    guests: Guests | None = None
    conduct: Conduct = field(default_factory=Conduct)

    def get(self, name: str) -> type[Connector]:
        """The connector class; raises KeyError whose text says what is installed."""
        if name not in self.connectors:
            why = f" (quarantined: {self.quarantined[name]})" if name in self.quarantined else ""
            known = ", ".join(sorted(self.connectors)) or "none"
            raise KeyError(f"connector {name!r} is not installed{why}; installed: {known}")
        return self.connectors[name]


def load_plugins(points: Iterable[EntryPoint] | None = None, isolation: Isolation | None = None) -> Plugins:
    """Load every plugin; one that fails costs only itself. Without ``isolation`` every one is imported: a developer's tools."""
    plugins = Plugins(guests=isolation.guests if isolation else None)
    for point in entry_points(group=GROUP) if points is None else points:
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        # Whatever a plugin's import does wrong, SystemExit included, must not stop the host.
        try:
            if isolation is None or any(fnmatchcase(distribution.partition(" ")[0], item) for item in isolation.in_process):
                for connector in _connectors_of(point):
                    _accept(plugins, distribution, connector)
            else:
                _accept(plugins, distribution, _isolated(of_package(isolation.home, distribution, point.value), isolation))
        except (Exception, SystemExit) as error:
            plugins.quarantined[point.name] = f"{type(error).__name__}: {str(error)[:500]}"
    if isolation is None:
        return plugins
    for environment in isolation.environments:
        try:
            _accept(plugins, environment.distribution, _isolated(environment, isolation))
        except (OSError, ValueError) as error:
            plugins.quarantined[environment.distribution.partition(" ")[0]] = f"{type(error).__name__}: {str(error)[:500]}"
    return plugins


def _isolated(environment: Environment, isolation: Isolation) -> type[Connector]:
    manifest = parse_manifest(environment.manifest.read_text("utf-8"), environment.manifest.name)
    return isolated(environment, manifest, isolation.guests)


def _connectors_of(point: EntryPoint) -> list[type[Connector]]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(point.load(), name=point.name)
    manager.check_pending()
    return [connector for answer in manager.hook.hub_connectors() for connector in answer]


def _accept(plugins: Plugins, distribution: str, connector: type[Connector]) -> None:
    name = connector.manifest.connector
    if name in plugins.connectors:
        raise ValueError(f"connector {name!r} is already carried by {plugins.distributions[name]}")
    if not issubclass(connector, IsolatedConnector) and (problems := connector.disagreements()):
        raise ValueError("; ".join(problems))
    plugins.connectors[name] = connector
    plugins.distributions[name] = distribution
