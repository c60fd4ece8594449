"""Removing bodies that need not or must not be kept, so that the chain stays whole.

The links cover a body's SHA-256. A body that is removed leaves its SHA-256, and an entry says which
were removed, by whom, when and why; both in one commit. Only two things can go: the readings of
sessions that are over (`expiry`), and what says something of a client (`redaction`). Verdicts, alerts
and all else stay. SQLite is told to overwrite what is deleted, and its log is emptied; copies that
were made before are not reached.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, bindparam, delete, select, update

from needletrail_gateway.core.notes import ATTESTED, NOTE
from needletrail_gateway.record import chain, schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger, NewEntry, append, to_json
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import decode_record

EXPIRY, REDACTION = "expiry", "redaction"
OF_CLIENTS = (NOTE, ATTESTED)
ENTRIES_AT_ONCE = 2_000  # the gateway waits no longer than it takes to remove so many


class RemovalError(ValueError):
    """An entry that should say what was removed, and does not."""


@dataclass(frozen=True)
class Removal:
    """Which bodies were removed, as ranges of entries, both ends included."""

    who: str
    why: str
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, kind: str, body: bytes) -> Self:
        """What such an entry says. RemovalError if it says nothing of the kind."""
        try:
            said = json.loads(body)
            ranges = tuple((int(first), int(last)) for first, last in said["entries"])
            count = sum(last - first + 1 for first, last in ranges)
            if any(last < first for first, last in ranges) or said["count"] != count:
                raise ValueError
            return cls(str(said["who"]), str(said["why"]), ranges)
        except (ValueError, KeyError, TypeError):
            raise RemovalError(f"its body does not say what {kind} removed") from None


@dataclass(frozen=True)
class Expired:
    """What an expiry removes: sessions, entries and bytes."""

    sessions: int = 0
    entries: int = 0
    bytes: int = 0


def redact(ledger: Ledger, entries: Iterable[int], why: str, who: str, now_utc_ms: int) -> int | None:
    """Remove what these entries say of clients. Returns the entry that says so; None if all is gone.

    LedgerError if one is not there, or is not about a client.
    """
    wanted = sorted(set(entries))
    columns = schema.entry.c
    with ledger.engine.begin() as connection:
        found = {
            row.id: row
            for row in connection.execute(
                select(columns.id, columns.kind, columns.body, columns.body_sha256).where(
                    columns.id.in_(wanted)
                )
            )
        }
        for entry in wanted:
            if entry not in found:
                raise LedgerError(f"there is no entry {entry}")
            if found[entry].kind not in OF_CLIENTS:
                raise LedgerError(
                    f"entry {entry} is a {found[entry].kind}; only {' and '.join(OF_CLIENTS)} can be "
                    "forgotten"
                )
        bodies = {row.id: row.body for row in found.values() if row.body_sha256 is None}
        if not bodies:
            return None
        _overwrite(connection)
        connection.execute(delete(schema.visit).where(schema.visit.c.note_entry.in_(list(bodies))))
        removal = _remove(connection, REDACTION, bodies, {"who": who, "why": why}, now_utc_ms)
    _empty_log(ledger)
    return removal


def entries_of_client(ledger: Ledger, client: str) -> list[int]:
    """The entries that speak of a client and have not been forgotten."""
    return [
        entry.id
        for kind in OF_CLIENTS
        for entry in ledger.all_entries(kind)
        if entry.json().get("client") == client
    ]


def expire(
    ledger: Ledger,
    before_utc_ms: int,
    who: str,
    why: str,
    now_utc_ms: int,
    *,
    is_dry: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Expired:
    """Remove the readings of sessions whose verdict was entered before a time.

    In portions, each with its own `expiry` entry, so that a running gateway is never held up and a
    stop in between leaves a ledger that is whole. `is_dry`: only count.
    """
    sessions = _closed_before(ledger, before_utc_ms)
    total = Expired()
    waiting: list[str] = []
    bodies: dict[int, bytes] = {}
    for done, session_id in enumerate(sessions, 1):
        found = _readings(ledger, session_id)
        if found:
            waiting.append(session_id)
            bodies |= found
            total = Expired(
                total.sessions + 1,
                total.entries + len(found),
                total.bytes + sum(map(len, found.values())),
            )
        if bodies and (len(bodies) >= ENTRIES_AT_ONCE or done == len(sessions)):
            if not is_dry:
                said = {"who": who, "why": why, "before_utc_ms": before_utc_ms, "sessions": waiting}
                with ledger.engine.begin() as connection:
                    _overwrite(connection)
                    _remove(connection, EXPIRY, bodies, said, now_utc_ms)
            waiting, bodies = [], {}
        if progress is not None:
            progress(done, len(sessions))
    if total.entries and not is_dry:
        _empty_log(ledger)
    return total


def _closed_before(ledger: Ledger, utc_ms: int) -> list[str]:
    columns, verdicts = schema.session.c, schema.entry.c
    query = (
        select(columns.session_id)
        .join(schema.entry, verdicts.id == columns.verdict_entry)
        .where(verdicts.committed_utc_ms < utc_ms)
        .order_by(columns.opened_entry)
    )
    with ledger.reading() as connection:
        return list(connection.scalars(query))


def _readings(ledger: Ledger, session_id: str) -> dict[int, bytes]:
    """The messages with a session's readings that are still there, by entry."""
    return {
        entry.id: entry.body
        for entry in ledger.session_entries(session_id)
        if entry.kind == "record" and not entry.is_removed and _is_samples(entry.body)
    }


def _is_samples(message: bytes) -> bool:
    try:
        return decode_record(open_envelope(message)[1]).kind == messages.SAMPLES
    except ProtocolError:
        return False


def _remove(
    connection: Connection, kind: str, bodies: dict[int, bytes], said: dict[str, Any], now_utc_ms: int
) -> int:
    """Take the bodies out and say so, inside one transaction. Returns the entry that says so."""
    columns = schema.entry.c
    changed = connection.execute(
        update(schema.entry)
        .where(columns.id == bindparam("of_entry"), columns.body_sha256.is_(None))
        .values(body=b"", body_sha256=bindparam("digest")),
        [{"of_entry": entry, "digest": chain.body_digest(body)} for entry, body in bodies.items()],
    )
    if changed.rowcount not in (-1, len(bodies)):
        raise LedgerError("somebody else is removing the same entries; nothing was removed. Try again.")
    statement = said | {"count": len(bodies), "entries": _ranges(sorted(bodies))}
    return append(connection, [NewEntry(kind, to_json(statement))], now_utc_ms)[0]


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Rising numbers as ranges, both ends included."""
    found: list[list[int]] = []
    for one in numbers:
        if found and found[-1][1] == one - 1:
            found[-1][1] = one
        else:
            found.append([one, one])
    return found


def _overwrite(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def _empty_log(ledger: Ledger) -> None:
    """What was deleted is still in SQLite's log until that is begun anew."""
    if ledger.engine.dialect.name == "sqlite":
        connection = ledger.engine.raw_connection()  # it does not work inside a transaction
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
