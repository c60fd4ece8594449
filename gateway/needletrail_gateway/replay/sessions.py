"""The sessions of a ledger, read back from their records, page by page.

Strategy: a pen's entries are walked once, in the order of their numbers, and only what is no samples
record is looked at one by one; those are some ten in a session. The readings between are decoded a
page at a time (replay/columns). What a session needs from before it (boot, clock pins, parts that had
failed) is gathered on the way, so a period begins at the boot before its first session. One session
is held at a time, whatever the period. Not here: judging; a `Recorded` says what was recorded.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, func, select, text

from needletrail_gateway.core.clock import Pin
from needletrail_gateway.core.treatment import session_name
from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay import columns
from needletrail_gateway.replay.columns import Columns, Ints
from needletrail_gateway.replay.meter import Work
from needletrail_protocol import messages
from needletrail_protocol.authentication import TAG_LENGTH, open_envelope
from needletrail_protocol.readings import decode_record
from needletrail_protocol.tables import Message

PAGE = 4_000  # entries read and decoded at once: more of them cost less each, and take more room
_TAIL = 2 + TAG_LENGTH  # bytes of an envelope behind its payload
_FEW = 0x80 + 24  # an array with fewer than 24 items has a head below this
_WIDE, _WIDER = 0x58, 0x59  # heads of byte strings whose length takes one byte, or two
_PIN_FIELDS = ("boot", "t_ms", "gateway_utc_ms", "device_utc_ms")

# What was refused is left out, and leaves a hole in the numbers, as what was lost does.
_RECORDS = text(
    "SELECT seq, body FROM entry WHERE pen = :pen AND epoch = :epoch AND seq >= :seq "
    "AND kind = 'record' ORDER BY seq LIMIT :most"
)
_OUTSIDE_SESSIONS = text(
    "SELECT seq, body FROM entry WHERE pen = :pen AND epoch = :epoch AND seq < :seq "
    "AND session_id IS NULL AND kind = 'record' ORDER BY seq DESC"
)


@dataclass(frozen=True)
class Period:
    """From a time on, up to but not including another; None: without end. UTC.

    A session of which nobody knows when it began is only in the period that has no ends.
    """

    from_utc_ms: int | None = None
    to_utc_ms: int | None = None


ALWAYS = Period()


@dataclass(frozen=True)
class Event:
    """A record that came during a session, after so many of its readings."""

    readings: int
    record: Message


@dataclass
class Recorded:
    """A session that is over, as its records tell it.

    row: the ledger's row of it. opened: its first record, committed at `received_utc_ms`. boot, board,
    device_utc_ms, pins: of the boot it was in, as far as they were known when it opened. closed_t_ms:
    None if its end is not in the record. has_gap: records of it are missing. is_expired: its readings
    have been removed, so nobody can judge it again.
    """

    row: Mapping[str, Any]
    opened: Message
    received_utc_ms: int
    boot: int | None
    board: str | None
    device_utc_ms: int | None
    pins: tuple[Pin, ...]
    standing_faults: Mapping[str, str]
    readings: Columns
    events: Sequence[Event] = ()
    closed_t_ms: int | None = None
    has_gap: bool = False
    is_expired: bool = False
    _works: dict[int, Work] = field(default_factory=dict)

    @property
    def session_id(self) -> str:
        """PEN-EPOCH-NUMBER."""
        return str(self.row["session_id"])

    def work(self, count: int) -> Work:
        """What was counted of its first readings, so many. It is the same under every limit."""
        found = self._works.get(count)
        if found is None:
            found = Work(self.readings.first(count), self.opened.lead, self.opened.strokes)
            self._works[count] = found
        return found


def sessions_in(ledger: Ledger, period: Period = ALWAYS) -> Iterator[Recorded]:
    """The judged sessions that began in the period, pen by pen, oldest first."""
    column = schema.session.c
    for pen_id, epoch in sorted((row["pen"], row["epoch"]) for row in ledger.lanes()):
        wanted = _wanted(ledger, column.pen == pen_id, column.epoch == epoch, *_judged_in(period))
        if wanted:
            yield from _Walk(ledger, pen_id, epoch, wanted).sessions()


def count_sessions(ledger: Ledger, period: Period = ALWAYS) -> int:
    """How many sessions_in() gives."""
    query = select(func.count()).select_from(schema.session).where(*_judged_in(period))
    with ledger.reading() as connection:
        return connection.scalar(query) or 0


def find_session(ledger: Ledger, session_id: str) -> Recorded:
    """One judged session. LedgerError if there is none of that name, or if it is still open."""
    row = ledger.session(session_id)
    if row["verdict_entry"] is None:
        raise LedgerError(f"the session {session_id} is still open: there is no verdict yet")
    wanted = _wanted(ledger, schema.session.c.session_id == session_id)
    return next(_Walk(ledger, row["pen"], row["epoch"], wanted).sessions())


def _wanted(ledger: Ledger, *which: ColumnElement[bool]) -> dict[str, "_Wanted"]:
    """Sessions by id, in the order in which they opened."""
    query = (
        select(schema.session, schema.entry.c.committed_utc_ms)
        .join(schema.entry, schema.entry.c.id == schema.session.c.opened_entry)
        .where(*which)
        .order_by(schema.session.c.opened_entry)
    )
    found = {}
    with ledger.reading() as connection:
        for row in map(dict, connection.execute(query).mappings()):
            received_utc_ms = row.pop("committed_utc_ms")
            found[row["session_id"]] = _Wanted(row, received_utc_ms)
    return found


def _judged_in(period: Period) -> list[ColumnElement[bool]]:
    column = schema.session.c
    found: list[ColumnElement[bool]] = [column.verdict_entry.is_not(None)]
    if period.from_utc_ms is not None:
        found.append(column.started_utc_ms >= period.from_utc_ms)
    if period.to_utc_ms is not None:
        found.append(column.started_utc_ms < period.to_utc_ms)
    return found


class _Wanted(NamedTuple):
    """A session's row, and when its first record was committed."""

    row: Mapping[str, Any]
    received_utc_ms: int


