"""Sessions name the entry of the pack that they are judged by; what clients had is a table of its own.

Older sessions name no pack, and no client was noted with them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a column and a table."""
    op.add_column("session", sa.Column("policy_entry", sa.BigInteger))
    op.create_table(
        "visit",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("client", sa.String(34), nullable=False),
        sa.Column("note_entry", sa.BigInteger, nullable=False),
        sa.Column("started_utc_ms", sa.BigInteger, nullable=False),
        sa.Column("tier", sa.String(16), nullable=False),
    )
    op.create_index("visit_client", "visit", ["client", "started_utc_ms"])
