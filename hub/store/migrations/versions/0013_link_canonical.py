"""Links by what they are of: without it a lineage read every link of its tenant."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_link_canonical", "link", ["tenant_id", "canonical_id"])
