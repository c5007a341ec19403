"""When what is missing must have happened: after the number before it."""

import sqlalchemy as sa
from alembic import op

from hub.store.tables import UtcTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column."""
    op.add_column("gap", sa.Column("since", UtcTime(timezone=True), nullable=True))
