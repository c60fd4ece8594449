"""Messages: what a payload says, as plain objects; encoding and strict decoding.

Each message is a CBOR array; a record's array begins with its kind and its sequence number. Reading
is driven by the tables below, one row a field, so that a field's name, type and range stand in one
place. Elements after those defined are ignored: that is how a later minor version adds a field.
A kind that is not defined is refused. Kinds, once used, are never given a new meaning.

Times: `t_ms` is milliseconds since the pen's boot, `*_utc_ms` milliseconds since 1970-01-01 UTC.
Depths are micrometres (`_um`), dial readings 12-bit counts.
"""

from needletrail_protocol import cbor
from needletrail_protocol.columns import (
    append_varint,
    decode_column,
    encode_column,
    read_varint,
)
from needletrail_protocol.errors import (
    KIND_UNKNOWN,
    PAYLOAD_INVALID,
    ProtocolError,
)
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.ndef import MESSAGE_MAX_LENGTH

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Record kinds. Numbers are for ever.
BOOT = 1
OPEN = 2
SAMPLES = 3
BADGE = 4
CLOSE = 5
ALERT_SHOWN = 6
LOCAL_BREACH = 7

# Why a session opened.
OPENED_BY_CARTRIDGE = 0
OPENED_BY_MOTOR = 1
OPENED_BY_BADGE = 2  # another practitioner took over; the cartridge stayed in the pen
OPEN_CAUSES = ("cartridge", "motor", "badge")

# Why a session closed.
CLOSED_BY_REMOVAL = 0
CLOSED_BY_IDLE = 1
CLOSED_BY_POWER_OFF = 2
CLOSED_BY_BADGE = 3
CLOSED_BY_CARTRIDGE = 4  # another cartridge was read without the first one's removal
CLOSED_BY_POWER_LOSS = 5  # found open at the next boot
CLOSE_CAUSES = ("removal", "idle", "power off", "badge", "other cartridge", "power loss")

IDLE_CLOSE_MS = 300_000
SAMPLES_MAX = 200

_U32 = 0xFFFFFFFF
_T_MAX = (1 << 40) - 1
_UTC_MAX = (1 << 43) - 1
_UM_MAX = 20_000

# A field: (name, type, smallest, largest, may be null). For bytes, text and lists the range is of
# the length, which for text is that of its UTF-8.
_SEQ = ("seq", int, 1, _U32, False)
_T = ("t_ms", int, 0, _T_MAX, False)
_SESSION = ("session", int, 1, _U32, False)
_JITTER = ("jitter_column", bytes, 1, 6 * SAMPLES_MAX, True)  # the one that may also be left out

_RECORD_FIELDS = {
    BOOT: (
        _SEQ,
        _T,
        ("boot", int, 1, _U32, False),
        ("utc_ms", int, 0, _UTC_MAX, True),
        ("firmware", str, 1, 32, False),
        ("board", str, 1, 32, False),
    ),
    OPEN: (
        _SEQ,
        _T,
        _SESSION,
        ("cause", int, 0, len(OPEN_CAUSES) - 1, False),
        ("badge", bytes, 0, MESSAGE_MAX_LENGTH, True),
        ("cartridge", bytes, 0, MESSAGE_MAX_LENGTH, True),
        ("lead", list, 0, 4, False),
        ("strokes", int, 0, _U32, False),
    ),
    SAMPLES: (
        _SEQ,
        _T,
        _SESSION,
        ("period_ms", int, 1, 1000, False),
        ("count", int, 1, SAMPLES_MAX, False),
        ("dial_base", int, 0, DIAL_MAX_COUNTS, False),
        ("dial_column", bytes, 1, 6 * SAMPLES_MAX, False),
        ("strokes_base", int, 0, _U32, False),
        ("strokes_column", bytes, 1, 6 * SAMPLES_MAX, False),
        ("contact_runs", bytes, 1, 2 * SAMPLES_MAX, False),
        _JITTER,
    ),
    BADGE: (_SEQ, _T, _SESSION, ("badge", bytes, 0, MESSAGE_MAX_LENGTH, False)),
    CLOSE: (
        _SEQ,
        _T,
        _SESSION,
        ("cause", int, 0, len(CLOSE_CAUSES) - 1, False),
        ("passes", int, 0, _U32, False),
        ("peak_counts", int, 0, DIAL_MAX_COUNTS, True),
        ("breach_ms", int, 0, _U32, False),
    ),
    ALERT_SHOWN: (_SEQ, _T, _SESSION, ("code", str, 1, 32, False)),
    LOCAL_BREACH: (
        _SEQ,
        _T,
        _SESSION,
        ("limit_um", int, 0, _UM_MAX, False),
        ("depth_um", int, 0, _UM_MAX, False),
        ("grant_utc_ms", int, 0, _UTC_MAX, True),
    ),
}

