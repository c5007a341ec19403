"""Integrations: environments, shadows, and what each attempt was given."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("integration_revision", sa.Column("environment", sa.String(length=32), nullable=False, server_default=""))
    op.add_column("attempt", sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("attempt", sa.Column("document", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("raw_input", sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=True))
    read = sa.text("run_id IS NOT NULL")
    op.create_index("ix_raw_input_run", "raw_input", ["tenant_id", "run_id"], postgresql_where=read, sqlite_where=read)
    op.add_column("delivery", sa.Column("waits_for", sa.String(length=255), nullable=True))
    waits = sa.text("waits_for IS NOT NULL")
    op.create_index("ix_delivery_waits", "delivery", ["tenant_id", "waits_for"], postgresql_where=waits, sqlite_where=waits)
    op.add_column("delivery", sa.Column("merged", sa.Text(), nullable=True))
    op.create_table(
        "entity",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=80), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("tripped", sa.String(length=1000), nullable=False),
        sa.Column("updated_at", UtcTime(timezone=True), nullable=False),
        sa.Column("due_at", UtcTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name=op.f("pk_entity")),
    )
    due = sa.text("due_at IS NOT NULL")
    op.create_index("ix_entity_due", "entity", ["tenant_id", "due_at"], postgresql_where=due, sqlite_where=due)
    op.create_table(
        "conflict",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("field", sa.String(length=128), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("kept", sa.JSON(), nullable=False),
        sa.Column("why", sa.String(length=1000), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("at", UtcTime(timezone=True), nullable=False),
        sa.Column("resolution", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("resolved_at", UtcTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_conflict")),
    )
    op.create_index("ix_conflict_state", "conflict", ["tenant_id", "state", "id"])
    op.create_index("ix_conflict_subject", "conflict", ["tenant_id", "subject", "id"])
    op.create_table(
        "record",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("ref", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object", "ref", name=op.f("pk_record")),
    )
    op.create_table(
        "sync_run",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.String(length=64), nullable=False),
        sa.Column("until", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.JSON(), nullable=False),
        sa.Column("reached", sa.String(length=64), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("new", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("started_at", UtcTime(timezone=True), nullable=False),
        sa.Column("updated_at", UtcTime(timezone=True), nullable=False),
        sa.Column("ended_at", UtcTime(timezone=True), nullable=True),
        sa.Column("due_at", UtcTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_sync_run")),
    )
    unended = sa.text("ended_at IS NULL")
    op.create_index("ix_sync_run_open", "sync_run", ["tenant_id", "due_at"], postgresql_where=unended, sqlite_where=unended)
    op.create_table(
        "integration_shadow",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("integration", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("environment", sa.String(length=32), nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "integration", name=op.f("pk_integration_shadow")),
    )
