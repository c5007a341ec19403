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
        guests: their processes.
    """

    home: Path
    in_process: Sequence[str] = ("crossdock-*",)
    guests: Guests = field(default_factory=lambda: Guests(Limits()))


@dataclass(frozen=True)
class Adopted:
    """A connector from a catalogue, as the lock file has it.

    Attributes:
        connector: its name.
        environment: its code, verified.
        tenants: who may use it; None: every tenant.
        canary, canary_tenants: another version, and who gets that one.
        disabled: why none of its code runs; its manifest is still known, so that what arrives for it is kept.
    """

    connector: str
    environment: Environment
    tenants: frozenset[str] | None = None
    canary: Environment | None = None
    canary_tenants: frozenset[str] = frozenset()
    disabled: str = ""


class NotInstalledError(KeyError):
    """No code of this connector runs here, or not for this tenant: what is for it waits."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass
class Plugins:
    """What is installed: connectors by name, their distributions, what could not be loaded, and how they behave."""

    connectors: dict[str, type[Connector]] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    guests: Guests | None = None
    conduct: Conduct = field(default_factory=Conduct)
    adopted: dict[str, Adopted] = field(default_factory=dict)
    _classes: dict[str, type[Connector]] = field(default_factory=dict)

    def known(self, name: str) -> type[Connector]:
        """The connector class, to look at its manifest; raises NotInstalledError."""
        if name not in self.connectors:
            why = f" (quarantined: {self.quarantined[name]})" if name in self.quarantined else ""
            known = ", ".join(sorted(self.connectors)) or "none"
            raise NotInstalledError(f"connector {name!r} is not installed{why}; installed: {known}")
        return self.connectors[name]

    def get(self, name: str, tenant_id: str = "") -> type[Connector]:
        """The connector class to run, of the version that is the tenant's; raises NotInstalledError, whose text says why."""
        self.known(name)
        adopted = self.adopted.get(name)
        if adopted is None:
            return self.connectors[name]
        if adopted.disabled:
            raise NotInstalledError(f"connector {name!r} is disabled: {adopted.disabled}")
        if tenant_id and adopted.tenants is not None and tenant_id not in adopted.tenants:
            raise NotInstalledError(
                f"connector {name!r} is not enabled for {tenant_id}: `hub plugin enable {name} {tenant_id}`"
            )
        if adopted.canary is not None and tenant_id in adopted.canary_tenants:
            return self._class(adopted.canary)
        return self.connectors[name]

    def other(self, name: str, tenant_id: str) -> type[Connector] | None:
        """The version beside the tenant's: the canary's, or for its tenants everybody else's; None: there is none."""
        adopted = self.adopted.get(name)
        if adopted is None or adopted.canary is None or adopted.disabled:
            return None
        return self.connectors[name] if tenant_id in adopted.canary_tenants else self._class(adopted.canary)

    def adopt(self, wanted: Iterable[Adopted]) -> set[str]:
        """Take these in place of what was adopted before; returns the names of connectors that are not what they were."""
        before, adopted, classes = self.adopted, dict[str, Adopted](), dict[str, type[Connector]]()
        for item in wanted:
            if item.connector in self.connectors and item.connector not in before:
                self.quarantined[item.connector] = f"already carried by {self.distributions[item.connector]}"
                continue
            try:
                classes[item.connector] = self._class(item.environment)
                if item.canary is not None:
                    self._class(item.canary)
            except (OSError, ValueError) as error:
                classes.pop(item.connector, None)
                self.quarantined[item.connector] = f"{type(error).__name__}: {str(error)[:500]}"
                continue
            adopted[item.connector] = item
            self.distributions[item.connector] = item.environment.distribution
            self.quarantined.pop(item.connector, None)
        # In this order, and at once: who asks meanwhile must find no class without the fence around it.
        for name in before.keys() - adopted.keys():
            self.connectors.pop(name, None)
        self.adopted = adopted
        self.connectors |= classes
        return {name for name in before.keys() | adopted.keys() if before.get(name) != adopted.get(name)}

    def current(self, connector: Connector) -> bool:
        """Whether an instance is of a class that is in use."""
        kind, name = type(connector), connector.manifest.connector
        adopted = self.adopted.get(name)
        if adopted is None:
            return self.connectors.get(name) is kind
        classes = [self._classes.get(item.digest) for item in (adopted.environment, adopted.canary) if item is not None]
        return not adopted.disabled and kind in classes

    def _class(self, environment: Environment) -> type[Connector]:
        """One class for one code, so that what runs goes on when something else changes."""
        if environment.digest not in self._classes:
            if self.guests is None:
                raise ValueError("this process runs no isolated connectors")
            self._classes[environment.digest] = _isolated(environment, self.guests)
        return self._classes[environment.digest]


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
                _accept(
                    plugins, distribution, _isolated(of_package(isolation.home, distribution, point.value), isolation.guests)
                )
        except (Exception, SystemExit) as error:
            plugins.quarantined[point.name] = f"{type(error).__name__}: {str(error)[:500]}"
    return plugins


def _isolated(environment: Environment, guests: Guests) -> type[Connector]:
    manifest = parse_manifest(environment.manifest.read_text("utf-8"), environment.manifest.name)
    return isolated(environment, manifest, guests)


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
