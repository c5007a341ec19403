"""What every step works with. `bootstrap` makes one per hub; nothing here is global."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from hub.broker import Broker
from hub.identity.sessions import Sessions
from hub.identity.vault import Vault
from hub.integrations.routes import Routes
from hub.runtime.loop import Loop
from hub.runtime.plugins import Plugins
from hub.settings import Settings
from hub.store import Store
from hub.telemetry import Telemetry


@dataclass
class Context:
    """The hub's parts, its clock, and the bells that wake a step when there is work (the sweeps find it without them)."""

    settings: Settings
    store: Store
    broker: Broker
    plugins: Plugins
    vault: Vault
    sessions: Sessions
    routes: Routes
    telemetry: Telemetry
    loop: Loop
    clock: Callable[[], datetime]
    instance: str
    raw_arrived: threading.Event = field(default_factory=threading.Event)
    delivery_due: threading.Event = field(default_factory=threading.Event)
