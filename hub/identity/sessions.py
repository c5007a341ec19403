"""Sessions by connection: made from the store and the vault, made anew when the connection or a credential changed."""

import threading
import uuid
from collections.abc import Mapping
from typing import Any

from hub.errors import NotFoundError
from hub.identity.oauth import Tokens
from hub.identity.vault import Vault, load_credentials
from hub.runtime.isolation import IsolatedConnector
from hub.runtime.plugins import Plugins
from hub.runtime.session import Session
from hub.sdk.connector import Connector
from hub.store import Configured, Store, UnitOfWork
from hub.store.rows import Row


class Sessions:
    """The open sessions of this process."""

    def __init__(self, plugins: Plugins, vault: Vault, configured: Configured, store: Store) -> None:
        self._plugins, self._vault, self._configured, self._store = plugins, vault, configured, store
        self._open: dict[tuple[str, str], Session] = {}
        self._lock = threading.Lock()

    def get(self, uow: UnitOfWork, tenant_id: str, connection_id: str) -> Session:
        """The session of a connection; raises NotFoundError, or KeyError if its connector is not installed."""
        named = ("session", connection_id)
        return self._configured.get(uow, tenant_id, named, lambda: self._get(uow, tenant_id, connection_id))

    def trial(self, uow: UnitOfWork, tenant_id: str, connection_id: str, values: Mapping[str, str]) -> Session:
        """Make a session with credentials that are not stored; its tokens are kept apart from the connection's own."""
        row = uow.connections.get(tenant_id, connection_id)
        if row is None:
            raise NotFoundError("connection", connection_id)
        connector = self._connector(row)
        session = Session(
            tenant_id, connection_id, connector, row["base_url"],
            {**load_credentials(uow, self._vault, tenant_id, connection_id), **values},
            {**connector.manifest.limits, **row["settings"].get("limits", {})},
        )  # fmt: skip
        if session.oauth2:
            session.tokens = self.tokens_of(session, f"~{uuid.uuid4().hex}")
        return session

    def _connector(self, row: Row) -> Connector:
        connector = self._plugins.get(row["connector"], row["tenant_id"])(row["settings"].get("settings", {}))
        if isinstance(connector, IsolatedConnector):
            connector.owner = (row["tenant_id"], row["connection_id"])
        return connector

    def _get(self, uow: UnitOfWork, tenant_id: str, connection_id: str) -> Session:
        """The one in use if nothing that it depends on has changed: it may be logged in."""
        row = uow.connections.get(tenant_id, connection_id)
        if row is None:
            raise NotFoundError("connection", connection_id)
        version = current_version(uow, row)
        with self._lock:
            known = self._open.get((tenant_id, connection_id))
            wanted = self._plugins.get(row["connector"], tenant_id)
            if known is not None and known.version == version and type(known.connector) is wanted:
                return known
            connector = self._connector(row)
            session = Session(
                tenant_id, connection_id, connector, row["base_url"],
                load_credentials(uow, self._vault, tenant_id, connection_id),
                {**connector.manifest.limits, **row["settings"].get("limits", {})}, version,
            )  # fmt: skip
            if session.oauth2:
                session.tokens = self.tokens_of(session)
            self._open[tenant_id, connection_id] = session
            return session

    def tokens_of(self, session: Session, kept_as: str = "") -> Tokens:
        """The tokens of a session whose connector declares OAuth 2, stored under the connection's name or ``kept_as``."""
        declared, settings = session.manifest.data["auth"]["oauth2"], session.connector.settings
        return Tokens(
            self._store, self._vault, session.tenant_id, kept_as or session.connection_id, declared, session.credentials,
            settings, base_url=session.base_url,
        )  # fmt: skip


def current_version(uow: UnitOfWork, connection: Row) -> Any:
    """What a session depends on: the connection's configuration and the versions of its credentials."""
    credentials = uow.connections.credentials(connection["tenant_id"], connection["connection_id"])
    return (
        connection["connector"], connection["base_url"], repr(connection["settings"]),
        sorted((item["name"], item["version"]) for item in credentials),
    )  # fmt: skip
