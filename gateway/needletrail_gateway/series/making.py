"""From entries to lines: looks up in the ledger what the makers of points (core/series) ask for.

Readings are told in their order, each session by a `Trace` of its own. Everything else about a session
is told as the ledger has it now, once for all of its entries that come together; so it does not matter
in which order, in what batches and how often entries are told. A trace that is not there (a start in
the middle of a session) is caught up from the session's earlier records.

Raw readings that are older than InfluxDB keeps them are not made at all.

An entry of which no points can be made is logged and passed over, whatever is wrong with it: the others
must not wait for ever.
"""

import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.core.series.daily import touched_from
from needletrail_gateway.core.series.depth import Trace
from needletrail_gateway.core.series.point import NS_PER_MS, Point, line
from needletrail_gateway.core.series.sessions import Told, is_about_session, next_use, session_points
from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import Readings, decode_record
from needletrail_protocol.tables import Message

DAY_MS = 86_400_000
_SESSION_MOST_MS = DAY_MS  # no session lasts longer; what is a little late costs nothing
_TRACES_KEPT = 256

log = structlog.get_logger()


@dataclass
class Lines:
    """Lines by bucket, and from which day (UTC) on the daily points have changed."""

    raw: list[str] = field(default_factory=list)
    long: list[str] = field(default_factory=list)
    daily_from: date | None = None

    def __len__(self) -> int:
        return len(self.raw) + len(self.long)


