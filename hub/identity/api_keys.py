"""API keys: shown once, stored as a digest, with scopes `resource:action`."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hub.policies import audit
from hub.store import Store, UnitOfWork, new_id

#: What a key may be allowed to do.
SCOPES = (
    "events:write", "messages:read", "deliveries:read", "deliveries:write", "quarantine:read", "quarantine:write",
    "connections:read", "connections:write", "integrations:read", "integrations:write", "connectors:read",
    "links:read", "audit:read", "tenants:read", "contracts:read",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Client:
    """Who is calling: the tenant it belongs to, its key's id and name, and its scopes."""

    tenant_id: str
    key_id: str
    name: str
    scopes: frozenset[str]


def create_key(uow: UnitOfWork, tenant_id: str, name: str, scopes: Sequence[str], now: datetime, actor: str = "cli") -> str:
    """A new key; the only time it is seen in clear. Raises ValueError for an unknown scope."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise ValueError(f"unknown scope(s) {', '.join(unknown)}; known: {', '.join(SCOPES)}")
    key = f"xdk_{secrets.token_urlsafe(32)}"
    uow.tenants.add_key({
        "tenant_id": tenant_id, "id": new_id(), "name": name, "prefix": key[:12], "digest": _digest(key),
        "scopes": sorted(scopes), "created_at": now, "revoked_at": None,
    })  # fmt: skip
    audit.record(uow, tenant_id, now, actor, "key.created", f"key/{name}", scopes=sorted(scopes))
    return key


def authenticate(store: Store, key: str) -> Client | None:
    """The client of a key, or None."""
    with store.read() as uow:
        return client_of(uow, key)


def client_of(uow: UnitOfWork, key: str) -> Client | None:
    """The client of a key, or None."""
    row = uow.tenants.key_by_digest(_digest(key))
    if row is None:
        return None
    return Client(row["tenant_id"], row["id"], row["name"], frozenset(row["scopes"]))


def _digest(key: str) -> str:
    # The key has 256 bits of entropy: a plain digest cannot be guessed, and a slow hash would cost every request.
    return hashlib.sha256(key.encode()).hexdigest()
