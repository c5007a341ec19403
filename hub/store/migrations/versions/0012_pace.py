"""How fast a run has been lately."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column; a run that goes on is told by its average until its next page."""
    op.add_column("sync_run", sa.Column("pace", sa.Float(53), nullable=False, server_default="0"))
