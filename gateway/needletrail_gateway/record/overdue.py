"""Verdicts that something later has overtaken: which sessions must be judged again, and why.

A verdict is made with what is known then. What comes later and belongs before it amends it, as soon as
it has come. Should the machine stop between the two, the ledger alone tells what is left to do: here
each such case is a question to its tables, and what was amended since is no answer to any of them.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select, tuple_

from needletrail_gateway.core.notes import NOTE, OVERRIDE
from needletrail_gateway.record import schema
from needletrail_gateway.record.ledger import CONFLICT, Ledger

LATE_RECORD = "late record"
_SAID = (NOTE, OVERRIDE, CONFLICT)
_SESSION, _ENTRY = schema.session.c, schema.entry.c
_IS_JUDGED = _SESSION.verdict_entry.is_not(None)


@dataclass
class Use:
    """A session in which a cartridge worked. is_reuse: as it was judged."""

    session_id: str
    use_id: str
    started_utc_ms: int
    is_judged: bool
    is_reuse: bool

    def is_missed_reuse(self, other: "Use") -> bool:
        """Whether this one was judged as the first use of its cartridge, and the other one was."""
        is_after = (self.started_utc_ms, self.session_id) > (other.started_utc_ms, other.session_id)
        return self.is_judged and not self.is_reuse and self.use_id != other.use_id and is_after


_USES = select(
    _SESSION.session_id, _SESSION.use_id, _SESSION.started_utc_ms, _IS_JUDGED, _SESSION.reused
).where(_SESSION.worked.is_(True))


def uses_of(ledger: Ledger, gtin: str, serial: str) -> list[Use]:
    """The sessions in which a cartridge worked."""
    query = _USES.where(_SESSION.gtin == gtin, _SESSION.serial == serial)
    return [
        Use(row[0], row[1], row[2] or 0, bool(row[3]), bool(row[4])) for row in _rows(ledger, query)
    ]


def missed_reuses(ledger: Ledger) -> dict[str, str]:
    """Sessions judged before the records of an earlier use of their cartridge came."""
    cartridge = (_SESSION.gtin, _SESSION.serial)
    shared = (
        select(*cartridge)
        .where(_SESSION.worked.is_(True), _SESSION.serial.is_not(None))
        .group_by(*cartridge)
        .having(func.count() > 1)
    )
    uses: defaultdict[tuple[str, str], list[Use]] = defaultdict(list)
    query = _USES.add_columns(*cartridge).where(tuple_(*cartridge).in_(shared))
    for row in _rows(ledger, query):
        uses[row[5], row[6]].append(Use(row[0], row[1], row[2] or 0, bool(row[3]), bool(row[4])))
    return {
        use.session_id: LATE_RECORD
        for of_one in uses.values()
        for use in of_one
        if any(use.is_missed_reuse(other) for other in of_one)
    }


def said_afterwards(ledger: Ledger) -> dict[str, str]:
    """Sessions of which something was said after they were judged, and what kind of thing."""
    query = (
        select(_SESSION.session_id, _ENTRY.kind)
        .join(schema.entry, _ENTRY.session_id == _SESSION.session_id)
        .where(_ENTRY.kind.in_(_SAID), _ENTRY.id > _SESSION.verdict_entry, _ENTRY.body_sha256.is_(None))
    )
    return {row[0]: row[1] for row in _rows(ledger, query)}


def after_late_visits(ledger: Ledger) -> dict[str, str]:
    """Sessions judged before an earlier treatment of their client was known, and what came late."""
    late, later = schema.visit.alias("late"), schema.visit.alias("later")
    of_late, of_later = schema.session.alias("of_late"), schema.session.alias("of_later")
    first_verdict = (
        select(func.min(_ENTRY.id))
        .where(_ENTRY.session_id == late.c.session_id, _ENTRY.kind == "verdict")
        .scalar_subquery()
    )
    has_late_note = late.c.note_entry > of_later.c.verdict_entry
    query = (
        select(later.c.session_id, has_late_note)
        .join_from(
            late,
            later,
            and_(
                later.c.client == late.c.client,
                later.c.started_utc_ms > late.c.started_utc_ms,
                later.c.note_entry != late.c.note_entry,
            ),
        )
        .join(of_later, of_later.c.session_id == later.c.session_id)
        .outerjoin(of_late, of_late.c.session_id == late.c.session_id)
        .where(
            or_(
                has_late_note,
                # A newer verdict on the earlier treatment changes nothing for the later one: its first
                # one counts, and is looked for only where the newer one leaves a doubt.
                and_(
                    of_late.c.verdict_entry > of_later.c.verdict_entry,
                    first_verdict > of_later.c.verdict_entry,
                ),
            )
        )
    )
    return {row[0]: NOTE if row[1] else LATE_RECORD for row in _rows(ledger, query)}


def later_sessions(ledger: Ledger, visit: Mapping[str, Any]) -> list[str]:
    """The client's judged sessions after a visit (a row), those of its own note left out."""
    columns = schema.visit.c
    query = (
        select(columns.session_id)
        .join(schema.session, _SESSION.session_id == columns.session_id)
        .where(
            columns.client == visit["client"],
            columns.started_utc_ms > visit["started_utc_ms"],
            columns.note_entry != visit["note_entry"],
            _IS_JUDGED,
        )
        .order_by(columns.started_utc_ms)
    )
    return [row[0] for row in _rows(ledger, query)]


def judged_before(ledger: Ledger, entry: int, from_utc_ms: int) -> list[Any]:
    """Sessions that began then or later and were judged before an entry: their rows' beginnings.

    session_id, practitioner, started_utc_ms, verdict_entry.
    """
    query = select(
        _SESSION.session_id, _SESSION.practitioner, _SESSION.started_utc_ms, _SESSION.verdict_entry
    ).where(_SESSION.verdict_entry < entry, _SESSION.started_utc_ms >= from_utc_ms)
    return _rows(ledger, query)


def _rows(ledger: Ledger, query: Any) -> list[Any]:
    with ledger.reading() as connection:
        return list(connection.execute(query))
