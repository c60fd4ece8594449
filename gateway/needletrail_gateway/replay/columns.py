"""Many samples records at once, as arrays: what protocol/readings does for one, reading by reading.

All records of a page lie behind one another in one buffer, and each step of decoding is done for all
of them: the CBOR heads field by field, then nibbles, exceptions, contact runs. That works because the
wire has one encoding for everything. Where a record is not as plain as pens write it (an element that
this version does not know, or an error), its page is decoded by `Readings`, which then also says what
is wrong. So the two can only agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from needletrail_protocol import messages
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.readings import Readings, decode_record
from needletrail_protocol.tables import T_MAX, U32

Ints = NDArray[np.int64]
Dial = NDArray[np.int16]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

_ARRAY = 0x80
_NULL = 0xF6
_FIELDS = len(messages.RECORD_FIELDS[messages.SAMPLES])
_ITEMS = (_FIELDS, 1 + _FIELDS)  # kind and fields, without or with the jitter
SPARE = 16  # bytes behind the buffer, so that no head is read beyond it
_UINT, _BYTES = 0x00, 0x40
_WIDTHS = np.zeros(28, np.int64)  # bytes after a head, by its lower five bits
_WIDTHS[24:28] = (1, 2, 4, 8)
_LEAST = np.zeros(28, np.uint64)  # what may stand there: less has a shorter form
_LEAST[24:28] = (24, 1 << 8, 1 << 16, 1 << 32)
_WORD = 8  # bytes of the widest
_NARROW = np.int16
_VARINT_MOST = 5  # bytes of 32 bits
_PAIRS = np.array([(byte >> 4, byte & 15) for byte in range(256)], _NARROW) - _NARROW(8)
_PAIRS_AT_ONCE = np.ascontiguousarray(_PAIRS).view(np.int32).ravel()  # both values of a byte
_EXCEPTION = -8  # the value that says: see the exceptions


@dataclass(frozen=True)
class Columns:
    """The readings of consecutive records; record i has those from `firsts[i]` to `firsts[i + 1]`.

    t_ms, dial (counts), strokes (since power-on) and contact are parallel, a value a reading.
    """

    t_ms: Ints
    dial: Dial
    strokes: Ints
    contact: Flags
    firsts: Ints

    def __len__(self) -> int:
        return len(self.t_ms)

    def records(self, first: int, last: int) -> "Columns":
        """Those of the records from first up to, but not including, last. Nothing is copied."""
        bounds = self.firsts[first : last + 1]
        part = slice(int(bounds[0]), int(bounds[-1]))
        return Columns(
            self.t_ms[part],
            self.dial[part],
            self.strokes[part],
            self.contact[part],
            bounds - bounds[0],
        )

    def first(self, count: int) -> "Columns":
        """The first so many readings, which are those of whole records. Nothing is copied."""
        return self.records(0, int(np.searchsorted(self.firsts, count)))


NOTHING = Columns(
    np.zeros(0, np.int64),
    np.zeros(0, np.int16),
    np.zeros(0, np.int64),
    np.zeros(0, np.bool_),
    np.zeros(1, np.int64),
)


def joined(parts: Sequence[Columns]) -> Columns:
    """Readings that follow one another."""
    if not parts:
        return NOTHING
    if len(parts) == 1:
        return parts[0]
    counts = np.concatenate([np.diff(part.firsts) for part in parts])
    return Columns(
        np.concatenate([part.t_ms for part in parts]),
        np.concatenate([part.dial for part in parts]),
        np.concatenate([part.strokes for part in parts]),
        np.concatenate([part.contact for part in parts]),
        np.concatenate(([0], np.cumsum(counts))),
    )


class _OddError(Exception):
    """Something that only `Readings` may judge."""


def decode(payloads: Sequence[bytes]) -> Columns:
    """The readings of samples records, given as payloads.

    ProtocolError if one is none; of several errors the first one's.
    """
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    buffer = np.frombuffer(b"".join([*payloads, bytes(SPARE)]), np.uint8)
    return decode_at(buffer, np.cumsum(lengths) - lengths, lengths)


def decode_at(buffer: Bytes, starts: Ints, lengths: Ints) -> Columns:
    """The same for payloads that lie in a buffer, with SPARE bytes or more behind the last one."""
    if not len(starts):
        return NOTHING
    try:
        return _all_at_once(buffer, starts, starts + lengths)
    except _OddError:
        return _one_by_one(
            [
                buffer[start : start + length].tobytes()
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
            ]
        )


def _one_by_one(payloads: Sequence[bytes]) -> Columns:
    found = []
    for payload in payloads:
        record = decode_record(payload)
        if record.kind != messages.SAMPLES:
            raise ProtocolError(PAYLOAD_INVALID, "not a samples record")
        found.append(Readings(record))
    counts = [0, *(len(one.t_ms) for one in found)]
    return Columns(
        np.array([t for one in found for t in one.t_ms], np.int64),
        np.array([counts for one in found for counts in one.dial], np.int16),
        np.array([strokes for one in found for strokes in one.strokes], np.int64),
        np.array([contact for one in found for contact in one.contact], np.bool_),
        np.cumsum(np.array(counts, np.int64)),
    )


def _all_at_once(buffer: Bytes, starts: Ints, ends: Ints) -> Columns:
    items = buffer[starts].astype(np.int64) - _ARRAY
    has_jitter = items == _ITEMS[1]
    _demand(has_jitter | (items == _ITEMS[0]))
    _demand(buffer[starts + 1] == messages.SAMPLES)
    cursor = _Cursor(buffer, starts + 2)
    cursor.number(1, U32)  # seq
    t_ms = cursor.number(0, T_MAX)
    cursor.number(1, U32)  # session
    period_ms = cursor.number(1, 1000)
    count = cursor.number(1, messages.SAMPLES_MAX)
    dial_base = cursor.number(0, DIAL_MAX_COUNTS)
    dial_column = cursor.span()
    strokes_base = cursor.number(0, U32)
    strokes_column = cursor.span()
    runs = cursor.span()
    _demand(runs[1] > 0)

    firsts = np.concatenate(([0], np.cumsum(count)))
    total = int(firsts[-1])
    index = np.arange(total)
    period = np.int64(period_ms[0]) if (period_ms == period_ms[0]).all() else None
    if period is not None:
        times = index * period
        times += np.repeat(t_ms - firsts[:-1] * period, count)
    else:
        times = np.repeat(t_ms, count) + (index - np.repeat(firsts[:-1], count)) * np.repeat(
            period_ms, count
        )
    with_jitter = np.flatnonzero(has_jitter)
    if with_jitter.size:
        _add_jitter(cursor, with_jitter, times, count, firsts)
    _demand(cursor.at == ends)
    _demand(times[firsts[1:] - 1] <= T_MAX)

    dial = _column(buffer, dial_column, count)
    _demand(dial.dtype == _NARROW)
    dial += np.repeat(dial_base.astype(_NARROW), count)
    _demand((dial >= 0) & (dial <= DIAL_MAX_COUNTS))
    steps = _column(buffer, strokes_column, count)
    _demand(steps >= 0)
    strokes = np.cumsum(steps, dtype=np.int64)
    before = np.concatenate(([0], strokes[firsts[1:-1] - 1]))
    strokes += np.repeat(strokes_base - before, count)
    _demand(strokes[firsts[1:] - 1] <= U32)
    contact = _contact(buffer, runs, count)
    return Columns(times, dial, strokes, contact, firsts)


class _Cursor:
    """A place in each record; every call reads the next field of all of them."""

    def __init__(self, buffer: Bytes, at: Ints) -> None:
        self._buffer = buffer
        # Eight bytes from each place on, as one number.
        self._words = np.ndarray(len(buffer) - _WORD + 1, ">u8", buffer, strides=(1,))
        self.at = at

    def number(self, least: int, most: int) -> Ints:
        """Unsigned integers of that range."""
        value = self._head(_UINT)
        _demand((value >= least) & (value <= most))
        return value

    def span(self) -> tuple[Ints, Ints]:
        """Byte strings: where each begins, and its length. Their limits are those of a message."""
        length = self._head(_BYTES)
        start = self.at
        self.at = start + length
        _demand(self.at <= len(self._buffer) - SPARE)
        return start, length

    def _head(self, major: int) -> Ints:
        at = self.at
        low = self._buffer[at] - np.uint8(major)
        _demand(low < len(_WIDTHS))
        width = _WIDTHS[low]
        if low.max() < 24:
            value = low.astype(np.int64)
        else:
            word = self._words[at + 1].astype(np.uint64)
            found = np.where(width > 0, word >> (-8 * width & 63).astype(np.uint64), low)
            _demand((found >= _LEAST[low]) & (found <= T_MAX))
            value = found.astype(np.int64)
        self.at = at + 1 + width
        _demand(self.at <= len(self._buffer) - SPARE)
        return value

    def optional_span(self, rows: Ints) -> tuple[Ints, Ints]:
        """The byte strings of some records, which may be null: then their length is -1."""
        is_null = self._buffer[self.at[rows]] == _NULL
        some = _Cursor(self._buffer, self.at[rows[~is_null]])
        start = np.zeros(len(rows), np.int64)
        length = np.full(len(rows), -1, np.int64)
        if len(some.at):
            start[~is_null], length[~is_null] = some.span()
            _demand(length[~is_null] > 0)
        self.at = self.at.copy()
        self.at[rows[is_null]] += 1
        self.at[rows[~is_null]] = some.at
        return start, length


def _add_jitter(cursor: _Cursor, rows: Ints, times: Ints, count: Ints, firsts: Ints) -> None:
    start, length = cursor.optional_span(rows)
    told = length >= 0
    rows, start, length = rows[told], start[told], length[told]
    if not rows.size:
        return
    of_rows = count[rows]
    jitter = _column(cursor._buffer, (start, length), of_rows)
    own_firsts = np.cumsum(of_rows) - of_rows
    _demand(jitter[own_firsts] == 0)
    _demand(np.bitwise_or.reduceat(jitter, own_firsts) != 0)
    places = np.repeat(firsts[rows] - own_firsts, of_rows) + np.arange(len(jitter))
    strayed = times[places] + jitter
    is_later = np.ones(len(strayed), np.bool_)
    is_later[1:] = strayed[1:] > strayed[:-1]
    is_later[own_firsts] = True
    _demand(is_later)
    times[places] = strayed


def _column(buffer: Bytes, span: tuple[Ints, Ints], count: Ints) -> NDArray[Any]:
    """The integers of one column of each record, all behind one another.

    _NARROW if none of them is more than a dial can turn; the processor's cache then holds them.
    """
    start, length = span
    width = (count + 1) >> 1
    _demand(length >= width)
    values: NDArray[Any] = _PAIRS_AT_ONCE[buffer[_places(start, width)]].view(_NARROW)
    is_odd = (count & 1).astype(np.bool_)
    if is_odd.any():
        pads = (2 * np.cumsum(width) - 1)[is_odd]
        _demand(values[pads] == 0)
        values = np.delete(values, pads)
    exceptions = (values == _EXCEPTION).nonzero()[0]
    found, bounds = _varints(buffer, start + width, length - width)
    _demand(len(found) == len(exceptions))
    if len(exceptions):
        # Each record's exceptions are as many as its numbers, so they stand in the same order.
        _demand(np.searchsorted(exceptions, np.cumsum(count)) == bounds[1:])
        strays = np.where(found & 1, -((found + 1) >> 1), found >> 1)
        _demand((strays < -7) | (strays > 7))
        if np.abs(strays).max() > DIAL_MAX_COUNTS:
            values = values.astype(np.int64)
        values[exceptions] = strays
    return values


def _contact(buffer: Bytes, runs: tuple[Ints, Ints], count: Ints) -> Flags:
    lengths, bounds = _varints(buffer, *runs)
    firsts = bounds[:-1]
    of_record = np.diff(bounds)
    _demand(of_record > 0)
    in_record = np.arange(len(lengths)) - np.repeat(firsts, of_record)
    _demand((lengths > 0) | (in_record == 0))
    _demand(np.add.reduceat(lengths, firsts) == count)
    return np.repeat((in_record & 1).astype(np.bool_), lengths)


def _varints(buffer: Bytes, start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """All numbers in those spans (unsigned LEB128 of 32 bits); those of span i are from the second
    result's [i] up to, but not including, [i + 1].
    """
    found = buffer[_places(start, length)]
    if not len(found):
        return np.zeros(0, np.int64), np.zeros(len(length) + 1, np.int64)
    ends = (found < 0x80).nonzero()[0]
    span_ends = np.cumsum(length)
    _demand(found[span_ends[length > 0] - 1] < 0x80)
    begins = np.concatenate(([0], ends[:-1] + 1))
    value = (found[begins] & 0x7F).astype(np.int64)
    size = ends - begins + 1
    longest = int(size.max())
    if longest > 1:
        _demand(size <= _VARINT_MOST)
        for place in range(1, longest):
            rows = (size > place).nonzero()[0]
            value[rows] |= (found[begins[rows] + place].astype(np.int64) & 0x7F) << (7 * place)
        _demand((found[ends] != 0) | (size == 1))
        _demand(value <= U32)
    return value, np.concatenate(([0], np.searchsorted(ends, span_ends)))


def _places(start: Ints, length: Ints) -> Ints:
    """start, start + 1 … of each span, behind one another."""
    ends = np.cumsum(length)
    return np.repeat(start - (ends - length), length) + np.arange(int(ends[-1]))


def _demand(is_so: NDArray[np.bool_] | bool) -> None:
    if not (is_so if isinstance(is_so, bool) else is_so.all()):
        raise _OddError
