"""Gaps: numbers of a sequence that were never told."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "gap",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("sequence", sa.String(length=128), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("series", sa.String(length=255), nullable=False),
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("noticed_at", UtcTime(timezone=True), nullable=False),
        sa.Column("due_at", UtcTime(timezone=True), nullable=False),
        sa.Column("ended_at", UtcTime(timezone=True), nullable=True),
        sa.Column("actor", sa.String(length=130), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_gap")),
    )
    op.create_index("ix_gap_number", "gap", ["tenant_id", "sequence", "series", "number"], unique=True)
    still = sa.text("ended_at IS NULL")
    op.create_index("ix_gap_open", "gap", ["tenant_id", "due_at"], postgresql_where=still, sqlite_where=still)
