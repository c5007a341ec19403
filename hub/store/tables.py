"""The tables. `tenant_id` leads every primary key, unique key and index; ids are UUIDv7; times are UTC and aware.

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("naive datetime")
    return value if value.tzinfo is UTC else value.astimezone(UTC)


def _as_text(value: datetime | None) -> str | None:
    """As SQLAlchemy writes it for SQLite, three times faster."""
    return None if value is None else _utc(value).replace(tzinfo=None).isoformat(" ", "microseconds")


class UtcTime(TypeDecorator[datetime]):
    """timestamptz on PostgreSQL; on SQLite naive UTC text, aware again when read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else _utc(value)

    def bind_processor(self, dialect: Any) -> Any:
        return _as_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant_id", sa.String(64), nullable=False)


def _id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.Uuid(as_uuid=False), nullable=False)


def _time(name: str, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcTime(), nullable=nullable)


def _text(name: str, length: int = 255, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(53), nullable=False)


def _only(text: str) -> dict[str, Any]:
    """A partial index; a query uses it if it says the same words (SQLite has no booleans of its own)."""
    sqlite = text.replace("AND behind", "AND behind = 1").replace("NOT behind", "behind = 0")
    return {"postgresql_where": sa.text(text), "sqlite_where": sa.text(sqlite)}


#: A dead letter is open too: what comes after it must not overtake the person who mends it.
OPEN_SQL = "state IN ('pending', 'held', 'claimed', 'sending', 'ambiguous', 'dead')"
WAITING_SQL = "state IN ('pending', 'ambiguous')"
IN_HAND_SQL = "state IN ('claimed', 'sending')"
DUE_SQL = f"{WAITING_SQL} AND published_at IS NULL AND NOT behind"
BEHIND_SQL = f"{WAITING_SQL} AND behind"
ASIDE_SQL = "state IN ('quarantined', 'ignored', 'discarded')"
UNDER_WAY_SQL = "state IN ('pending', 'ambiguous', 'claimed', 'sending') AND published_at IS NOT NULL"


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=False)


tenant = sa.Table(
    "tenant", metadata, _tenant(), _text("name"), _time("created_at"), sa.Column("version", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("tenant_id"),
)  # fmt: skip

api_key = sa.Table(
    "api_key", metadata, _tenant(), _id(), _text("name"), _text("prefix", 16), _text("digest", 64), _json("scopes"),
    _time("created_at"), _time("revoked_at", True),
    sa.PrimaryKeyConstraint("tenant_id", "id"), sa.UniqueConstraint("tenant_id", "digest"),
)  # fmt: skip

connection = sa.Table(
    "connection", metadata, _tenant(), _text("connection_id", 64), _text("connector", 64), _text("environment", 32),
    _text("base_url"), _json("settings"), _text("state", 16), _text("state_reason", 1000), _time("created_at"),
    _time("updated_at"), sa.PrimaryKeyConstraint("tenant_id", "connection_id"),
)  # fmt: skip

credential = sa.Table(
    "credential", metadata, _tenant(), _text("connection_id", 64), _text("name", 64),
    sa.Column("version", sa.Integer, nullable=False), sa.Column("sealed", sa.LargeBinary, nullable=False),
    _time("created_at"), sa.PrimaryKeyConstraint("tenant_id", "connection_id", "name"),
)  # fmt: skip

integration_revision = sa.Table(
    "integration_revision", metadata, _tenant(), _text("integration", 64),
    sa.Column("revision", sa.Integer, nullable=False), _text("digest", 64), sa.Column("source", sa.Text, nullable=False),
    _text("author"), _text("reason", 1000), _time("created_at"), sa.Column("in_force", sa.Boolean, nullable=False),
    _text("environment", 32), sa.PrimaryKeyConstraint("tenant_id", "integration", "revision"),
)  # fmt: skip

#: A candidate that runs beside what is in force, and sends nothing.
integration_shadow = sa.Table(
    "integration_shadow", metadata, _tenant(), _text("integration", 64), _text("digest", 64),
    sa.Column("source", sa.Text, nullable=False), _text("environment", 32), _text("author"), _text("reason", 1000),
    _time("created_at"), sa.PrimaryKeyConstraint("tenant_id", "integration"),
)  # fmt: skip

raw_input = sa.Table(
    "raw_input", metadata, _tenant(), _id(), _text("connection_id", 64), _text("kind", 16), _text("object", 64),
    _text("source_event_id", 255), _text("event_type", 128), _json("headers"),
    sa.Column("body", sa.LargeBinary, nullable=False), _text("state", 16), _text("cause_code", 64),
    sa.Column("cause", sa.Text, nullable=False), sa.Column("remedy", sa.Text, nullable=False), _json("ignored"),
    sa.Column("attempts", sa.Integer, nullable=False), _time("available_at"), _time("lease_until", True),
    _text("lease_owner", 64, True), _text("traceparent", 55), _time("received_at"), _time("settled_at", True),
    sa.Column("repeats", sa.Integer, nullable=False), sa.Column("corrected", sa.LargeBinary, nullable=True),
    _text("lane", 16), sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=True), sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.UniqueConstraint("tenant_id", "connection_id", "kind", "source_event_id"),
    sa.Index("ix_raw_input_run", "tenant_id", "run_id", **_only("run_id IS NOT NULL")),
    sa.Index("ix_raw_input_due", "tenant_id", "lane", "id", **_only("state = 'received'")),
    sa.Index("ix_raw_input_aside", "tenant_id", "state", "id", **_only(ASIDE_SQL)),
)  # fmt: skip

