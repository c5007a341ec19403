"""What people corrected: who, when, why, and the document before and after; and which document each try was given."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table and the columns. What was corrected before stays with its delivery, without a record here."""
    op.create_table(
        "correction",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("delivery_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("type", sa.String(80), nullable=False),
        sa.Column("before", sa.LargeBinary, nullable=False),
        sa.Column("after", sa.LargeBinary, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_correction"),
    )
    op.create_index("ix_correction_subject", "correction", ["tenant_id", "subject", "id"])
    op.add_column("delivery", sa.Column("correction", sa.Uuid(as_uuid=False), nullable=True))
    op.add_column("attempt", sa.Column("correction", sa.Uuid(as_uuid=False), nullable=True))
