"""Corrections that people made: of a message's document, or of a raw input."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Repository, Row
from hub.store.tables import correction


class Corrections(Repository):
    """Rows are written once and never changed; `subject` is ``message/<id>`` or ``raw/<id>``."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep one."""
        self._c.execute(sa.insert(correction).values(dict(row)))

    def of(self, tenant_id: str, subject: str) -> list[Row]:
        """Those of one subject, oldest first."""
        where = (correction.c.tenant_id == tenant_id, correction.c.subject == subject)
        return self._all(sa.select(correction).where(*where).order_by(correction.c.id))

    def newest(self, tenant_id: str) -> dict[str, Row]:
        """By subject, the correction that counts: the newest of each."""
        where = correction.c.tenant_id == tenant_id
        return {row["subject"]: row for row in self._all(sa.select(correction).where(where).order_by(correction.c.id))}
