"""What a connector asked and was answered, while another version is beside it."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "recording",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("connection_id", "connector", "version")),
        sa.Column("at", UtcTime(timezone=True), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_recording"),
    )
    op.create_index("ix_recording_connection", "recording", ["tenant_id", "connection_id", "id"])
