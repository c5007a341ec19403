"""Commands that work without a running hub: they open the store themselves."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from hub.bootstrap import ROLES, Hub, isolation_of, utc_now
from hub.broker import LANES, open_broker, topology_for
from hub.cli.client import fail
from hub.cli.market import open_plugins
from hub.errors import MisconfiguredError
from hub.identity.api_keys import TENANT_SCOPES, create_key
from hub.identity.vault import open_vault
from hub.policies import audit
from hub.runtime.examination import missing_fences
from hub.settings import Settings, from_environment
from hub.store import Store

#: Of a worker for bulk work alone: where processors are scarce, what happens now comes first.
_BULK_NICENESS = 10


def _settings(**overrides: Any) -> Settings:
    try:
        return from_environment(**overrides)
    except MisconfiguredError as error:
        fail(2, str(error))


@contextmanager
def _store_as_it_is() -> Iterator[Store]:
    """Open the store without creating or migrating its schema; end with one line and the remedy if it is not up to date."""
    settings = _settings()
    if settings.embedded and not list(settings.data_dir.glob("*.sqlite*")):
        fail(3, f"there is no database in {settings.data_dir}; run `hub db upgrade` or set HUB_DATA_DIR")
    store = Store(settings.store_url)
    try:
        state = store.reachable_schema()
        if state is None:
            fail(3, f"the database {_public(settings.store_url)} does not answer; check HUB_DATABASE_URL")
        if state[0] != state[1]:
            fail(3, f"the schema is {state[0] or 'empty'}, this hub needs {state[1]}; run `hub db upgrade`")
        yield store
    finally:
        store.close()


@contextmanager
def _store() -> Iterator[Store]:
    settings = _settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store_url)
    try:
        store.upgrade()
        yield store
    finally:
        store.close()


def _started(roles: Collection[str], connectors: Sequence[str] = (), lanes: Sequence[str] = LANES, **overrides: Any) -> Hub:
    """A running hub of ``roles``, or the end of the process with the reason."""
    settings = _settings(**overrides)
    logging.getLogger().setLevel(logging.INFO)
    if not settings.embedded:  # there all share one interpreter, and handing it over costs more than waiting for it
        # Threads hand small pieces of work to each other: none should wait 5 ms (the default) for another to be interrupted.
        sys.setswitchinterval(0.0005)
    hub: Hub | None = None
    try:
        hub = Hub(settings)
        if settings.embedded:
            hub.ctx.store.upgrade()
        hub.start(roles, connectors, lanes)
    except MisconfiguredError as error:
        if hub is not None:
            hub.close()
        fail(2, str(error))
    return hub


def _spare_collector() -> None:
    """What was loaded stays: reading all of it again for garbage stops every thread for 60 ms, with 140,000 objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def run_hub(roles: Collection[str] = ROLES, **overrides: Any) -> None:
    """Serve until SIGTERM or SIGINT; drains what is in hand."""
    with _started(roles, **overrides) as hub:
        settings = hub.settings
        server = _server(hub.web(), settings)
        _spare_collector()
        print(f"crossdock {settings.base_url}  API /docs/  console /console  data {_public(settings.store_url)}", flush=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.run()


def _server(app: Any, settings: Settings) -> Any:
    """uvicorn's, which looks ten times a second whether it is to end, most of what `hub serve` costs at rest."""
    import uvicorn

    class Server(uvicorn.Server):
        async def main_loop(self) -> None:
            looks = 0
            while not await self.on_tick(10 * looks):  # the date for its headers is taken anew at each tenth
                looks += 1
                await asyncio.sleep(0.5)

    return Server(uvicorn.Config(app, host=settings.host, port=settings.port, log_level="warning", lifespan="on"))


def run_role(role: str, connectors: Sequence[str] = (), lanes: Sequence[str] = LANES) -> None:
    """Work or schedule until SIGTERM or SIGINT; drains what is in hand."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if "live" not in lanes:
        os.nice(_BULK_NICENESS)
    with _started((role,), connectors, lanes) as hub:
        _spare_collector()
        print(f"crossdock {role}  {hub.ctx.instance}  data {_public(hub.settings.store_url)}", flush=True)
        ended.wait()


def _public(url: str) -> str:
    """A database URL without its password."""
    head, at, tail = url.rpartition("@")
    return f"{head.rpartition(':')[0]}:***{at}{tail}" if at and head.count(":") > 1 else url


def upgrade() -> dict[str, Any]:
    """Bring the schema to the newest migration."""
    settings = _settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store_url)
    before = store.schema_state()[0]
    store.upgrade()
    after = store.schema_state()[0]
    store.close()
    return {"before": before, "after": after}


def create_tenant(tenant_id: str, name: str) -> dict[str, str]:
    """A tenant and a key with every scope; ends with code 4 if it exists."""
    if not tenant_id.replace("-", "").replace("_", "").isalnum() or len(tenant_id) > 64:
        fail(2, f"{tenant_id!r}: letters, digits, - and _ only, at most 64")
    with _store() as store, store.begin() as uow:
        now = utc_now()
        if not uow.tenants.add(tenant_id, name, now):
            fail(4, f"tenant {tenant_id!r} exists; make a key with `hub tenant key {tenant_id} NAME`")
        audit.record(uow, tenant_id, now, "cli", "tenant.created", f"tenant/{tenant_id}")
        return {"tenant_id": tenant_id, "key": create_key(uow, tenant_id, "admin", TENANT_SCOPES, now)}


def make_key(tenant_id: str, name: str, scopes: Sequence[str]) -> dict[str, str]:
    """A key for an existing tenant."""
    with _store_as_it_is() as store, store.begin() as uow:
        if uow.tenants.get(tenant_id) is None:
            fail(4, f"no tenant {tenant_id!r}; create it with `hub tenant create {tenant_id}`")
        try:
            return {"key": create_key(uow, tenant_id, name, scopes or TENANT_SCOPES, utc_now())}
        except ValueError as error:
            fail(2, str(error))


def callers(days: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Over all tenants, who called which operation in the last ``days``, and which fields they sent; nobody where no hub has
    run yet.
    """
    settings = _settings()
    if settings.embedded and not list(settings.data_dir.glob("*.sqlite*")):
        return [], []
    store = Store(settings.store_url)  # as it is: a report migrates nobody's database
    try:
        state = store.reachable_schema()
        if state is None:
            fail(3, f"who calls what cannot be read: the database {_public(settings.store_url)} does not answer")
        if state[0] is None:
            return [], []
        if state[0] != state[1]:
            fail(3, "who calls what cannot be read: the database is of another version; run `hub db upgrade`")
        since = (utc_now() - timedelta(days=days)).date().isoformat()
        with store.read() as uow:
            return uow.usage.callers(since), uow.usage.fields(since)
    finally:
        store.close()


def revoke_key(tenant_id: str, prefix: str) -> dict[str, str]:
    """End a key; from the next request on it is refused."""
    with _store_as_it_is() as store, store.begin() as uow:
        now = utc_now()
        if not uow.tenants.revoke_key(tenant_id, prefix, now):
            fail(4, f"tenant {tenant_id!r} has no key in use that begins with {prefix!r}")
        audit.record(uow, tenant_id, now, "cli", "key.revoked", f"key/{prefix}")
    return {"prefix": prefix}


def examine() -> list[dict[str, Any]]:
    """Each check with `ok` and one line of detail."""
    checks: list[dict[str, Any]] = []

    def note(check: str, ok: bool, detail: str) -> None:
        checks.append({"check": check, "ok": ok, "detail": detail})

    settings = _settings()
    note("settings", True, "embedded" if settings.embedded else "shared database")
    store = Store(settings.store_url)
    state = store.reachable_schema()
    if state is None:
        note("store", False, f"cannot reach {_public(settings.store_url)}")
    else:
        note("store", state[0] == state[1], f"schema {state[0] or 'empty'}, newest {state[1]}"
             + ("" if state[0] == state[1] else ": run `hub db upgrade`"))  # fmt: skip
    try:
        open_vault(settings)
        note("vault", True, "key can be read")
    except MisconfiguredError as error:
        note("vault", False, str(error))
    plugins = open_plugins(settings)
    for name, reason in plugins.quarantined.items():
        note(f"plugin {name}", False, reason)
    missing = missing_fences()
    needed = isolation_of(settings).guests.limits.fences
    note(
        "isolation",
        not set(missing) & set(needed),
        f"no fence {', '.join(missing)} on this machine" if missing else "all fences",
    )
    note("plugins", bool(plugins.connectors), ", ".join(sorted(plugins.connectors)) or "none installed")
    broker = open_broker(settings.broker_url, settings.broker_prefix)
    problem = broker.problem()
    note("broker", problem is None, problem or settings.broker_url.split("@")[-1])
    if problem is None:
        differences = broker.differences(topology_for(plugins.connectors))
        note("topology", not differences, "; ".join(differences) or "as declared")
    if state is not None and state[0] == state[1]:
        with store.read() as uow:
            for tenant_id in uow.tenants.ids():
                broken = uow.audit.verify(tenant_id)
                note(
                    f"audit {tenant_id}",
                    broken is None,
                    "chain whole" if broken is None else f"broken at record {broken}",
                )
                for row in uow.connections.all(tenant_id):
                    if row["state"] == "paused":
                        note(f"connection {row['connection_id']}", False, f"paused: {row['state_reason']}")
    store.close()
    return checks
