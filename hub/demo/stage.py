"""The stage: three systems on loopback ports, a hub in its own process that can be killed, a tenant and its key."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hub.bootstrap import utc_now
from hub.cli.client import Api
from hub.identity.api_keys import TENANT_SCOPES, create_key
from hub.policies import audit
from hub.sdk.testing import SimulatorServer, WebhookSender
from hub.store import Store

TENANT = "demo"


class DemoError(Exception):
    """The demo cannot go on; one clear line."""


def simulator(name: str, **arguments: Any) -> Any:
    """The simulator that an installed plugin ships."""
    for point in entry_points(group="hub.simulators"):
        if point.name == name:
            return point.load()(**arguments)
    raise DemoError(f"the {name} plugin is not installed; run `make demo`, which installs it")


def free_port(start: int) -> int:
    """A free loopback port at or above ``start``, below the ephemeral range."""
    for port in range(start, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise DemoError("no free port below 32000")


@dataclass
class HubProcess:
    """The hub as its own process, so that kill -9 is a real one."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
        environment |= {
            "HUB_DATA_DIR": str(self.folder / "data"), "HUB_PORT": str(self.port), "HUB_LEASE_SECONDS": "20",
            "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1", "HUB_RETRY_BASE_SECONDS": "0.5", "HUB_SWEEP_SECONDS": "0.2",
        }  # fmt: skip
        command = [sys.executable, "-m", "hub.demo.child"]
        with (self.folder / "hub.log").open("ab") as log:
            # The end of its standard input tells the child that this process is gone.
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def wait_ready(self, seconds: float = 40.0) -> None:
        api, deadline = Api(self.url, ""), time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise DemoError(f"the hub ended with code {self.process.returncode}; see {self.folder / 'hub.log'}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0 and api.request("GET", "/health/ready")[0] == 200:
                    return
            time.sleep(0.1)
        raise DemoError(f"the hub was not ready within {seconds:.0f} s; see {self.folder / 'hub.log'}")

    def kill(self) -> None:
        """Kill -9: no handler runs, nothing is flushed."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Stage:
    """Everything that is up during the demo."""

    folder: Path
    hub: HubProcess
    store: Store
    api: Api
    key: str
    square: Any
    inventree: Any
    erp: Any
    square_server: SimulatorServer
    inventree_server: SimulatorServer
    erp_server: SimulatorServer
    sender: WebhookSender
    real_erp: bool

    @property
    def webhook_url(self) -> str:
        return f"{self.hub.url}/webhooks/{TENANT}/pos"

    def close(self) -> None:
        self.sender.close()
        self.hub.stop()
        for server in (self.square_server, self.inventree_server, self.erp_server):
            server.close()
        if self.real_erp:
            self.erp.stop()
        self.store.close()


def integration_text(stage: Stage) -> str:
    """The demo's integration file with this run's ports."""
    values = {
        "square_url": stage.square_server.url, "tryton_url": stage.erp_server.url,
        "inventree_url": stage.inventree_server.url, "timeout": "1.5",
        "erp_timeout": "8" if stage.real_erp else "1.5", "in_flight": "10" if stage.real_erp else "2",
    }  # fmt: skip
    text = (Path(__file__).parent / "stores.yaml").read_text("utf-8")
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def prepare(folder: Path) -> tuple[Store, str]:
    """A fresh store with tenant and key."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    store = Store(f"sqlite:///{data / 'hub.sqlite'}")
    store.upgrade()
    now = utc_now()
    with store.begin() as uow:
        uow.tenants.add(TENANT, "Harbour Street Retail", now)
        audit.record(uow, TENANT, now, "demo", "tenant.created", f"tenant/{TENANT}")
        return store, create_key(uow, TENANT, "demo", TENANT_SCOPES, now)


def configure(stage: Stage) -> None:
    """Apply the integration and set the credentials, through the API as a user would."""
    body = {"source": integration_text(stage), "name": "stores.yaml", "reason": "demo"}
    stage.api.call("POST", "/v1/integrations", body)
    credentials = {
        "pos": {"access_token": stage.square.token, "webhook_signature_key": stage.square.signature_key},
        "erp": {"username": stage.erp.username, "password": stage.erp.password},
        "stock": {"token": stage.inventree.token},
    }
    for connection, values in credentials.items():
        stage.api.call("PUT", f"/v1/connections/{connection}/credentials", values)