class _Open:
    """A wanted session that is being gathered, from slices of pages."""

    def __init__(self, found: Recorded) -> None:
        self.found = found
        self._parts: list[Columns] = []
        self._events: list[Event] = []
        self._count = 0

    def take(self, part: Columns) -> None:
        self._parts.append(part)
        self._count += len(part)

    def note(self, record: Message) -> None:
        self._events.append(Event(self._count, record))

    def end(self, closed_t_ms: int | None) -> Recorded:
        found = self.found
        found.readings = columns.joined(self._parts)
        found.events = self._events
        found.closed_t_ms = closed_t_ms
        found.has_gap |= closed_t_ms is None
        return found


class _Walk:
    """One pen's records in one key epoch, from the boot before the first session that is wanted."""

    def __init__(self, ledger: Ledger, pen_id: str, epoch: int, wanted: Mapping[str, _Wanted]) -> None:
        """`wanted`: by id, the first one first."""
        self._ledger = ledger
        self._pen_id = pen_id
        self._epoch = epoch
        self._wanted = wanted
        self._boot: Message | None = None
        self._faults: dict[str, str] = {}
        self._open: _Open | None = None
        self._last_seq: int | None = None
        rows = ledger.pins(pen_id, epoch, 0)
        self._pins = [Pin(*(row[name] for name in _PIN_FIELDS)) for row in rows]
        self._pin_entries = [row["entry"] for row in rows]

    def sessions(self) -> Iterator[Recorded]:
        """Each wanted session, when it is over."""
        left = len(self._wanted)
        for page in self._pages():
            for found in self._walk(page):
                yield found
                left -= 1
                if left == 0:
                    return

    def _pages(self) -> Iterator["_Page"]:
        lane = {"pen": self._pen_id, "epoch": self._epoch}
        seq = self._first_seq(lane)
        while True:
            with self._ledger.reading() as connection:
                found = connection.execute(_RECORDS, lane | {"seq": seq, "most": PAGE})
                # As the driver has them: to dress so many rows up takes longer than to decode them.
                rows = [] if found.cursor is None else found.cursor.fetchall()
            if not rows:
                return
            page = _Page(rows, self._epoch)
            yield page
            if len(rows) < PAGE:
                return
            seq = page.seq(-1) + 1

    def _first_seq(self, lane: Mapping[str, Any]) -> int:
        opened = next(iter(self._wanted.values())).row["opened_entry"]
        with self._ledger.reading() as connection:
            seq = connection.scalar(select(schema.entry.c.seq).where(schema.entry.c.id == opened))
            for row in connection.execute(_OUTSIDE_SESSIONS, {**lane, "seq": seq}):
                if decode_record(open_envelope(bytes(row.body))[1]).kind == messages.BOOT:
                    return int(row.seq)
        return 0

    def _walk(self, page: "_Page") -> Iterator[Recorded]:
        for first, last in page.stretches():
            if first == last:
                yield from self._look(page, first)
            elif self._open is not None:
                self._open.take(page.readings(first, last))
        self._last_seq = page.seq(-1)

    def _look(self, page: "_Page", index: int) -> Iterator[Recorded]:
        """An entry that is no samples record, or does not follow the one before."""
        seq, message = page.seq(index), page.message(index)
        before = page.seq(index - 1) if index else self._last_seq
        opened = self._open
        if opened is not None and (before is None or seq != before + 1):
            opened.found.has_gap = True
        if page.is_samples[index]:
            if opened is not None:
                opened.take(page.readings(index, index + 1))
        elif not message:
            if opened is not None:
                opened.found.is_expired = True
        else:
            payload = open_envelope(message)[1]
            yield from self._take(decode_record(payload), payload)

    def _take(self, record: Message, payload: bytes) -> Iterator[Recorded]:
        kind, opened = record.kind, self._open
        if kind in (messages.OPEN, messages.BOOT, messages.CLOSE):
            if opened is not None:
                yield opened.end(record.t_ms if kind == messages.CLOSE else None)
            self._open = self._begin(record) if kind == messages.OPEN else None
        elif kind == messages.FAULT:
            if record.is_over:
                self._faults.pop(record.part, None)
            else:
                self._faults[record.part] = record.fault
        if kind == messages.BOOT:
            self._boot = record
            self._faults = {}
        elif opened is not None:
            if kind in (messages.BADGE, messages.GRANT_TAKEN, messages.FAULT):
                opened.note(record)
            elif kind == messages.SAMPLES:  # with more in it than this version knows
                opened.take(columns.decode([payload]))

    def _begin(self, record: Message) -> _Open | None:
        found = self._wanted.get(session_name(self._pen_id, self._epoch, record.session))
        if found is None:
            return None
        boot = self._boot
        return _Open(
            Recorded(
                row=found.row,
                opened=record,
                received_utc_ms=found.received_utc_ms,
                boot=None if boot is None else boot.boot,
                board=None if boot is None else boot.board,
                device_utc_ms=None if boot is None else boot.utc_ms,
                pins=tuple(self._pins[: bisect_left(self._pin_entries, found.row["opened_entry"])]),
                standing_faults=dict(self._faults),
                readings=columns.NOTHING,
            )
        )


