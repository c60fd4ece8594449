"""The ledger's tables, in SQLAlchemy Core.

`entry` is the record: append-only, numbered without holes, each row chained to the one before. All
other tables are projections of it or of the moment: they make questions quick and could be made
again from `entry`. Pen keys stand apart, so that the record can be handed out without them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

entry = Table(
    "entry",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("pen", String(32)),
    Column("epoch", BigInteger),
    Column("seq", BigInteger),
    Column("session_id", String(64)),
    Column("committed_utc_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # empty once it has been removed,
    Column("body_sha256", LargeBinary(32)),  # and then this is what it was
    Column("chain", LargeBinary(32), nullable=False),
    Column("pen_chain", LargeBinary(32)),  # of entries that name a pen and an epoch
    UniqueConstraint("pen", "epoch", "seq", name="entry_once"),
    Index("entry_session", "session_id"),
    Index("entry_kind", "kind"),
)

session = Table(
    "session",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("pen", String(32), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("opened_entry", BigInteger, nullable=False),
    Column("registry_entry", BigInteger, nullable=False),
    Column("policy_entry", BigInteger),
    Column("use_id", String(64), nullable=False),
    Column("started_utc_ms", BigInteger),
    Column("practitioner", String(200)),
    Column("gtin", String(14)),
    Column("lot", String(200)),
    Column("serial", String(200)),
    Column("worked", Boolean, nullable=False),
    Column("reused", Boolean, nullable=False),
    Column("limit_um", Integer, nullable=False),
    Column("verdict", String(16)),
    Column("verdict_entry", BigInteger),
    Index("session_cartridge", "gtin", "serial"),
)

visit = Table(
    "visit",
    metadata,
    Column("session_id", String(64), primary_key=True),  # or "attested-ENTRY"
    Column("client", String(34), nullable=False),
    Column("note_entry", BigInteger, nullable=False),
    Column("started_utc_ms", BigInteger, nullable=False),
    Column("tier", String(16), nullable=False),
    Index("visit_client", "client", "started_utc_ms"),
)

alert = Table(
    "alert",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("code", String(32), primary_key=True),
    Column("entry", BigInteger, nullable=False),
    Column("raised_utc_ms", BigInteger),
    Column("reached_pen", Boolean, nullable=False),
    Column("acknowledged_entry", BigInteger),  # null: the alert is open
)

lane = Table(
    "lane",
    metadata,
    Column("pen", String(32), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("next_seq", BigInteger, nullable=False),
    Column("boot_utc_ms", BigInteger),
    Column("opened_seq", BigInteger),
    Column("last_use_id", String(64)),
    Column("boot", BigInteger),
    Column("board", String(32)),
    Column(
        "faults", Text
    ),  # JSON; those that stood when the open session began, or now if none is open
    Column("hello_boot", BigInteger),
    Column("hello_connection", BigInteger),
)

pin = Table(
    "pin",
    metadata,
    Column("entry", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("pen", String(32), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("boot", BigInteger, nullable=False),
    Column("t_ms", BigInteger, nullable=False),
    Column("gateway_utc_ms", BigInteger, nullable=False),
    Column("device_utc_ms", BigInteger),
    Index("pin_boot", "pen", "epoch", "boot"),
)

pen_key = Table(
    "pen_key",
    metadata,
    Column("pen", String(32), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("key", LargeBinary(32), nullable=False),
    Column("retired_utc_ms", BigInteger),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("received_utc_ms", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("message", LargeBinary, nullable=False),
)

tally = Table(
    "tally",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("view", String(32), primary_key=True),
    Column("delivered_entry", BigInteger, nullable=False),
)