message = sa.Table(
    "message", metadata, _tenant(), _id(), _text("type", 80), _text("source"), _text("source_id"), _text("subject"),
    _text("digest", 64), _text("fingerprint", 64, True), _time("event_at"), _text("business_date", 10, True),
    _text("correlation_id", 128), _text("causation_id", 128, True), _text("traceparent", 55),
    sa.Column("raw_id", sa.Uuid(as_uuid=False), nullable=True), _text("connection_id", 64, True),
    sa.Column("body", sa.LargeBinary, nullable=False), _text("state", 16),
    sa.Column("suspect_of", sa.Uuid(as_uuid=False), nullable=True), _time("received_at"),
    sa.PrimaryKeyConstraint("tenant_id", "id"), sa.UniqueConstraint("tenant_id", "source", "source_id"),
    sa.Index("ix_message_subject", "tenant_id", "subject"), sa.Index("ix_message_fingerprint", "tenant_id", "fingerprint"),
    sa.Index("ix_message_raw", "tenant_id", "raw_id"), sa.Index("ix_message_type", "tenant_id", "type", "id"),
)  # fmt: skip

#: Messages that are not announced on the event exchange yet. Narrow rows that come and go: a mark in `message` would be
#: a second writing of the whole document.
announcement = sa.Table(
    "announcement", metadata, _tenant(), _id("message_id"), sa.PrimaryKeyConstraint("tenant_id", "message_id"),
)  # fmt: skip

delivery = sa.Table(
    "delivery", metadata, _tenant(), _id(), _id("message_id"), _text("connection_id", 64), _text("flow", 128),
    sa.Column("revision", sa.Integer, nullable=False), _text("connector", 64), _text("type", 80), _text("lane", 16),
    _text("subject"), _text("key", 40), _text("state", 16), _time("available_at"), _time("published_at", True),
    _time("lease_until", True), _text("lease_owner", 64, True), sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False), sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("probe", sa.Boolean, nullable=False), sa.Column("behind", sa.Boolean, nullable=False), _time("event_at"),
    _text("cause_code", 64), sa.Column("cause", sa.Text, nullable=False),
    sa.Column("remedy", sa.Text, nullable=False), _text("external_id", 255, True), _time("created_at"),
    _time("settled_at", True), sa.Column("corrected", sa.LargeBinary, nullable=True), _text("waits_for", 255, True),
    sa.Column("merged", sa.Text, nullable=True), sa.Column("correction", sa.Uuid(as_uuid=False), nullable=True),
    sa.PrimaryKeyConstraint("tenant_id", "id"), sa.UniqueConstraint("tenant_id", "message_id", "connection_id", "flow"),
    sa.ForeignKeyConstraint(["tenant_id", "message_id"], ["message.tenant_id", "message.id"]),
    # Hold-back, admission and the count of what is under way each look at open rows only, however long the history is.
    sa.Index("ix_delivery_open", "tenant_id", "connection_id", "subject", "id", **_only(OPEN_SQL)),
    sa.Index("ix_delivery_due", "tenant_id", "connection_id", "lane", "available_at", "id", **_only(DUE_SQL)),
    sa.Index("ix_delivery_behind", "tenant_id", "id", **_only(BEHIND_SQL)),
    sa.Index("ix_delivery_under_way", "tenant_id", "connection_id", "published_at", **_only(UNDER_WAY_SQL)),
    sa.Index("ix_delivery_history", "tenant_id", "connection_id", "subject", "event_at"),
    sa.Index("ix_delivery_state", "tenant_id", "state", "id"),
    sa.Index("ix_delivery_waits", "tenant_id", "waits_for", **_only("waits_for IS NOT NULL")),
)  # fmt: skip

