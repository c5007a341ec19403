"""The first schema: a message's whole life, per tenant."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "api_key",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.Column("revoked_at", UtcTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_api_key_tenant_id_digest")),
    )
    op.create_table(
        "audit",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_subject", "audit", ["tenant_id", "subject"], unique=False)
    op.create_table(
        "audit_head",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "budget",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("tat", sa.Float(precision=53), nullable=False),
        sa.Column("blocked_until", sa.Float(precision=53), nullable=False),
        sa.Column("open_until", sa.Float(precision=53), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("pace", sa.Float(precision=53), nullable=False),
        sa.Column("paced_at", sa.Float(precision=53), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("held", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name=op.f("pk_budget")),
    )
    op.create_table(
        "connection",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("connector", sa.String(length=64), nullable=False),
        sa.Column("environment", sa.String(length=32), nullable=False),
        sa.Column("base_url", sa.String(length=255), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_reason", sa.String(length=1000), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.Column("updated_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name=op.f("pk_connection")),
    )
    op.create_table(
        "credential",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "name", name=op.f("pk_credential")),
    )
    op.create_table(
        "cursor",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", UtcTime(timezone=True), nullable=False),
        sa.Column("next_run_at", UtcTime(timezone=True), nullable=False),
        sa.Column("run", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object", name=op.f("pk_cursor")),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "operation", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "integration_revision",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("integration", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "integration", "revision", name=op.f("pk_integration_revision")),
    )
    op.create_table(
        "link",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("canonical_id", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "kind", "canonical_id", name=op.f("pk_link")),
    )
    op.create_index("ix_link_external", "link", ["tenant_id", "connection_id", "kind", "external_id"], unique=False)
    op.create_table(
        "message",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.String(length=80), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("source_id", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("event_at", UtcTime(timezone=True), nullable=False),
        sa.Column("business_date", sa.String(length=10), nullable=True),
        sa.Column("correlation_id", sa.String(length=128), nullable=False),
        sa.Column("causation_id", sa.String(length=128), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.Column("raw_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("connection_id", sa.String(length=64), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("suspect_of", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("received_at", UtcTime(timezone=True), nullable=False),
        sa.Column("published_at", UtcTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_message")),
        sa.UniqueConstraint("tenant_id", "source", "source_id", name=op.f("uq_message_tenant_id_source_source_id")),
    )
    op.create_index("ix_message_fingerprint", "message", ["tenant_id", "fingerprint"], unique=False)
    op.create_index("ix_message_raw", "message", ["tenant_id", "raw_id"], unique=False)
    op.create_index("ix_message_subject", "message", ["tenant_id", "subject"], unique=False)
    op.create_index("ix_message_type", "message", ["tenant_id", "type", "id"], unique=False)
    op.create_index(
        "ix_message_unpublished",
        "message",
        ["tenant_id", "id"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "raw_input",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("source_event_id", sa.String(length=255), nullable=False),
        sa.Column("event_type", sa.String(length=128), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause_code", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("ignored", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("available_at", UtcTime(timezone=True), nullable=False),
        sa.Column("lease_until", UtcTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.Column("received_at", UtcTime(timezone=True), nullable=False),
        sa.Column("settled_at", UtcTime(timezone=True), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("corrected", sa.LargeBinary(), nullable=True),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_raw_input")),
        sa.UniqueConstraint(
            "tenant_id",
            "connection_id",
            "kind",
            "source_event_id",
            name=op.f("uq_raw_input_tenant_id_connection_id_kind_source_event_id"),
        ),
    )
    op.create_index(
        "ix_raw_input_due",
        "raw_input",
        ["tenant_id", "lane", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'received'"),
        sqlite_where=sa.text("state = 'received'"),
    )
    op.create_table(
        "tenant",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "usage",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "client", "operation", "day", name=op.f("pk_usage")),
    )
    op.create_table(
        "delivery",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("flow", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("connector", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=80), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("available_at", UtcTime(timezone=True), nullable=False),
        sa.Column("published_at", UtcTime(timezone=True), nullable=True),
        sa.Column("lease_until", UtcTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("probe", sa.Boolean(), nullable=False),
        sa.Column("behind", sa.Boolean(), nullable=False),
        sa.Column("event_at", UtcTime(timezone=True), nullable=False),
        sa.Column("cause_code", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("created_at", UtcTime(timezone=True), nullable=False),
        sa.Column("settled_at", UtcTime(timezone=True), nullable=True),
        sa.Column("corrected", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "message_id"], ["message.tenant_id", "message.id"], name=op.f("fk_delivery_message")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_delivery")),
        sa.UniqueConstraint(
            "tenant_id", "message_id", "connection_id", "flow", name=op.f("uq_delivery_tenant_id_message_id_connection_id_flow")
        ),
    )
    op.create_index(
        "ix_delivery_behind",
        "delivery",
        ["tenant_id", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'ambiguous') AND behind"),
        sqlite_where=sa.text("state IN ('pending', 'ambiguous') AND behind = 1"),
    )
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["tenant_id", "connection_id", "lane", "available_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'ambiguous') AND published_at IS NULL AND NOT behind"),
        sqlite_where=sa.text("state IN ('pending', 'ambiguous') AND published_at IS NULL AND behind = 0"),
    )
    op.create_index("ix_delivery_history", "delivery", ["tenant_id", "connection_id", "subject", "event_at"], unique=False)
    op.create_index(
        "ix_delivery_open",
        "delivery",
        ["tenant_id", "connection_id", "subject", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'held', 'claimed', 'sending', 'ambiguous', 'dead')"),
        sqlite_where=sa.text("state IN ('pending', 'held', 'claimed', 'sending', 'ambiguous', 'dead')"),
    )
    op.create_index("ix_delivery_state", "delivery", ["tenant_id", "state", "id"], unique=False)
    op.create_index(
        "ix_delivery_under_way",
        "delivery",
        ["tenant_id", "connection_id", "published_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'ambiguous', 'claimed', 'sending') AND published_at IS NOT NULL"),
        sqlite_where=sa.text("state IN ('pending', 'ambiguous', 'claimed', 'sending') AND published_at IS NOT NULL"),
    )
    op.create_table(
        "attempt",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("delivery_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("worker", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcTime(timezone=True), nullable=False),
        sa.Column("ended_at", UtcTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("effects", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "delivery_id"], ["delivery.tenant_id", "delivery.id"], name=op.f("fk_attempt_delivery")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_attempt")),
    )
    op.create_index("ix_attempt_delivery", "attempt", ["tenant_id", "delivery_id", "number"], unique=False)
