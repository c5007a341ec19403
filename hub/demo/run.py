"""Puts stage, day, view and closing together."""

import shutil
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from hub.cli.client import Api
from hub.demo.closing import Closing, close_books, print_closing
from hub.demo.day import LENGTH, Day
from hub.demo.stage import DemoError, HubProcess, Stage, configure, free_port, prepare, simulator
from hub.demo.view import View, wide_console
from hub.sdk.testing import Forward, SimulatorServer, WebhookSender

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
#: Exit code of a demo that Ctrl-C ended before its closing table: nothing was compared.
_INTERRUPTED = 128 + signal.SIGINT


def run(folder: Path, real_erp: bool = False, leave: bool = False) -> int:
    """The whole demo; returns the exit code: 0 only if nothing was lost, doubled or left unexplained."""
    console = wide_console()
    stage: Stage | None = None
    closing: Closing | None = None
    _end_on_signals()
    try:
        stage = _set(folder, real_erp, console)
        day = Day(stage)
        closing = _trade(stage, day)
        print_closing(closing, console, real_erp)
        _tell_where(stage, day, console)
        if not leave:
            console.print("Running on; Ctrl-C ends it.")
            while True:
                time.sleep(1)
        return int(not closing.clean)
    except DemoError as error:
        console.print(f"demo: {error}", style="red", highlight=False)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED if closing is None else int(not closing.clean)
    finally:
        _ignore_signals()
        if stage is not None:
            stage.close()


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does: everything that it started is stopped."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)


def _ignore_signals() -> None:
    """Let nothing interrupt the end."""
    for number in (signal.SIGINT, *_SIGNALS):
        signal.signal(number, signal.SIG_IGN)


def _set(folder: Path, real_erp: bool, console: Console) -> Stage:
    run_folder = folder / "run"
    shutil.rmtree(run_folder, ignore_errors=True)
    run_folder.mkdir(parents=True)
    square, inventree = simulator("square"), simulator("inventree")
    if real_erp:
        from hub.demo.tryton_server import TrytonServer

        server = TrytonServer(folder / "tryton", run_folder, lambda text: console.print(f"Tryton: {text}"))
        erp, target = server, Forward(server.url)
    else:
        erp = target = simulator("tryton")
    store, key = prepare(run_folder)
    hub = HubProcess(run_folder, free_port(18700))
    stage = Stage(
        run_folder, hub, store, Api(hub.url, key), key, square, inventree, erp, SimulatorServer(square, free_port(18100)),
        SimulatorServer(inventree, free_port(18120)), SimulatorServer(target, free_port(18140)), WebhookSender(), real_erp,
    )  # fmt: skip
    try:
        hub.start()
        hub.wait_ready()
        configure(stage)
    except BaseException:
        _ignore_signals()
        stage.close()
        raise
    return stage


def _trade(stage: Stage, day: Day) -> Closing:
    with View(stage, LENGTH, day.log) as view:
        day.open_shop()
        day.live(view.tick)
        _settle(stage, day, view)
    return close_books(stage, day)


def _settle(stage: Stage, day: Day, view: View) -> None:
    """Until nothing is under way any more; what a person has to decide stays."""
    limit = 600.0 if stage.real_erp else 90.0
    quiet_since = None
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        view.tick(time.monotonic() - day.started, "settling")
        code, status = stage.api.request("GET", "/v1/status")
        busy = code != 200 or stage.sender.waiting or status["raw"].get("received", 0)
        busy = busy or any(row["state"] in ("pending", "claimed", "sending", "ambiguous") for row in status["deliveries"])
        if busy:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 3.0:  # longer than a poll's interval
            return
        time.sleep(0.2)
    view.console.print(f"not settled after {limit:.0f} s; the table shows what waits", style="yellow")


def _tell_where(stage: Stage, day: Day, console: Console) -> None:
    sale = day.sales[len(day.sales) // 2]["id"]
    base, command = stage.hub.url, Path(sys.executable).parent / "hub"
    for what, where in (
        ("API", f"{base}/v1/messages"), ("documentation", f"{base}/docs/"), ("console", f"{base}/console"),
        ("lineage of a sale", f"{base}/console/lineage?of={sale}"), ("API key", stage.key),
        ("in a terminal", f"{command} lineage {sale} --url {base} --key {stage.key}"), ("log", str(stage.folder / "hub.log")),
    ):  # fmt: skip
        console.print(f"{what:18} {where}", highlight=False, soft_wrap=True)
