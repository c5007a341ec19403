"""Webhook subscriptions: what every connection's system was asked to send, and whether it does."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "subscription",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=128), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.String(length=500), nullable=False),
        sa.Column("repairs", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.String(length=40), nullable=False),
        sa.Column("since", UtcTime(timezone=True), nullable=False),
        sa.Column("checked_at", UtcTime(timezone=True), nullable=False),
        sa.Column("due_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "topic", name=op.f("pk_subscription")),
    )
