"""Deliveries with everything that was asked and answered, while two versions of a connector are compared."""

from collections.abc import Sequence

import sqlalchemy as sa

from hub.store.rows import Repository, Row
from hub.store.tables import recording

#: Of each connection.
KEPT = 200


class Recordings(Repository):
    """The newest `KEPT` of each connection."""

    def add(self, rows: Sequence[Row]) -> None:
        """Keep these, and let go of older ones."""
        self._insert_or_ignore(recording, rows, ["id"])
        for tenant_id, connection_id in sorted({(row["tenant_id"], row["connection_id"]) for row in rows}):
            of = (recording.c.tenant_id == tenant_id, recording.c.connection_id == connection_id)
            last = sa.select(recording.c.id).where(*of).order_by(recording.c.id.desc()).offset(KEPT).limit(1)
            self._c.execute(sa.delete(recording).where(*of, recording.c.id <= last.scalar_subquery()))

    def newest(
        self, tenant_id: str, connection_id: str, version: str, limit: int, first: str = "", last: str | None = None
    ) -> list[Row]:  # fmt: skip
        """Of deliveries by this version, newest first; ``first`` and ``last``: ids that they lie between."""
        where = [recording.c.tenant_id == tenant_id, recording.c.connection_id == connection_id, recording.c.version == version]
        where += [recording.c.id >= first] if first else []
        where += [recording.c.id < last] if last is not None else []
        return self._all(sa.select(recording).where(*where).order_by(recording.c.id.desc()).limit(limit))

    def forget(self, connector: str) -> None:
        """Nothing is compared any more."""
        self._c.execute(sa.delete(recording).where(recording.c.connector == connector))