_HELLO_FIELDS = (
    ("oldest_seq", int, 1, _U32, False),
    ("next_seq", int, 1, _U32, False),
    ("boot", int, 0, _U32, False),
    ("firmware", str, 1, 32, False),
    ("grant_utc_ms", int, 0, _UTC_MAX, True),
)
_ACK_FIELDS = (("seq", int, 0, _U32, False), ("utc_ms", int, 0, _UTC_MAX, False))
_GRANT_FIELDS = (
    ("issued_utc_ms", int, 0, _UTC_MAX, False),
    ("expires_utc_ms", int, 0, _UTC_MAX, False),
    ("policy", str, 1, 64, False),
    ("nobody_um", int, 0, _UM_MAX, False),  # limit while no badge was read
    ("permits", list, 0, 200, False),  # of [badge id, limit_um, until_utc_ms]
)
_ALERT_FIELDS = (
    ("session", int, 1, _U32, False),
    ("code", str, 1, 32, False),
    ("t_ms", int, 0, _T_MAX, False),
    ("limit_um", int, 0, _UM_MAX, True),
    ("depth_um", int, 0, _UM_MAX, True),
)


class Message:
    """One decoded message. Its attributes are the fields of its table; `kind` is 0 if no record."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def encode_record(kind: int, fields: "Sequence[Any]") -> bytes:
    """Payload of a record: `fields` in the order of its table, beginning with seq and t_ms.

    ValueError or TypeError if a field is missing, of another type or out of range.
    """
    if kind not in _RECORD_FIELDS:
        raise ValueError("record kind %r is not defined" % kind)
    payload = _encode(_RECORD_FIELDS[kind], fields, [kind])
    if kind == OPEN and not _is_lead(fields[6]):
        raise ValueError("lead holds something else than readings")
    return payload


def encode_hello(fields: "Sequence[Any]") -> bytes:
    """Payload of a hello: oldest_seq, next_seq, boot, firmware, grant_utc_ms."""
    payload = _encode(_HELLO_FIELDS, fields, [])
    if fields[0] > fields[1]:
        raise ValueError("oldest_seq comes after next_seq")
    return payload


def encode_ack(seq: int, utc_ms: int) -> bytes:
    """Payload of an acknowledgement: all records up to `seq` are committed."""
    return _encode(_ACK_FIELDS, (seq, utc_ms), [])


def encode_grant(fields: "Sequence[Any]") -> bytes:
    """Payload of a grant: issued_utc_ms, expires_utc_ms, policy, nobody_um, permits."""
    payload = _encode(_GRANT_FIELDS, fields, [])
    if not _are_permits(fields[4]):
        raise ValueError("a permit is not [badge id, limit_um, until_utc_ms]")
    return payload


def encode_alert(fields: "Sequence[Any]") -> bytes:
    """Payload of an alert: session, code, t_ms, limit_um, depth_um."""
    return _encode(_ALERT_FIELDS, fields, [])


def encode_samples(
    seq: int,
    session: int,
    count: int,
    period_ms: int,
    times_ms: "Sequence[int]",
    dial: "Sequence[int]",
    strokes_before: int,
    strokes: "Sequence[int]",
    contact: "Sequence[int]",
) -> bytes:
    """Payload of a samples record from four parallel columns of at least `count` readings.

    times_ms[0] is the record's t_ms; the others may stray from t_ms + i * period_ms by any jitter.
    strokes[i] is the counter at reading i, strokes_before the counter before the first.
    contact[i] is true while there is skin contact. ValueError if a reading is out of range or of
    order: a record that the gateway refuses would keep all later ones from it.
    """
    t_ms = times_ms[0]
    base = dial[0]
    steps = [0] * count
    jitter = [0] * count
    has_jitter = False
    before = strokes_before
    runs = bytearray()
    state = False
    run = 0
    for index in range(count):
        steps[index] = strokes[index] - before
        before = strokes[index]
        if steps[index] < 0 or not 0 <= dial[index] <= DIAL_MAX_COUNTS:
            raise ValueError("reading %d: dial beyond 12 bits, or strokes run backwards" % index)
        if index and times_ms[index] <= times_ms[index - 1]:
            raise ValueError("reading %d is not in order of time" % index)
        stray = times_ms[index] - t_ms - index * period_ms
        if stray:
            jitter[index] = stray
            has_jitter = True
        if bool(contact[index]) != state:
            append_varint(runs, run)
            state = not state
            run = 0
        run += 1
    append_varint(runs, run)
    if before > _U32 or times_ms[count - 1] > _T_MAX:
        raise ValueError("a stroke counter or a time that no record can say")
    fields: "list[Any]" = [
        seq,
        t_ms,
        session,
        period_ms,
        count,
        base,
        encode_column(dial, base, count),
        strokes_before,
        encode_column(steps, 0, count),
        bytes(runs),
    ]
    if has_jitter:
        fields.append(encode_column(jitter, 0, count))
    return encode_record(SAMPLES, fields)


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
        if total > _U32:
            raise ProtocolError(PAYLOAD_INVALID, "a stroke counter beyond 32 bits")
        period_ms = record.period_ms
        t_ms = record.t_ms
        self.t_ms = list(range(t_ms, t_ms + count * period_ms, period_ms))
        jitter_column = record.jitter_column
        if jitter_column is not None:
            self._add_jitter(decode_column(jitter_column, count))
        if self.t_ms[-1] > _T_MAX:
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
    if kind not in _RECORD_FIELDS:
        raise ProtocolError(KIND_UNKNOWN, "record kind %d is not defined in this version" % kind)
    record = _decode(_RECORD_FIELDS[kind], items, 1, Message(kind))
    if kind == OPEN and not _is_lead(record.lead):
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


def decode_hello(payload: bytes) -> Message:
    """A hello; ProtocolError(payload_malformed or payload_invalid) otherwise."""
    hello = _decode(_HELLO_FIELDS, cbor.decode(payload), 0, Message(0))
    if hello.oldest_seq > hello.next_seq:
        raise ProtocolError(PAYLOAD_INVALID, "oldest_seq comes after next_seq")
    return hello


def decode_ack(payload: bytes) -> Message:
    """An acknowledgement; ProtocolError otherwise."""
    return _decode(_ACK_FIELDS, cbor.decode(payload), 0, Message(0))


def decode_grant(payload: bytes) -> Message:
    """A grant; ProtocolError otherwise."""
    grant = _decode(_GRANT_FIELDS, cbor.decode(payload), 0, Message(0))
    if not _are_permits(grant.permits):
        raise ProtocolError(PAYLOAD_INVALID, "a permit is not [badge id, limit_um, until_utc_ms]")
    return grant


def decode_alert(payload: bytes) -> Message:
    """An alert; ProtocolError otherwise."""
    return _decode(_ALERT_FIELDS, cbor.decode(payload), 0, Message(0))


def _is_lead(lead: "Sequence[Any]") -> bool:
    for counts in lead:
        if type(counts) is not int or not 0 <= counts <= DIAL_MAX_COUNTS:
            return False
    return True


def _are_permits(permits: "Sequence[Any]") -> bool:
    for permit in permits:
        if (
            not isinstance(permit, (list, tuple))
            or len(permit) < 2
            or type(permit[0]) is not str
            or type(permit[1]) is not int
            or not 0 <= permit[1] <= _UM_MAX
            or (len(permit) > 2 and (type(permit[2]) is not int or not 0 <= permit[2] <= _UTC_MAX))
        ):
            return False
    return True


def _encode(table: "Any", fields: "Sequence[Any]", items: "list[Any]") -> bytes:
    if len(fields) > len(table):
        raise ValueError("%d fields where the table has %d" % (len(fields), len(table)))
    for index, row in enumerate(table):
        complaint = _absent(row)
        if index < len(fields):
            complaint = _complaint(row, fields[index])
        if complaint:
            raise ValueError(complaint)
    items.extend(fields)
    return cbor.encode(items)


def _decode(table: "Any", items: object, skip: int, message: Message) -> Message:
    if not isinstance(items, list):
        raise ProtocolError(PAYLOAD_INVALID, "not an array")
    at = skip
    for row in table:
        value = None
        if at < len(items):
            value = items[at]
            complaint = _complaint(row, value)
        else:
            complaint = _absent(row)
        at += 1
        if complaint:
            raise ProtocolError(PAYLOAD_INVALID, complaint)
        setattr(message, row[0], value)
    return message


def _absent(row: "Any") -> "str | None":
    """What is wrong with leaving out a field and all that follow, or None."""
    return None if row is _JITTER else str(row[0]) + " is missing"


def _complaint(row: "Any", value: "Any") -> "str | None":
    """What is wrong with a field's value, or None."""
    name, wanted, smallest, largest, may_be_null = row
    if value is None:
        return None if may_be_null else str(name) + " is null"
    if type(value) is not wanted and not (wanted is list and type(value) is tuple):
        return str(name) + " is of another type"
    size = value if wanted is int else len(value.encode() if wanted is str else value)
    if not smallest <= size <= largest:
        return "{} is outside {} to {}".format(name, smallest, largest)
    return None
