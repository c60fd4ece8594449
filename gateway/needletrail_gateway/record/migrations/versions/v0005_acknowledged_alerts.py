"""An alert's row names the entry by which a person acknowledged it; those of before are open."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a column."""
    op.add_column("alert", sa.Column("acknowledged_entry", sa.BigInteger))
