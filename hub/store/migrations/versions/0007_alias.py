"""Aliases: by what other keys an entity goes, at whom, since when and why."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "alias",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("canonical", sa.String(length=255), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=130), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("since", UtcTime(timezone=True), nullable=False),
        sa.Column("ended_at", UtcTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alias")),
    )
    now = sa.text("ended_at IS NULL")
    op.create_index("ix_alias_key", "alias", ["tenant_id", "entity", "connection_id", "key"], unique=True,
                    postgresql_where=now, sqlite_where=now)  # fmt: skip
    op.create_index("ix_alias_canonical", "alias", ["tenant_id", "entity", "canonical"])
