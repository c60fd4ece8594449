"""Clock pins, what a lane must know to go on with them, and keys that are retired."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a table and columns that may be empty: what is in the ledger stays as it is."""
    op.create_table(
        "pin",
        sa.Column("entry", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("pen", sa.String(32), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("boot", sa.BigInteger, nullable=False),
        sa.Column("t_ms", sa.BigInteger, nullable=False),
        sa.Column("gateway_utc_ms", sa.BigInteger, nullable=False),
        sa.Column("device_utc_ms", sa.BigInteger),
    )
    op.create_index("pin_boot", "pin", ["pen", "epoch", "boot"])
    op.add_column("lane", sa.Column("boot", sa.BigInteger))
    op.add_column("lane", sa.Column("board", sa.String(32)))
    op.add_column("lane", sa.Column("faults", sa.Text))
    op.add_column("lane", sa.Column("hello_boot", sa.BigInteger))
    op.add_column("lane", sa.Column("hello_connection", sa.BigInteger))
    op.add_column("pen_key", sa.Column("retired_utc_ms", sa.BigInteger))
