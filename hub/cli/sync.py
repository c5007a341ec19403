"""`hub sync …`: what is read and when, history read on request, runs told truly."""

from typing import Any

import click

from hub.cli.client import Api, api_options, show


@click.group()
def sync() -> None:
    """Read systems: streams by cadence, backfills, and what became of all they read."""


@sync.command("streams", epilog="Example: hub sync streams")
@api_options
def streams(url: str, key: str, as_json: bool) -> None:
    """List what flows read, how often, and how the last read ended; exit code 1 if one failed."""
    result = Api(url, key).call("GET", "/v1/streams")

    def text(page: Any) -> str:
        rows = [
            f"{item['connection_id']:10} {item['object']:20} {_cadences(item):30} "
            f"{item['run'].get('state', '-'):12} next {(item['next_run_at'] or 'when asked')[:19]} "
            f"{item['run'].get('error', '')}"
            for item in page["items"]
        ]
        return "\n".join(rows) or "no flow reads anything"

    show(result, as_json, text)
    raise SystemExit(1 if any(item["run"].get("error") for item in result["items"]) else 0)


def _cadences(item: Any) -> str:
    return ", ".join([*item["cadences"], *(f"in full {text}" for text in item["full_reads"])])


@sync.command("now", epilog="Example: hub sync now pos inventory_change")
@click.argument("connection")
@click.argument("object_name", metavar="OBJECT")
@api_options
def now(connection: str, object_name: str, url: str, key: str, as_json: bool) -> None:
    """Read a stream at once, whatever its cadence."""
    result = Api(url, key).call("POST", f"/v1/streams/{connection}/{object_name}/read")
    show(result, as_json, lambda item: f"{item['connection_id']} {item['object']} is due")


@sync.command(
    "cursor", epilog="Example: hub sync cursor pos order since=2026-11-21T15:00:00Z --reason 'the old one has read so far'"
)
@click.argument("connection")
@click.argument("object_name", metavar="OBJECT")
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE…")
@click.option("--reason", default="", help="Kept in the audit record.")
@api_options
def cursor(
    connection: str, object_name: str, values: tuple[str, ...], reason: str, url: str, key: str, as_json: bool
) -> None:  # fmt: skip
    """Let a stream go on where another integration has come to: what was before is not read again."""
    pairs = dict(value.partition("=")[::2] for value in values)
    if not all(pairs.values()):
        raise click.UsageError("give the cursor as NAME=VALUE, for example since=2026-11-21T15:00:00Z")
    body = {"cursor": pairs, "reason": reason}
    result = Api(url, key).call("PUT", f"/v1/streams/{connection}/{object_name}/cursor", body)
    show(result, as_json, lambda item: f"{item['connection_id']} {item['object']} goes on from {', '.join(values)}")


@sync.command("subscriptions", epilog="Example: hub sync subscriptions")
@api_options
def subscriptions(url: str, key: str, as_json: bool) -> None:
    """List what systems were asked to send by webhook; exit code 1 if one does not."""
    _subscriptions(Api(url, key).call("GET", "/v1/subscriptions"), as_json)


@sync.command("subscribe", epilog="Example: hub sync subscribe shop")
@click.argument("connection")
@api_options
def subscribe(connection: str, url: str, key: str, as_json: bool) -> None:
    """Compare a system's webhook subscriptions with what is wanted, and mend them, now; exit code 1 if one is refused."""
    _subscriptions(Api(url, key).call("POST", f"/v1/connections/{connection}/subscriptions"), as_json)


def _subscriptions(result: Any, as_json: bool) -> None:
    def text(page: Any) -> str:
        rows = [
            f"{item['connection_id']:10} {item['topic']:28} {item['state']:8} since {item['since'][:19]} "
            f"mended {item['repairs']} x {item['detail']}"
            for item in page["items"]
        ]
        return "\n".join(rows) or "no connector in use asks for webhooks by itself"

    show(result, as_json, text)
    raise SystemExit(1 if any(item["state"] != "active" for item in result["items"]) else 0)


@sync.command("gaps", epilog="Example: hub sync gaps --state open")
@click.option("--state", type=click.Choice(["waiting", "open", "filled", "accepted"]), help="Only these.")
@click.option("--limit", default=50, show_default=True)
@api_options
def gaps(state: str | None, limit: int, url: str, key: str, as_json: bool) -> None:
    """List numbers of a sequence (receipts of a till) that were not told; exit code 1 if some are open."""
    result = Api(url, key).call("GET", "/v1/gaps", query={"state": state, "limit": limit})
    show(result, as_json, lambda page: "\n".join(_gap(item) for item in page["items"]) or "nothing is missing")
    raise SystemExit(1 if any(item["state"] == "open" for item in result["items"]) else 0)


