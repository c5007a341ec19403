"""Announcements: what subscribers have not heard yet, beside the messages."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table, take over what is not announced, drop the mark in the messages."""
    op.create_table(
        "announcement",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "message_id", name=op.f("pk_announcement")),
    )
    op.execute("INSERT INTO announcement SELECT tenant_id, id FROM message WHERE published_at IS NULL")
    op.drop_index("ix_message_unpublished", "message")
    op.drop_column("message", "published_at")
