"""What a process remembers of a tenant's configuration is never older than what is committed, whoever changed it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hub.identity.api_keys import SCOPES, Clients, create_key
from hub.store import Configured, Store, UnitOfWork

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _connection(state: str = "active") -> dict[str, Any]:
    return {
        "tenant_id": "a", "connection_id": "erp", "connector": "tryton", "environment": "", "base_url": "http://one", "settings": {},
        "state": state, "state_reason": "", "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip


@pytest.fixture
def tenant(store: Store) -> Store:
    with store.begin() as uow:
        uow.tenants.add("a", "A", NOW)
        uow.connections.put(_connection())
    return store


def _state(configured: Configured, uow: UnitOfWork) -> str:
    row = configured.get(uow, "a", "erp", lambda: uow.connections.get("a", "erp"))
    assert row is not None
    return str(row["state"])


def test_it_is_read_once_and_anew_after_each_change(tenant: Store) -> None:
    configured, reads = Configured(), []

    def look() -> str:
        with tenant.read() as uow:
            return str(configured.get(uow, "a", "routes", lambda: reads.append(1) or f"read {len(reads)}"))

    def change(what: str) -> None:
        with tenant.begin() as uow:
            if what == "connection":
                uow.connections.put(_connection())
            elif what == "state":
                uow.connections.set_state("a", "erp", "paused", "401", NOW)
            elif what == "credential":
                secret = {
                    "tenant_id": "a",
                    "connection_id": "erp",
                    "name": "token",
                    "version": 1,
                    "sealed": b"",
                    "created_at": NOW,
                }
                uow.connections.put_credential(secret)
            else:
                uow.integrations.record({
                    "tenant_id": "a", "integration": "i", "digest": "", "source": "", "author": "", "reason": "",
                    "created_at": NOW,
                })  # fmt: skip

    assert [look(), look()] == ["read 1", "read 1"]
    for number, what in enumerate(("connection", "state", "credential", "integration"), start=2):
        change(what)
        assert [look(), look()] == [f"read {number}", f"read {number}"], what


def test_a_change_that_is_rolled_back_is_remembered_by_nobody(tenant: Store) -> None:
    configured = Configured()
    with pytest.raises(RuntimeError), tenant.begin() as uow:
        assert _state(configured, uow) == "active"
        uow.connections.set_state("a", "erp", "paused", "401", NOW)
        assert _state(configured, uow) == "paused", "a transaction sees its own change"
        raise RuntimeError
    with tenant.read() as uow:
        assert _state(configured, uow) == "active"


def test_a_revoked_key_is_refused_at_once_though_it_was_remembered(tenant: Store) -> None:
    clients = Clients(Configured())
    with tenant.begin() as uow:
        key = create_key(uow, "a", "till", SCOPES, NOW)
    for _ in range(2):
        with tenant.read() as uow:
            client = clients.of(uow, key)
        assert client is not None
        assert client.tenant_id == "a"
    with tenant.begin() as uow:
        assert uow.tenants.revoke_key("a", key[:12], NOW)
    with tenant.read() as uow:
        assert clients.of(uow, key) is None
        assert clients.of(uow, "xdk_nobody") is None
