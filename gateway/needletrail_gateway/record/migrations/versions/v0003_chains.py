"""A chain for each pen, and links over a body's SHA-256 so that a body can be removed.

The links of before covered the bodies themselves. They are checked once more, link by link, and then
replaced; one more entry, `rechain`, says how many entries that were, what their last link was, and
which was the first bad one, if any. The rules of both chains stand here once more, so that this step
stays what it was, whatever becomes of record/chain.
"""

import hashlib
import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_FIRST = bytes(32)
_AT_ONCE = 2_000
_COLUMNS = "id, kind, pen, epoch, seq, session_id, committed_utc_ms"


def upgrade() -> None:
    """Add two columns, and chain anew what is there."""
    op.add_column("entry", sa.Column("body_sha256", sa.LargeBinary(32)))
    op.add_column("entry", sa.Column("pen_chain", sa.LargeBinary(32)))
    _chain_anew(op.get_bind())


def _chain_anew(connection: sa.Connection) -> None:
    query = sa.text(
        f"SELECT {_COLUMNS}, body, chain FROM entry WHERE id > :after ORDER BY id LIMIT {_AT_ONCE}"
    )
    change = sa.text("UPDATE entry SET chain = :chain, pen_chain = :pen_chain WHERE id = :id")
    last_id = 0
    before = old_before = _FIRST
    of_pens: dict[tuple[str, int], bytes] = {}
    first_bad = None
    while rows := connection.execute(query, {"after": last_id}).all():
        changes = []
        for row in rows:
            columns = "".join(f"{value}\n" for value in row[:7]).encode()
            body = bytes(row.body)
            expected = hashlib.sha256(old_before + columns + body).digest()
            if first_bad is None and (row.id != last_id + 1 or row.chain != expected):
                first_bad = row.id
            digest = hashlib.sha256(body).digest()
            of_pen = None
            if row.pen is not None and row.epoch is not None:
                lane_id = (row.pen, row.epoch)
                text = b"pen\n" + of_pens.get(lane_id, _FIRST) + columns + digest
                of_pen = of_pens[lane_id] = hashlib.sha256(text).digest()
            before = hashlib.sha256(b"all\n" + before + columns + digest + (of_pen or b"")).digest()
            changes.append({"chain": before, "pen_chain": of_pen, "id": row.id})
            last_id, old_before = row.id, row.chain
        connection.execute(change, changes)
    if last_id:
        _append(connection, last_id, before, old_before, first_bad)


def _append(
    connection: sa.Connection, last_id: int, before: bytes, old_link: bytes, first_bad: int | None
) -> None:
    statement = {
        "from": 1,
        "to": 2,
        "entries": last_id,
        "last_link": bytes(old_link).hex(),
        "first_bad": first_bad,
    }
    body = json.dumps(statement, separators=(",", ":")).encode()
    now_utc_ms = time.time_ns() // 1_000_000
    columns = f"{last_id + 1}\nrechain\nNone\nNone\nNone\nNone\n{now_utc_ms}\n".encode()
    link = hashlib.sha256(b"all\n" + before + columns + hashlib.sha256(body).digest()).digest()
    connection.execute(
        sa.text(
            "INSERT INTO entry (id, kind, committed_utc_ms, body, chain)"
            " VALUES (:id, 'rechain', :now, :body, :chain)"
        ),
        {"id": last_id + 1, "now": now_utc_ms, "body": body, "chain": link},
    )
