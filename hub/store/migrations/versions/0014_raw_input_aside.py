"""Raw inputs that became no message: without it a list of what is quarantined read every input of its tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the index."""
    aside = sa.text("state IN ('quarantined', 'ignored', 'discarded')")
    columns = ["tenant_id", "state", "id"]
    op.create_index("ix_raw_input_aside", "raw_input", columns, postgresql_where=aside, sqlite_where=aside)
