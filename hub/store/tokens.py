"""Access tokens of connections: sealed, shared by every process, refreshed by one at a time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Repository, Row
from hub.store.tables import oauth_state, oauth_token


class Tokens(Repository):
    """One row per connection. ``version`` rises with every refresh."""

    def get(self, tenant_id: str, connection_id: str) -> Row | None:
        where = (oauth_token.c.tenant_id == tenant_id, oauth_token.c.connection_id == connection_id)
        return self._one(sa.select(oauth_token).where(*where))

    def take(self, tenant_id: str, connection_id: str, owner: str, now: datetime, until: datetime) -> Row | None:
        """The row, if nobody else is refreshing it; they have until ``until``. None: somebody else is."""
        empty = {"tenant_id": tenant_id, "connection_id": connection_id, "version": 0, "sealed": b"", "expires_at": now,
                 "refreshing_until": now, "refreshing_by": ""}  # fmt: skip
        self._insert_or_ignore(oauth_token, [empty], ["version"])
        where = (
            oauth_token.c.tenant_id == tenant_id, oauth_token.c.connection_id == connection_id,
            oauth_token.c.refreshing_until <= now,
        )  # fmt: skip
        if self._update(oauth_token, where, {"refreshing_until": until, "refreshing_by": owner}) != 1:
            return None
        return self.get(tenant_id, connection_id)

    def settle(self, tenant_id: str, connection_id: str, owner: str, values: Mapping[str, Any]) -> bool:
        """End a refresh, with what came of it; False if it took too long and is somebody else's now."""
        where = (
            oauth_token.c.tenant_id == tenant_id, oauth_token.c.connection_id == connection_id,
            oauth_token.c.refreshing_by == owner,
        )  # fmt: skip
        return self._update(oauth_token, where, values) == 1

    def begin(self, row: Mapping[str, Any], now: datetime) -> None:
        """Somebody has gone to agree; what is long over is forgotten."""
        self._c.execute(sa.delete(oauth_state).where(oauth_state.c.expires_at < now - timedelta(days=1)))
        self._c.execute(sa.insert(oauth_state).values(dict(row)))

    def redeem(self, digest: str, now: datetime) -> Row | None:
        """The one use of a state; None if it is unknown or was used. The one look-up without a tenant: the state tells it."""
        where = (oauth_state.c.digest == digest, oauth_state.c.used_at.is_(None))
        if self._update(oauth_state, where, {"used_at": now}) != 1:
            return None
        return self._one(sa.select(oauth_state).where(oauth_state.c.digest == digest))

    def forget(self, tenant_id: str, connection_id: str) -> None:
        """New credentials were given: what was had by the old ones is not used any more."""
        where = (oauth_token.c.tenant_id == tenant_id, oauth_token.c.connection_id == connection_id)
        self._c.execute(sa.delete(oauth_token).where(*where))