class _Page:
    """Consecutive records of a pen. is_samples: which hold samples, as pens write them."""

    def __init__(self, rows: Sequence[tuple[int, bytes]], epoch: int) -> None:
        self._seqs = [seq for seq, _ in rows]
        self._messages = [message for _, message in rows]
        lengths = np.fromiter(map(len, self._messages), np.int64, len(rows))
        self._buffer = np.frombuffer(b"".join([*self._messages, bytes(columns.SPARE)]), np.uint8)
        ends = np.cumsum(lengths)
        self._starts, sizes = self._payloads(ends - lengths, ends, epoch)
        self._sizes = sizes
        first, second = self._buffer[self._starts], self._buffer[self._starts + 1]
        self.is_samples = (
            (sizes > 1) & (first < _FEW) & (first >> 5 == 4) & (second == messages.SAMPLES)
        )
        self._columns: Columns | None = None

    def seq(self, index: int) -> int:
        """A record's number; from the end if below 0."""
        return int(self._seqs[index])

    def message(self, index: int) -> bytes:
        """A record as it was sealed; empty if it has been removed."""
        return bytes(self._messages[index])

    def _payloads(self, starts: Ints, ends: Ints, epoch: int) -> tuple[Ints, Ints]:
        """Where each payload begins, and its length; 0 if the envelope is not the usual one."""
        buffer = self._buffer
        head = np.frombuffer(_envelope_head(epoch), np.uint8)
        is_long = ends - starts > len(head) + 3 + _TAIL
        places = np.where(is_long, starts, 0)
        is_ours = (buffer[places[:, None] + np.arange(len(head))] == head).all(axis=1)
        places = places + len(head)
        kind = buffer[places]
        sizes = np.where(kind == _WIDE, buffer[places + 1], kind.astype(np.int64) - 0x40)
        wider = buffer[places + 1].astype(np.int64) << 8 | buffer[places + 2]
        sizes = np.where(kind == _WIDER, wider, sizes)
        places += 1 + (kind == _WIDE) + 2 * (kind == _WIDER)
        is_ours &= is_long & (places + sizes + _TAIL == ends)
        return np.where(is_ours, places, 0), np.where(is_ours, sizes, 0)

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Records from first up to, but not including, last that are samples records in a row; and,
        with first and last the same, each record that must be looked at by itself.
        """
        is_plain = self.is_samples.copy()
        is_plain[0] = False
        is_plain[1:] &= np.diff(np.fromiter(self._seqs, np.int64, len(self._seqs))) == 1
        at = 0
        for index in np.flatnonzero(~is_plain).tolist():
            if at < index:
                yield at, index
            yield index, index
            at = index + 1
        if at < len(self._seqs):
            yield at, len(self._seqs)

    def readings(self, first: int, last: int) -> Columns:
        """Those of the samples records from first up to, but not including, last."""
        if self._columns is None:
            chosen = self.is_samples
            self._columns = columns.decode_at(self._buffer, self._starts[chosen], self._sizes[chosen])
            self._numbers = np.concatenate(([0], np.cumsum(chosen)))
        return self._columns.records(int(self._numbers[first]), int(self._numbers[last]))


def _envelope_head(epoch: int) -> bytes:
    """What every envelope of a key epoch begins with, up to the payload's own head."""
    width = (epoch.bit_length() + 7) // 8
    key_id = b"\xa2\x01\x05\x04" + bytes([0x40 + width]) + epoch.to_bytes(width, "big")
    return b"\xd1\x84" + bytes([0x40 + len(key_id)]) + key_id + b"\xa0"
