"""What an isolated connector costs: the same deliveries in the hub's process and in a process of its own, in turns, in one run.

`make isolation DELIVERIES=400 TURNS=4` prints processor time per delivery (hub and its children; the target is another process)
from claim to outcome, and the ratio of the medians.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from importlib.metadata import EntryPoint
from pathlib import Path

from hostile import pack
from support import VAULT_KEY

from canonical.examples import EXAMPLES
from hub.bootstrap import Hub, utc_now
from hub.flow.context import Context
from hub.flow.ingest import accept_event
from hub.identity.api_keys import SCOPES, Client
from hub.identity.connections import set_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.runtime.plugins import Isolation, load_plugins
from hub.sdk import Response
from hub.sdk.testing import SimulatorServer
from hub.sdk.testing.simulator import SimRequest, Simulator, answer
from hub.settings import Settings


class _Target(Simulator):
    def handle(self, request: SimRequest) -> Response:
        return answer(200, {"id": "1"})


def _serve(pipe: "multiprocessing.connection.Connection") -> None:
    server = SimulatorServer(_Target())
    pipe.send(server.url)
    pipe.recv()


def main() -> int:
    """Run the turns and print the table; exit code 1 if a delivery was not applied."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--deliveries", type=int, default=400)
    parser.add_argument("--turns", type=int, default=4)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    target = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs,), daemon=True)
    target.start()
    costs: dict[str, list[float]] = {"in process": [], "isolated": []}
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as folder:
        pack.write(Path(folder) / "code", "peaceful")
        sys.path.insert(0, str(Path(folder) / "code"))
        url = ours.recv()
        for turn in range(options.turns):
            for kind in costs if turn % 2 == 0 else reversed(costs):
                cost = _turn(Path(folder) / f"{turn}-{kind.replace(' ', '-')}", kind, url, options.deliveries)
                costs[kind].append(cost)
                print(f"turn {turn + 1}  {kind:10}  {cost * 1e6:8.0f} µs of processor per delivery", flush=True)
    ours.send("end")
    medians = {kind: statistics.median(found) for kind, found in costs.items()}
    ratio = medians["isolated"] / medians["in process"]
    print(" · ".join(f"{kind} {cost * 1e6:.0f} µs" for kind, cost in medians.items()), f"· ratio {ratio:.2f}")
    return 0


def _turn(folder: Path, kind: str, url: str, deliveries: int) -> float:
    """Seconds of processor per delivery."""
    isolation = Isolation(folder.parent / "plugins", in_process=("*",) if kind == "in process" else ())
    plugins = load_plugins([EntryPoint("peaceful", "hub_peaceful", "hub.connectors")], isolation)
    settings = Settings(data_dir=folder, vault_key=VAULT_KEY, egress_private_hosts="127.0.0.1", sweep_seconds=0.05)
    with Hub(settings, plugins) as hub:
        ctx = hub.ctx
        ctx.store.upgrade()
        text = f"integration: all\nconnections:\n  erp: {{connector: peaceful, base_url: \"{url}\"}}\n" \
               "flows:\n  - {name: products, on: product.v2, to: [{connection: erp}]}\n"  # fmt: skip
        with ctx.store.begin() as uow:
            uow.tenants.add("acme", "Acme", utc_now())
            apply_integration(uow, plugins, "acme", parse_integration(text, "all.yaml", plugins), "bench", "", utc_now())
            set_credentials(uow, plugins, ctx.vault, "acme", "erp", {"token": "bench-token"}, utc_now(), "bench")
        client = Client("acme", "", "bench", frozenset(SCOPES))

        def publish(start: int, number: int) -> None:
            for item in range(start, start + number):
                document = {**EXAMPLES["product.v2"], "id": f"P-{item}", "sku": f"SKU-{item}"}
                accept_event(ctx, client, {"specversion": "1.0", "id": f"{item}", "source": "/bench", "type": "product.v2",
                                           "time": "2026-11-21T12:00:00Z", "data": document})  # fmt: skip

        def applied() -> int:
            with ctx.store.read() as uow:
                return sum(row["count"] for row in uow.deliveries.counts("acme") if row["state"] == "applied")

        publish(0, 20)
        hub.start()
        _until(lambda: applied() == 20)  # the guest has started, everything is warm
        _set_state(ctx, "paused")  # what is measured is the delivery, from claim to outcome
        publish(20, deliveries)
        before = _processor()
        _set_state(ctx, "active")
        _until(lambda: applied() == 20 + deliveries)
        return (_processor() - before) / deliveries


def _set_state(ctx: Context, state: str) -> None:
    with ctx.store.begin() as uow:
        uow.connections.set_state("acme", "erp", state, "", utc_now())


def _processor() -> float:
    """Processor time so far of this process and of its living guests."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = used.ru_utime + used.ru_stime
    tick = os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and "hub.sdk.guest" in stat.with_name("cmdline").read_text():
                total += (int(fields[11]) + int(fields[12])) / tick
        except (OSError, ValueError):
            continue
    return total


def _until(condition: object) -> None:
    deadline = time.monotonic() + 300
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit("not done after 300 s")
        time.sleep(0.05)


if __name__ == "__main__":
    raise SystemExit(main())