@sync.command("accept", epilog="Example: hub sync accept 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 --reason 'given up at the till'")
@click.argument("gap_id")
@click.option("--reason", default="", help="Kept in the audit record.")
@api_options
def accept(gap_id: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """Say that a missing number never was."""
    show(Api(url, key).call("POST", f"/v1/gaps/{gap_id}/accept", {"reason": reason}), as_json, _gap)


def _gap(item: Any) -> str:
    return (
        f"{item['id']}  {item['state']:8} {item['connection_id']} {item['series']} {item['number']} "
        f"({item['sequence']}, noticed {item['noticed_at'][:19]})"
    )


@sync.command("backfill", epilog="Example: hub sync backfill pos order --since 2026-01-01T00:00:00Z --reason 'new store'")
@click.argument("connection")
@click.argument("object_name", metavar="OBJECT")
@click.option("--since", default="", help="In the system's notation; everything if it is not said.")
@click.option("--until", default="", help="Default: now.")
@click.option("--withdraw", is_flag=True, help="Read everything, and withdraw what was there before and is not any more.")
@click.option("--reason", default="", help="Kept in the audit record.")
@api_options
def backfill(
    connection: str, object_name: str, since: str, until: str, withdraw: bool, reason: str, url: str, key: str, as_json: bool
) -> None:  # fmt: skip
    """Read a period that was, or everything: in the bulk lane, a share of the time, resumable."""
    given = {"since": since, "until": until, "withdraw": withdraw, "reason": reason}
    body = {"connection_id": connection, "object": object_name, **{name: value for name, value in given.items() if value}}
    show(Api(url, key).call("POST", "/v1/backfills", body), as_json, _run)


@sync.command("runs", epilog="Example: hub sync runs --kind backfill")
@click.option("--connection", default=None, help="Of this connection.")
@click.option("--kind", type=click.Choice(["poll", "backfill", "full"]), help="Only these.")
@click.option("--limit", default=20, show_default=True)
@api_options
def runs(connection: str | None, kind: str | None, limit: int, url: str, key: str, as_json: bool) -> None:
    """List reads that found something new, newest first; exit code 1 if one is not complete and says it should be."""
    query = {"connection_id": connection, "kind": kind, "limit": limit}
    result = Api(url, key).call("GET", "/v1/runs", query=query)
    show(result, as_json, lambda page: "\n".join(_run(item) for item in page["items"]) or "no runs")
    raise SystemExit(1 if any("NOT COMPLETE" in item["summary"] for item in result["items"]) else 0)


@sync.command("show", epilog="Example: hub sync show 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001")
@click.argument("run_id")
@api_options
def show_run(run_id: str, url: str, key: str, as_json: bool) -> None:
    """One read: how far it is, and what became of everything it found."""
    show(Api(url, key).call("GET", f"/v1/runs/{run_id}"), as_json, _run)


def _change(action: str, text: str, example: str) -> click.Command:
    @click.argument("run_id")
    @click.option("--reason", default="", help="Kept in the audit record.")
    @api_options
    def command(run_id: str, reason: str, url: str, key: str, as_json: bool) -> None:
        show(Api(url, key).call("POST", f"/v1/runs/{run_id}/{action}", {"reason": reason}), as_json, _run)

    return click.command(action, help=text, epilog=f"Example: {example}")(command)


for _command in (
    _change(
        "pause",
        "Pause a backfill or full read after the page that is being read.",
        "hub sync pause 0192f4e2-… --reason 'a busy day'",
    ),
    _change("resume", "Let a paused or failed backfill or full read go on after its last page.", "hub sync resume 0192f4e2-…"),
    _change("cancel", "End a backfill or full read; what was read stays.", "hub sync cancel 0192f4e2-…"),
):
    sync.add_command(_command)


@sync.command("release", epilog="Example: hub sync release stores/transactions --reason 'the books are open'")
@click.argument("flow")
@click.option("--reason", default="", help="Kept in the audit record.")
@api_options
def release(flow: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """Let go what waits in a flow (INTEGRATION/FLOW) for its next time, or for somebody to ask."""
    result = Api(url, key).call("POST", "/v1/flows/release", {"flow": flow, "reason": reason})
    show(result, as_json, lambda r: f"{r['released']} deliveries of {r['flow']} may go")


def _run(item: Any) -> str:
    far = ""
    if item["progress"] is not None and item["state"] in ("running", "paused"):
        left = item["remaining_seconds"]
        far = f" {item['progress']:.1%}" + (f", about {left:.0f} s left" if left is not None else "")
    head = f"{item['id']}  {item['kind']:8} {item['connection_id']} {item['object']} {item['state']}{far}"
    return f"{head}\n    {item['summary']}"
