"""Tag `sync`: what is read, how far it is, what became of it; history read on request."""

from typing import Any

from hub.api.messages import reason
from hub.api.paging import after_id, page
from hub.errors import NotFoundError
from hub.flow.context import Context
from hub.flow.pace import release_flow
from hub.identity.api_keys import Client
from hub.integrations.cadence import NEVER
from hub.sync import gaps, runs
from hub.sync.poll import Poller, Stream
from hub.sync.subscriptions import Subscriber


def list_streams(ctx: Context, client: Client) -> dict[str, Any]:
    """What flows read, by connection and object."""
    streams = Poller(ctx).streams(client.tenant_id)
    return {"items": [_stream(ctx, stream) for stream in sorted(streams, key=lambda s: s.name)], "next_cursor": None}


def read_now(ctx: Context, client: Client, connection_id: str, object_: str) -> dict[str, Any]:
    """Let a stream be read at once, whatever its cadence."""
    for stream in Poller(ctx).streams(client.tenant_id):
        if (stream.connection_id, stream.object) == (connection_id, object_):
            runs.hasten(ctx, client.tenant_id, connection_id, object_)
            return _stream(ctx, stream)
    raise NotFoundError("stream", f"{connection_id}/{object_}")


def set_cursor(ctx: Context, client: Client, connection_id: str, object_: str, body: Any) -> dict[str, Any]:
    """Let a stream go on where something else has come to."""
    for stream in Poller(ctx).streams(client.tenant_id):
        if (stream.connection_id, stream.object) == (connection_id, object_):
            runs.set_cursor(ctx, client.tenant_id, connection_id, object_, body["cursor"], f"key/{client.name}", reason(body))
            return _stream(ctx, stream)
    raise NotFoundError("stream", f"{connection_id}/{object_}")


def list_subscriptions(ctx: Context, client: Client) -> dict[str, Any]:
    """What systems were asked to send."""
    with ctx.store.read() as uow:
        return _subscriptions(uow.subscriptions.of(client.tenant_id))


def check_subscriptions(ctx: Context, client: Client, connection_id: str) -> dict[str, Any]:
    """Look at once, and mend."""
    return _subscriptions(Subscriber(ctx).look(client.tenant_id, connection_id))


def list_gaps(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, state: str | None = None
) -> dict[str, Any]:
    """Newest first."""
    with ctx.store.read() as uow:
        rows = uow.gaps.page(client.tenant_id, after_id(cursor), limit, state=state)
    return page(rows, limit, lambda row: [row["id"]], _gap)


def accept_gap(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """It never was."""
    return _gap(gaps.accept(ctx, client.tenant_id, id_, f"key/{client.name}", reason(body)))


def _gap(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("tenant_id", "due_at", "since")}


def list_runs(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, **filters: str | None
) -> dict[str, Any]:
    """Newest first."""
    with ctx.store.read() as uow:
        rows = uow.runs.page(client.tenant_id, after_id(cursor), limit, **{k.rstrip("_"): v for k, v in filters.items()})
        return page(rows, limit, lambda row: [row["id"]], lambda row: runs.told(uow, row, ctx.clock()))


def get_run(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """One run and what became of all it read."""
    with ctx.store.read() as uow:
        row = uow.runs.get(client.tenant_id, id_)
        if row is None:
            raise NotFoundError("run", id_)
        return runs.told(uow, row, ctx.clock())


def backfill(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """Read a period that was."""
    row = runs.start_backfill(
        ctx, client.tenant_id, body["connection_id"], body["object"], body.get("since", ""), body.get("until", ""),
        f"key/{client.name}", reason(body), bool(body.get("withdraw")),
    )  # fmt: skip
    return get_run(ctx, client, row["id"])


def pause_run(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """Stop after the page that is being read."""
    return _changed(ctx, client, id_, "pause", body)


def resume_run(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """Go on after the last page."""
    return _changed(ctx, client, id_, "resume", body)


def cancel_run(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """End it; what was read stays."""
    return _changed(ctx, client, id_, "cancel", body)


def release(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """Let go what waits in a flow."""
    flow = body["flow"]
    return {"flow": flow, "released": release_flow(ctx, client.tenant_id, flow, f"key/{client.name}", reason(body))}


def _changed(ctx: Context, client: Client, id_: str, action: str, body: Any) -> dict[str, Any]:
    runs.change(ctx, client.tenant_id, id_, action, f"key/{client.name}", reason(body))
    return get_run(ctx, client, id_)


def _subscriptions(rows: list[dict[str, Any]]) -> dict[str, Any]:
    items = [{key: value for key, value in row.items() if key not in ("tenant_id", "due_at")} for row in rows]
    return {"items": items, "next_cursor": None}


def _stream(ctx: Context, stream: Stream) -> dict[str, Any]:
    with ctx.store.read() as uow:
        row = uow.cursors.get(stream.tenant_id, stream.connection_id, stream.object)
    following = row["next_run_at"] if row and row["next_run_at"] < NEVER else None
    return {
        "connection_id": stream.connection_id, "object": stream.object,
        "cadences": sorted(cadence.text for cadence in stream.cadences), "next_run_at": following,
        "full_reads": sorted(cadence.text for cadence in stream.full), "next_full_read_at": row["full_at"] if row else None,
        "run": row["run"] if row else {},
    }  # fmt: skip