attempt = sa.Table(
    "attempt", metadata, _tenant(), _id(), _id("delivery_id"), sa.Column("number", sa.Integer, nullable=False),
    _text("kind", 16), _text("worker", 64), _time("started_at"), _time("ended_at", True), _text("outcome", 16),
    _text("code", 64), sa.Column("detail", sa.Text, nullable=False), _json("steps"),
    sa.Column("effects", sa.Integer, nullable=False), _text("external_id", 255, True), _text("traceparent", 55),
    # What the connector was given: the revision whose map was used, and the SHA-256 of the document.
    sa.Column("revision", sa.Integer, nullable=False), _text("document", 64),
    # The correction that the document was made of; NULL: the message's own, or what owners merged.
    sa.Column("correction", sa.Uuid(as_uuid=False), nullable=True),
    sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.ForeignKeyConstraint(["tenant_id", "delivery_id"], ["delivery.tenant_id", "delivery.id"]),
    sa.Index("ix_attempt_delivery", "tenant_id", "delivery_id", "number"),
)  # fmt: skip

#: What a person corrected: of a message (``subject`` is ``message/<id>``, by way of the delivery) or of a raw input
#: (``raw/<id>``). ``type`` is that of the documents; it is empty for raw inputs.
correction = sa.Table(
    "correction", metadata, _tenant(), _id(), _text("subject", 64),
    sa.Column("delivery_id", sa.Uuid(as_uuid=False), nullable=True),
    _text("type", 80), sa.Column("before", sa.LargeBinary, nullable=False), sa.Column("after", sa.LargeBinary, nullable=False),
    _text("actor"), _text("reason", 1000), _time("at"), sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.Index("ix_correction_subject", "tenant_id", "subject", "id"),
)  # fmt: skip

link = sa.Table(
    "link", metadata, _tenant(), _text("connection_id", 64), _text("kind", 64), _text("canonical_id"),
    _text("external_id"), _time("created_at"),
    sa.PrimaryKeyConstraint("tenant_id", "connection_id", "kind", "canonical_id"),
    sa.Index("ix_link_external", "tenant_id", "connection_id", "kind", "external_id"),
    sa.Index("ix_link_canonical", "tenant_id", "canonical_id"),
)  # fmt: skip

cursor = sa.Table(
    "cursor", metadata, _tenant(), _text("connection_id", 64), _text("object", 64), _json("value"),
    _time("updated_at"), _time("next_run_at"), _json("run"), _time("full_at", True),
    sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object"),
)  # fmt: skip

#: What counts of an entity whose fields have owners, and what each system is known to have (`hub.policies.ownership`).
entity = sa.Table(
    "entity", metadata, _tenant(), _text("subject"), _text("type", 80), _json("state"),
    sa.Column("version", sa.BigInteger, nullable=False), _text("tripped", 1000), _time("updated_at"), _time("due_at", True),
    sa.PrimaryKeyConstraint("tenant_id", "subject"),
    sa.Index("ix_entity_due", "tenant_id", "due_at", **_only("due_at IS NOT NULL")),
)  # fmt: skip

#: A change that did not count, or that a person has to decide. States: settled, open, resolved.
conflict = sa.Table(
    "conflict", metadata, _tenant(), _id(), _text("subject"), _text("field", 128), _text("origin", 64), _json("wanted"),
    _json("kept"), _text("why", 1000), _text("state", 16), _text("message_id", 36), _time("at"), _text("resolution", 16),
    _text("actor"), _text("reason", 1000), _time("resolved_at", True), sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.Index("ix_conflict_state", "tenant_id", "state", "id"), sa.Index("ix_conflict_subject", "tenant_id", "subject", "id"),
)  # fmt: skip