class Maker:
    """Tells entries of one ledger, in their order. One thread at a time.

    raw_from_utc_ms: readings before that are not told one by one; None: all are.
    """

    def __init__(
        self, ledger: Ledger, raw_from_utc_ms: Callable[[], int | None] = lambda: None
    ) -> None:
        self._ledger = ledger
        self._raw_from_utc_ms = raw_from_utc_ms
        self._clinic: str | None = None
        self._traces: OrderedDict[str, _KeptTrace | None] = OrderedDict()
        self._touched: dict[str, None] = {}

    def forget(self) -> None:
        """The next entry need not follow the last one: what is needed is read from the ledger again."""
        self._traces.clear()
        self._touched.clear()

    def tell(self, entries: Iterable[Entry], lines: Lines) -> None:
        """The next entries. What they say of sessions as a whole comes with finish()."""
        for entry in entries:
            try:
                self._tell(entry, lines)
            except SQLAlchemyError:
                raise  # the entry is not to blame
            except Exception as error:
                log.error("an entry gives no points", entry=entry.id, error=what(error))

    def finish(self, lines: Lines) -> None:
        """The points of all sessions that were touched since the last time."""
        others: dict[str, None] = {}
        for session_id in self._touched:
            lines.long += map(line, self.points_of(session_id, others))
        for session_id in others:
            if session_id not in self._touched:
                lines.long += map(line, self.points_of(session_id))
        self._touched.clear()

    def points_of(self, session_id: str, others: dict[str, None] | None = None) -> list[Point]:
        """A session's points as the ledger has it now. `others` gets who must be told again, too."""
        try:
            told = self.told(session_id)
            if others is not None and (other := next_use(told)) is not None and other not in others:
                others[other] = None
            return session_points(told)
        except SQLAlchemyError:
            raise
        except Exception as error:
            log.error("a session gives no points", session=session_id, error=what(error))
            return []

    def told(self, session_id: str) -> Told:
        """What the ledger knows now of a session."""
        ledger, row = self._ledger, self._row(session_id)
        return Told(
            session_id,
            self.clinic,
            row,
            None if row is None else ledger.registry_at(row["registry_entry"]),
            ledger.session_entries(session_id),
            ledger.alerts(session_id),
            () if row is None else self._same_cartridge(row),
        )

    @property
    def clinic(self) -> str:
        """The clinic's id, which never changes. LedgerError if the ledger has no registry yet."""
        if self._clinic is None:
            found = self._ledger.registry()
            if found is None:
                raise LedgerError("the ledger holds no registry yet. Import one first.")
            self._clinic = found[1].clinic.id
        return self._clinic

    def _same_cartridge(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        if row["serial"] is None:
            return []
        columns = schema.session.c
        query = select(schema.session).where(
            columns.gtin == row["gtin"], columns.serial == row["serial"]
        )
        with self._ledger.reading() as connection:
            return [dict(found._mapping) for found in connection.execute(query)]

    def started_utc_ms(self, session_id: str) -> int | None:
        """When a session began; None if that is not known, or no record of it has come."""
        row = self._row(session_id)
        started_utc_ms: int | None = None if row is None else row["started_utc_ms"]
        return started_utc_ms

    def first_use_utc_ms(self, session_id: str | None) -> int | None:
        """When the first session with a session's cartridge began; None if it had none."""
        row = None if session_id is None else self._row(session_id)
        if row is None or row["gtin"] is None:
            return None
        uses = [row, *self._same_cartridge(row)]
        known = [use["started_utc_ms"] for use in uses if use["started_utc_ms"] is not None]
        return min(known, default=None)

    def _row(self, session_id: str) -> dict[str, Any] | None:
        try:
            return self._ledger.session(session_id)
        except LedgerError:  # a pen's urgent word came before its records
            return None

    # ---- one entry ----

    def _tell(self, entry: Entry, lines: Lines) -> None:
        if entry.is_removed:
            return
        session_id = entry.session_id
        record = record_of(entry) if entry.kind == "record" else None
        said = {} if record is not None else _said(entry)
        if session_id is not None:
            if record is not None:
                self._tell_record(entry, session_id, record, lines)
            elif entry.kind == "verdict" and "amends" not in said:
                trace = self._trace(session_id, entry.id)
                if trace is not None:
                    lines.long += trace.trace.finish()
                self._traces.pop(session_id, None)
        if is_about_session(entry.kind, None if record is None else record.kind):
            about = session_id or said.get("session")
            if about is not None:
                self._touched[about] = None
        first_utc_ms = None
        if entry.kind == "verdict" or (record is not None and record.kind == messages.OPEN):
            first_utc_ms = self.first_use_utc_ms(session_id)
        day = touched_from(entry.kind, entry.committed_utc_ms, said, first_utc_ms)
        if day is not None and (lines.daily_from is None or day < lines.daily_from):
            lines.daily_from = day

    def _tell_record(self, entry: Entry, session_id: str, record: Message, lines: Lines) -> None:
        if record.kind == messages.OPEN:
            self._keep(session_id, self._new_trace(session_id, record))
        elif record.kind == messages.SAMPLES:
            trace = self._trace(session_id, entry.id)
            if trace is not None:
                trace.read(Readings(record), lines)
        elif record.kind == messages.BADGE:
            self._traces.pop(session_id, None)
            self._trace(session_id, entry.id, lines)

    # ---- traces ----

    def _trace(
        self, session_id: str, before_id: int, lines: Lines | None = None
    ) -> "_KeptTrace | None":
        """The session's trace, caught up to an entry; `lines` gets what that makes."""
        if session_id not in self._traces:
            trace = self._new_trace(session_id)
            if trace is not None:
                for readings in self.readings_of(session_id, before_id):
                    seconds = trace.trace.count(readings)
                    if lines is not None:
                        lines.long += seconds
            self._keep(session_id, trace)
        self._traces.move_to_end(session_id)
        return self._traces[session_id]

    def _keep(self, session_id: str, trace: "_KeptTrace | None") -> None:
        self._traces[session_id] = trace
        if len(self._traces) > _TRACES_KEPT:
            self._traces.popitem(last=False)  # it is caught up again, if it is still told of

    def _new_trace(self, session_id: str, opened: Message | None = None) -> "_KeptTrace | None":
        row = self._ledger.session(session_id)
        started_utc_ms = row["started_utc_ms"]
        if started_utc_ms is None:
            return None  # no place in time
        if opened is None:
            [entry] = self._ledger.entries(row["opened_entry"] - 1, most=1)
            opened = record_of(entry)
        pen = self._ledger.registry_at(row["registry_entry"]).find_pen(row["pen"])
        if pen is None:
            raise LookupError(f"no registry knows the pen {row['pen']} of session {session_id}")
        return _KeptTrace(Trace(self.clinic, pen, row, opened), started_utc_ms, self._raw_from_utc_ms())

    def readings_of(self, session_id: str, before_id: int | None = None) -> Iterator[Readings]:
        """A session's readings in their order, as far as they have not been removed."""
        for entry in self._ledger.session_entries(session_id):
            if before_id is not None and entry.id >= before_id:
                return
            if entry.kind == "record" and not entry.is_removed:
                record = record_of(entry)
                if record.kind == messages.SAMPLES:
                    yield Readings(record)


class _KeptTrace:
    """A trace, and how much of it InfluxDB still keeps."""

    def __init__(self, trace: Trace, started_utc_ms: int, raw_from_utc_ms: int | None) -> None:
        self.trace = trace
        self._raw_from_ns = None
        self._has_raw = True
        if raw_from_utc_ms is not None and started_utc_ms < raw_from_utc_ms:
            self._raw_from_ns = raw_from_utc_ms * NS_PER_MS
            self._has_raw = started_utc_ms + _SESSION_MOST_MS > raw_from_utc_ms

    def read(self, readings: Readings, lines: Lines) -> None:
        if not self._has_raw:
            lines.long += self.trace.count(readings)
            return
        raw, seconds = self.trace.read(readings)
        if self._raw_from_ns is not None:
            raw = [one for one in raw if time_of(one) >= self._raw_from_ns]
        lines.raw += raw
        lines.long += seconds


def record_of(entry: Entry) -> Message:
    """The record of an entry of that kind. ProtocolError if it can not be read."""
    return decode_record(open_envelope(entry.body)[1])


def what(error: Exception) -> str:
    """What went wrong, for the log: its kind and its place. Its text may quote what an entry says."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def time_of(text: str) -> int:
    """When a line's point is, in nanoseconds."""
    return int(text[text.rindex(" ") + 1 :])


def _said(entry: Entry) -> dict[str, Any]:
    """What an entry that is JSON says; of others nothing."""
    try:
        said = entry.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
