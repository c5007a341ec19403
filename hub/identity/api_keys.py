"""API keys: shown once, stored as a digest, with scopes `resource:action`."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hub.policies import audit
from hub.store import Configured, Store, UnitOfWork, new_id

#: What a tenant's key may be allowed to do.
TENANT_SCOPES = (
    "events:write", "messages:read", "deliveries:read", "deliveries:write", "quarantine:read", "quarantine:write",
    "connections:read", "connections:write", "integrations:read", "integrations:write", "connectors:read",
    "links:read", "audit:read", "tenants:read", "contracts:read",
)  # fmt: skip
#: The roles of whoever governs the contract. It is the whole hub's, and so is who calls what: never given by default.
GOVERNANCE_SCOPES = ("contracts:review", "contracts:propose", "contracts:approve", "contracts:release")
SCOPES = TENANT_SCOPES + GOVERNANCE_SCOPES


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


class Clients:
    """Who a key belongs to. Keys that are in use are remembered until something of their tenant changes."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._tenants: dict[str, str] = {}

    def of(self, uow: UnitOfWork, key: str) -> Client | None:
        """The client of a key, or None."""
        digest = _digest(key)
        tenant_id = self._tenants.get(digest)
        if tenant_id is not None:
            return self._configured.get(uow, tenant_id, ("key", digest), lambda: _client(uow, digest))
        client = _client(uow, digest)
        if client is not None:
            self._tenants[digest] = client.tenant_id  # a key never changes hands
        return client


def authenticate(store: Store, key: str) -> Client | None:
    """The client of a key, or None."""
    with store.read() as uow:
        return _client(uow, _digest(key))


def _client(uow: UnitOfWork, digest: str) -> Client | None:
    row = uow.tenants.key_by_digest(digest)
    if row is None:
        return None
    return Client(row["tenant_id"], row["id"], row["name"], frozenset(row["scopes"]))


def _digest(key: str) -> str:
    # The key has 256 bits of entropy: a plain digest cannot be guessed, and a slow hash would cost every request.
    return hashlib.sha256(key.encode()).hexdigest()