#: What each record that was read looked like last: a change is told from a repetition, however often it is read.
record = sa.Table(
    "record", metadata, _tenant(), _text("connection_id", 64), _text("object", 64), _text("ref"), _text("digest", 64),
    sa.Column("changes", sa.BigInteger, nullable=False), _time("changed_at"), _time("seen_at", True),
    sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object", "ref"),
)  # fmt: skip

#: The message that says last what a record is, of each document that it is told by: what is withdrawn when the record is gone.
#: ``state``: there, withdrawn (by the source's own word) or gone (by the hub's).
record_document = sa.Table(
    "record_document", metadata, _tenant(), _text("connection_id", 64), _text("object", 64), _text("ref"), _text("type", 80),
    _text("subject"), _id("message_id"), _text("state", 16),
    sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object", "ref", "type", "subject"),
    sa.Index("ix_record_document_subject", "tenant_id", "connection_id", "subject"),
    sa.Index("ix_record_document_message", "tenant_id", "message_id"),
)  # fmt: skip

#: A read of an object by cadence, on demand or of its history. States: running, paused, read, failed, cancelled.
sync_run = sa.Table(
    "sync_run", metadata, _tenant(), _id(), _text("connection_id", 64), _text("object", 64), _text("kind", 16),
    _text("state", 16), _text("since", 64), _text("until", 64), _json("cursor"), _text("reached", 64),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("pages", "read", "new")),
    sa.Column("error", sa.Text, nullable=False), _text("actor"), _text("reason", 1000), _time("started_at"),
    _time("updated_at"), _time("ended_at", True), _time("due_at"), _number("seconds"),
    _number("pace"),
    sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.Index("ix_sync_run_open", "tenant_id", "due_at", **_only("ended_at IS NULL")),
)  # fmt: skip

audit = sa.Table(
    "audit", metadata, _tenant(), sa.Column("sequence", sa.BigInteger, nullable=False), _time("at"), _text("actor"),
    _text("action", 64), _text("subject"), _json("detail"), _text("previous", 64), _text("digest", 64),
    sa.PrimaryKeyConstraint("tenant_id", "sequence"), sa.Index("ix_audit_subject", "tenant_id", "subject"),
)  # fmt: skip

audit_head = sa.Table(
    "audit_head", metadata, _tenant(), sa.Column("sequence", sa.BigInteger, nullable=False), _text("digest", 64),
    sa.PrimaryKeyConstraint("tenant_id"),
)  # fmt: skip

idempotency = sa.Table(
    "idempotency", metadata, _tenant(), _text("operation", 64), _text("key", 255), _text("fingerprint", 64),
    sa.Column("status", sa.Integer, nullable=True), sa.Column("answer", sa.LargeBinary, nullable=True),
    _time("created_at"), sa.PrimaryKeyConstraint("tenant_id", "operation", "key"),
)  # fmt: skip

budget = sa.Table(
    "budget", metadata, _tenant(), _text("connection_id", 64), _number("tat"), _number("blocked_until"), _number("open_until"),
    sa.Column("failures", sa.Integer, nullable=False), _number("pace"), _number("paced_at"), _json("counts"), _json("held"),
    sa.PrimaryKeyConstraint("tenant_id", "connection_id"),
)  # fmt: skip

usage = sa.Table(
    "usage", metadata, _tenant(), _text("client", 64), _text("operation", 64), _text("day", 10),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("tenant_id", "client", "operation", "day"),
)  # fmt: skip

