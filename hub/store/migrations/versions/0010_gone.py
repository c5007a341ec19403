"""What is not there any more: when a record was seen, which messages say what it is, when a stream is read in full."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("record", sa.Column("seen_at", UtcTime(timezone=True), nullable=True))
    op.add_column("cursor", sa.Column("full_at", UtcTime(timezone=True), nullable=True))
    op.create_table(
        "record_document",
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in (
            ("tenant_id", 64), ("connection_id", 64), ("object", 64), ("ref", 255), ("type", 80), ("subject", 255),
            ("state", 16),
        )),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object", "ref", "type", "subject", name="pk_record_document"),
    )  # fmt: skip
    op.create_index("ix_record_document_subject", "record_document", ["tenant_id", "connection_id", "subject"])
    op.create_index("ix_record_document_message", "record_document", ["tenant_id", "message_id"])
