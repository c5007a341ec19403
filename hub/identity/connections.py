"""Connections' credentials and state, for the API and the CLI alike."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from hub.errors import HubError
from hub.identity.sessions import current_version
from hub.identity.vault import Vault, keep_former, save_credentials
from hub.policies import audit
from hub.policies.text import clean
from hub.runtime.loop import Loop
from hub.runtime.performer import NoBoundary, Run
from hub.runtime.plugins import Plugins
from hub.runtime.session import Session
from hub.sdk.connector import Connector
from hub.sdk.errors import ConnectorError
from hub.store import UnitOfWork
from hub.store.rows import Row

#: So many hours a webhook secret is accepted after another has replaced it.
FORMER_HOURS = 24.0


def set_credentials(
    uow: UnitOfWork, plugins: Plugins, vault: Vault, tenant_id: str, connection_id: str, values: Mapping[str, str],
    now: datetime, actor: str, former_hours: float = FORMER_HOURS,
) -> None:  # fmt: skip
    """Seal and store; a paused connection resumes. Raises ValueError for a name the connector does not declare.

    ``former_hours``: so long the webhook secret that is replaced is accepted beside the new one.
    """
    row = uow.connections.get(tenant_id, connection_id)
    assert row is not None
    declared = plugins.known(row["connector"]).manifest.data["credentials"]
    if unknown := sorted(set(values) - set(declared)):
        raise ValueError(f"unknown credential {', '.join(unknown)}; {row['connector']} declares {', '.join(sorted(declared))}")
    _keep_former(uow, plugins, vault, row, values, now, actor, former_hours)
    uow.tokens.forget(tenant_id, connection_id)
    save_credentials(uow, vault, tenant_id, connection_id, values, now)
    audit.record(uow, tenant_id, now, actor, "credential.saved", f"connection/{connection_id}", names=sorted(values))
    if not missing_credentials(uow, plugins, row):
        resume(uow, tenant_id, connection_id, now, actor, "new credentials")


def _keep_former(
    uow: UnitOfWork,
    plugins: Plugins,
    vault: Vault,
    row: Row,
    values: Mapping[str, str],
    now: datetime,
    actor: str,
    hours: float,
) -> None:
    tenant_id, connection_id = row["tenant_id"], row["connection_id"]
    webhooks = plugins.known(row["connector"]).manifest.data["webhooks"]
    name = webhooks["secret"] if webhooks else ""
    until = now + timedelta(hours=hours)
    if name in values and keep_former(uow, vault, tenant_id, connection_id, name, values[name], until, now):
        audit.record(
            uow, tenant_id, now, actor, "credential.rotated", f"connection/{connection_id}", name=name,
            former_until=until.isoformat(),
        )  # fmt: skip


def missing_credentials(uow: UnitOfWork, plugins: Plugins, connection: Row) -> list[str]:
    """Declared credentials that the connection does not have yet."""
    declared = plugins.known(connection["connector"]).manifest.data["credentials"]
    known = {row["name"] for row in uow.connections.credentials(connection["tenant_id"], connection["connection_id"])}
    return sorted(name for name, item in declared.items() if item["required"] and name not in known)


def pause(uow: UnitOfWork, session: Session, reason: str, now: datetime, actor: str) -> bool:
    """Stop a connection whose credentials were refused; False if they (or the connection) have changed since."""
    reason = clean(reason, 1000)
    row = uow.connections.get(session.tenant_id, session.connection_id)
    if row is None or row["state"] == "retired" or current_version(uow, row) != session.version:
        return False
    if not uow.connections.set_state(session.tenant_id, session.connection_id, "paused", reason, now):
        return False
    subject = f"connection/{session.connection_id}"
    audit.record(uow, session.tenant_id, now, actor, "connection.paused", subject, reason=reason)
    return True


def resume(uow: UnitOfWork, tenant_id: str, connection_id: str, now: datetime, actor: str, reason: str) -> bool:
    """Let a paused connection go on; False if it was not paused."""
    row = uow.connections.get(tenant_id, connection_id)
    if row is None or row["state"] == "retired":  # it goes on when a file names it again
        return False
    if not uow.connections.set_state(tenant_id, connection_id, "active", "", now):
        return False
    audit.record(uow, tenant_id, now, actor, "connection.resumed", f"connection/{connection_id}", reason=reason)
    return True


def described(loop: Loop, session: Session) -> list[dict[str, Any]]:
    """The fields of the connection's account; raises HubError that says why they cannot be told."""
    steps = session.connector.describe()
    try:
        found = loop.submit(loop.performer.perform(steps, session, NoBoundary(), Run())).result(90)
    except ConnectorError as error:
        raise HubError("wrong_state", f"{error.code}: {error.message}") from None
    return [asdict(field) for field in found]


def untriable(session: Session) -> str:
    """Return why credentials cannot be tried before they are stored; '' if they can."""
    declared = session.manifest.data["credentials"]
    if missing := sorted(name for name, item in declared.items() if item["required"] and name not in session.credentials):
        return f"not tried: credentials missing: {', '.join(missing)}"
    oauth2 = session.oauth2
    if oauth2 and oauth2["grant"] == "authorization_code" and not session.credentials.get("refresh_token"):
        return "not tried: a person has to agree first"
    return ""


async def _asked(loop: Loop, session: Session) -> str:
    """Ask by the manifest's check, else by the first page of an object with a declared read."""
    data, performer = session.manifest.data, loop.performer
    objects = [name for name, item in data["objects"].items() if item.get("read")]
    if data["check"] is not None or type(session.connector).check is not Connector.check:
        return await performer.perform(session.connector.check(), session, NoBoundary(), Run())
    if objects:
        page = await performer.perform(session.connector.read(objects[0], {}), session, NoBoundary(), Run())
        return f"read {len(page.records)} records of {objects[0]}"
    return "not tried: this connector has no check"


def check(loop: Loop, session: Session) -> dict[str, Any]:
    """Whether the connection's credentials work: `ok` and one line of detail."""
    try:
        detail = loop.submit(_asked(loop, session)).result(90)
    except ConnectorError as error:
        return {"ok": False, "detail": f"{error.code}: {error.message}"}
    except HubError as error:
        return {"ok": False, "detail": error.detail}
    return {"ok": True, "detail": detail}
