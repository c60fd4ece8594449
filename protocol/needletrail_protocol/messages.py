"""Records: their kinds, what each says, and how the pen writes them.

A record is a CBOR array that begins with its kind and its sequence number; the tables below say the
rest. A kind that is not defined is refused. Kinds, once used, are never given a new meaning.

Times: `t_ms` is milliseconds since the pen's boot, `*_utc_ms` milliseconds since 1970-01-01 UTC.
Depths are micrometres (`_um`), dial readings 12-bit counts. Not here: reading them (readings), what is
said beside records (conversation).
"""

from needletrail_protocol import tables
from needletrail_protocol.columns import append_varint, encode_column
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.tables import T_MAX, U32

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
GRANT_TAKEN = 8  # another grant came into force while a session was open
FAULT = 9  # a sensor failed, or works again; belongs to the session that is open there, if any
NOT_ARMED = 10  # the pen refused to start, or would have with a motor interlock

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

# What each record says, behind its kind: a letter a field (tables). The names are in RECORD_NAMES.
RECORD_FIELDS = {
    BOOT: b"jbjCmm",
    OPEN: b"jbjhOOraC",
    SAMPLES: b"jbjklepapqP",
    BADGE: b"jbjo",
    CLOSE: b"jbjiaEa",
    ALERT_SHOWN: b"jbjm",
    LOCAL_BREACH: b"jbjddC",
    GRANT_TAKEN: b"jbjC",
    FAULT: b"jbmmg",
    NOT_ARMED: b"jbm",
}
RECORD_NAMES = {
    BOOT: "seq t_ms boot utc_ms firmware board",
    OPEN: "seq t_ms session cause badge cartridge lead strokes grant_utc_ms",
    SAMPLES: "seq t_ms session period_ms count dial_base dial_column strokes_base strokes_column"
    " contact_runs jitter_column",
    BADGE: "seq t_ms session badge",
    CLOSE: "seq t_ms session cause passes peak_counts breach_ms",
    ALERT_SHOWN: "seq t_ms session code",
    LOCAL_BREACH: "seq t_ms session limit_um depth_um grant_utc_ms",  # the grant in force: its issue
    GRANT_TAKEN: "seq t_ms session grant_utc_ms",
    FAULT: "seq t_ms part fault is_over",
    NOT_ARMED: "seq t_ms reason",
}


def encode_record(kind: int, fields: "Sequence[Any]") -> bytes:
    """Payload of a record: `fields` in the order of its table, beginning with seq and t_ms.

    ValueError or TypeError if a field is missing, of another type or out of range.
    """
    if kind not in RECORD_FIELDS:
        raise ValueError("record kind %r is not defined" % kind)
    payload = tables.encode(RECORD_FIELDS[kind], fields, [kind])
    if kind == OPEN and not is_lead(fields[6]):
        raise ValueError("lead holds something else than readings")
    return payload


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
    if before > U32 or times_ms[count - 1] > T_MAX:
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


def is_lead(lead: "Sequence[Any]") -> bool:
    """True if every item is a dial reading."""
    for counts in lead:
        if type(counts) is not int or not 0 <= counts <= DIAL_MAX_COUNTS:
            return False
    return True
