"""The first schema: entry, its projections, keys, quarantine, outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "entry",
        sa.Column("id", number, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("pen", sa.String(32)),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("seq", sa.BigInteger),
        sa.Column("session_id", sa.String(64)),
        sa.Column("committed_utc_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("chain", sa.LargeBinary(32), nullable=False),
        sa.UniqueConstraint("pen", "epoch", "seq", name="entry_once"),
    )
    op.create_index("entry_session", "entry", ["session_id"])
    op.create_index("entry_kind", "entry", ["kind"])
    op.create_table(
        "session",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("pen", sa.String(32), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("opened_entry", sa.BigInteger, nullable=False),
        sa.Column("registry_entry", sa.BigInteger, nullable=False),
        sa.Column("use_id", sa.String(64), nullable=False),
        sa.Column("started_utc_ms", sa.BigInteger),
        sa.Column("practitioner", sa.String(200)),
        sa.Column("gtin", sa.String(14)),
        sa.Column("lot", sa.String(200)),
        sa.Column("serial", sa.String(200)),
        sa.Column("worked", sa.Boolean, nullable=False),
        sa.Column("reused", sa.Boolean, nullable=False),
        sa.Column("limit_um", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("verdict_entry", sa.BigInteger),
    )
    op.create_index("session_cartridge", "session", ["gtin", "serial"])
    op.create_table(
        "alert",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("code", sa.String(32), primary_key=True),
        sa.Column("entry", sa.BigInteger, nullable=False),
        sa.Column("raised_utc_ms", sa.BigInteger),
        sa.Column("reached_pen", sa.Boolean, nullable=False),
    )
    op.create_table(
        "lane",
        sa.Column("pen", sa.String(32), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("boot_utc_ms", sa.BigInteger),
        sa.Column("opened_seq", sa.BigInteger),
        sa.Column("last_use_id", sa.String(64)),
    )
    op.create_table(
        "pen_key",
        sa.Column("pen", sa.String(32), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("key", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", number, primary_key=True),
        sa.Column("received_utc_ms", sa.BigInteger, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tally",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("view", sa.String(32), primary_key=True),
        sa.Column("delivered_entry", sa.BigInteger, nullable=False),
    )
