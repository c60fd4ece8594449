"""Reading a record: strict decoding, and the samples record unpacked into readings.

The gateway's half of messages.py; the pen needs it only while it recovers after a loss of power.
"""

from needletrail_protocol import cbor, tables
from needletrail_protocol.columns import decode_column, read_varint
from needletrail_protocol.errors import KIND_UNKNOWN, PAYLOAD_INVALID, ProtocolError
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.messages import OPEN, RECORD_FIELDS, RECORD_NAMES, is_lead
from needletrail_protocol.tables import Message


class Readings:
    """The readings of one samples record, as four lists of the same length."""

    def __init__(self, record: Message) -> None:
        """Unpack a decoded samples record; ProtocolError(payload_invalid) if a column is none."""
        count = record.count
        base = record.dial_base
        self.dial = [base + stray for stray in decode_column(record.dial_column, count)]
        if min(self.dial) < 0 or max(self.dial) > DIAL_MAX_COUNTS:
            raise ProtocolError(PAYLOAD_INVALID, "a dial reading beyond 12 bits")
        total = record.strokes_base
        steps = decode_column(record.strokes_column, count)
        if min(steps) < 0:
            raise ProtocolError(PAYLOAD_INVALID, "a stroke counter that runs backwards")
        self.strokes = []
        for step in steps:
            total += step
            self.strokes.append(total)
        if total > tables.U32:
            raise ProtocolError(PAYLOAD_INVALID, "a stroke counter beyond 32 bits")
        period_ms = record.period_ms
        t_ms = record.t_ms
        self.t_ms = list(range(t_ms, t_ms + count * period_ms, period_ms))
        jitter_column = record.jitter_column
        if jitter_column is not None:
            self._add_jitter(decode_column(jitter_column, count))
        if self.t_ms[-1] > tables.T_MAX:
            raise ProtocolError(PAYLOAD_INVALID, "a reading later than any t_ms")
        self.contact = _contact(record.contact_runs, count)

    def _add_jitter(self, jitter: "list[int]") -> None:
        times = [t + stray for t, stray in zip(self.t_ms, jitter)]
        if jitter[0] != 0 or not any(jitter):
            raise ProtocolError(PAYLOAD_INVALID, "jitter where there is none")
        for earlier, later in zip(times, times[1:]):
            if later <= earlier:
                raise ProtocolError(PAYLOAD_INVALID, "readings that are not in order of time")
        self.t_ms = times


def _contact(runs: bytes, count: int) -> "list[bool]":
    contact: "list[bool]" = []
    state = False
    at = 0
    while at < len(runs):
        run, at = read_varint(runs, at)
        if run == 0 and at > 1:
            raise ProtocolError(PAYLOAD_INVALID, "an empty contact run")
        if run > count - len(contact):
            raise ProtocolError(PAYLOAD_INVALID, "contact runs do not add up to the readings")
        contact.extend([state] * run)
        state = not state
    if len(contact) != count:
        raise ProtocolError(PAYLOAD_INVALID, "contact runs do not add up to the readings")
    return contact


def decode_record(payload: bytes) -> Message:
    """A record with all its fields checked; samples keep their packed columns (see Readings)."""
    items = cbor.decode(payload)
    if not isinstance(items, list) or not items or type(items[0]) is not int:
        raise ProtocolError(PAYLOAD_INVALID, "not an array that begins with a record kind")
    kind = items[0]
    if kind not in RECORD_FIELDS:
        raise ProtocolError(KIND_UNKNOWN, "record kind %d is not defined in this version" % kind)
    record = tables.decode(RECORD_FIELDS[kind], RECORD_NAMES[kind], items, 1, kind)
    if kind == OPEN and not is_lead(record.lead):
        raise ProtocolError(PAYLOAD_INVALID, "lead holds something else than readings")
    return record


def sequence_of(payload: bytes) -> "int | None":
    """The number of a record whose other fields can perhaps not be read; None if it has none."""
    try:
        items = cbor.decode(payload)
    except ProtocolError:
        return None
    if not isinstance(items, list) or len(items) < 2 or type(items[1]) is not int:
        return None
    return items[1]