usage_field = sa.Table(
    "usage_field", metadata, _tenant(), _text("client", 64), _text("operation", 80), _text("field", 255),
    _text("last_day", 10), sa.Column("samples", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("tenant_id", "client", "operation", "field"),
)  # fmt: skip

oauth_token = sa.Table(
    "oauth_token", metadata, _tenant(), _text("connection_id", 64), sa.Column("version", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False), _time("expires_at"), _time("refreshing_until"),
    _text("refreshing_by", 64), sa.PrimaryKeyConstraint("tenant_id", "connection_id"),
)  # fmt: skip

oauth_state = sa.Table(
    "oauth_state", metadata, _tenant(), _text("digest", 64), _text("connection_id", 64), _text("browser", 64),
    sa.Column("verifier", sa.LargeBinary, nullable=False), _text("actor", 128), _time("expires_at"), _time("used_at", True),
    sa.PrimaryKeyConstraint("tenant_id", "digest"),
)  # fmt: skip

plugin_incident = sa.Table(
    "plugin_incident", metadata, _tenant(), _text("connector", 64), _text("version", 32), _text("connection_id", 64),
    _text("kind", 40), _text("detail", 1000), sa.Column("count", sa.BigInteger, nullable=False), _time("first_at"),
    _time("last_at"), sa.PrimaryKeyConstraint("tenant_id", "connector", "version", "connection_id", "kind"),
)  # fmt: skip

plugin_outcome = sa.Table(
    "plugin_outcome", metadata, _tenant(), _text("connector", 64), _text("version", 32), _text("day", 10),
    _text("outcome", 16), sa.Column("count", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("tenant_id", "connector", "version", "day", "outcome"),
)  # fmt: skip

# The contract is the hub's, not one tenant's: here `tenant_id` says whose key acted (or, of a notice, who is told).
contract_proposal = sa.Table(
    "contract_proposal", metadata, _tenant(), _id(), _text("version", 32), _text("base", 32), _text("state", 16),
    _text("owner", 130), _text("reason", 1000), sa.Column("contract", sa.LargeBinary, nullable=False), _text("digest", 64),
    _number("score"), _json("findings"), _json("changes"), _time("created_at"), _text("released_by", 130, True),
    _time("released_at", True), _json("evidence"),
    sa.PrimaryKeyConstraint("tenant_id", "id"), sa.Index("ix_contract_proposal_version", "tenant_id", "version"),
)  # fmt: skip

contract_decision = sa.Table(
    "contract_decision", metadata, _tenant(), _text("base", 32), _text("fingerprint", 16), _text("person", 130),
    _text("verdict", 16), _text("reason", 1000), _time("at"),
    sa.PrimaryKeyConstraint("tenant_id", "base", "fingerprint", "person"),
)  # fmt: skip

alias = sa.Table(
    "alias", metadata, _tenant(), _text("entity", 64), _text("connection_id", 64), _text("key"), _text("canonical"),
    _text("rule", 64), _text("actor", 130), _text("reason", 1000), _time("since"), _time("ended_at", True), _id(),
    sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.Index("ix_alias_key", "tenant_id", "entity", "connection_id", "key", unique=True, **_only("ended_at IS NULL")),
    sa.Index("ix_alias_canonical", "tenant_id", "entity", "canonical"),
)  # fmt: skip

gap = sa.Table(
    "gap", metadata, _tenant(), _id(), _text("sequence", 128), _text("connection_id", 64), _text("series"), _text("number", 64),
    _text("state", 16), _time("noticed_at"), _time("due_at"), _time("ended_at", True), _text("actor", 130),
    _text("reason", 1000), _time("since", True), sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.Index("ix_gap_number", "tenant_id", "sequence", "series", "number", unique=True),
    sa.Index("ix_gap_open", "tenant_id", "due_at", **_only("ended_at IS NULL")),
)  # fmt: skip

#: What a connector asked and was answered in a delivery, while another version is beside it (`hub.flow.recording`).
recording = sa.Table(
    "recording", metadata, _tenant(), _id(), _text("connection_id", 64), _text("connector", 64), _text("version", 64),
    _time("at"), sa.Column("content", sa.LargeBinary, nullable=False), sa.PrimaryKeyConstraint("tenant_id", "id"),
    sa.Index("ix_recording_connection", "tenant_id", "connection_id", "id"),
)  # fmt: skip

subscription = sa.Table(
    "subscription", metadata, _tenant(), _text("connection_id", 64), _text("topic", 128), _text("external_id", 255),
    _text("url", 500), _text("state", 16), _text("detail", 500), sa.Column("repairs", sa.Integer, nullable=False),
    _text("expires_at", 40), _time("since"), _time("checked_at"), _time("due_at"),
    sa.PrimaryKeyConstraint("tenant_id", "connection_id", "topic"),
)  # fmt: skip

contract_notice = sa.Table(
    "contract_notice", metadata, _tenant(), _text("client", 64), _text("version", 32), _json("changes"), _time("at"),
    sa.PrimaryKeyConstraint("tenant_id", "client", "version"),
)  # fmt: skip
