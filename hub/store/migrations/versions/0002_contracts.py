"""The contract's workflow: fields that clients send, proposals, decisions on changes, notices to those concerned."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the four tables."""
    op.create_table(
        "usage_field",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=80), nullable=False),
        sa.Column("field", sa.String(length=255), nullable=False),
        sa.Column("last_day", sa.String(length=10), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "client", "operation", "field", name=op.f("pk_usage_field")),
    )
    op.create_table(
        "contract_proposal",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("base", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=130), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.Column("released_by", sa.String(length=130), nullable=True),
        sa.Column("released_at", UtcTime(timezone=True), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_contract_proposal")),
    )
    op.create_index("ix_contract_proposal_version", "contract_proposal", ["tenant_id", "version"])
    op.create_table(
        "contract_decision",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=130), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "base", "fingerprint", "person", name=op.f("pk_contract_decision")),
    )
    op.create_table(
        "contract_notice",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "client", "version", name=op.f("pk_contract_notice")),
    )
