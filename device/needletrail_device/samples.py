"""One second of readings, gathered for one `samples` record.

Four arrays are allocated once; adding a reading writes four numbers and allocates nothing. The
batch is full after a second's readings, or when a reading strays from the grid of `period_ms` by
more than a nibble holds (7 ms), or after a hole: then `fits` is false, the owner writes the record
and starts the next.

Each reading passes `refusal` first, in a session or not. What no record can say, or no pen can do, is
stopped there, so that a batch can always be written. A stroke counter that keeps falling, or stands
impossibly high, has begun anew: after five such readings it counts on from where it stood.
Not here: when a session begins or ends, and where the record goes.
"""

from array import array

from needletrail_protocol import messages
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.tables import T_MAX, U32

READINGS_MAX = 50
STRAY_MAX_MS = 7
ANEW_READINGS = 5
_STEP_MAX = 0x3FFFFFFF  # a column holds twice that

CLOCK, STROKES, DIAL = "clock", "strokes", "dial"


class Batch:
    """The readings that are not in the journal yet. `strokes`: the counter at the last good reading."""

    def __init__(self, period_ms: int) -> None:
        self.count = 0
        self.strokes = 0
        self._anew = 0  # what is added to the sensor's counter since it began anew
        self._refused = 0  # readings in a row
        self._t_ms = -1
        self._period_ms = period_ms
        self._first_ms = 0
        self._after_ms = array("H", bytes(2 * READINGS_MAX))  # since the first reading
        self._dial_counts = array("H", bytes(2 * READINGS_MAX))
        self._strokes = array("I", bytes(4 * READINGS_MAX))
        self._contact = bytearray(READINGS_MAX)
        self._strokes_before = 0

    def refusal(self, t_ms: int, counts: int, strokes: int) -> "str | None":
        """What is impossible in the next reading: CLOCK, DIAL, STROKES; or None, and it counts.

        Times rise; the dial has 12 bits; strokes do not fall, and are one a millisecond at the most
        (pens do 200 a second).
        """
        before_ms = self._t_ms
        if not before_ms < t_ms <= T_MAX:
            return CLOCK
        if not 0 <= counts <= DIAL_MAX_COUNTS:
            return DIAL
        strokes += self._anew
        step = strokes - self.strokes
        if not 0 <= step <= _STEP_MAX or 0 <= before_ms > t_ms - step or strokes > U32:
            self._refused += 1
            if self._refused == ANEW_READINGS:
                self._refused = 0
                self._anew -= step
            return STROKES
        self._refused = 0
        self._t_ms = t_ms
        self.strokes = strokes
        return None

    def begin(self, strokes: int) -> None:
        """A session begins; `strokes` is the stroke counter before its first reading."""
        self.count = 0
        self._strokes_before = strokes

    def fits(self, t_ms: int) -> bool:
        """True if a reading at `t_ms` can go into this batch."""
        count = self.count
        if count == 0:
            return True
        if count == READINGS_MAX:
            return False
        stray_ms = t_ms - self._first_ms - count * self._period_ms
        return -STRAY_MAX_MS <= stray_ms <= STRAY_MAX_MS

    def add(self, t_ms: int, counts: int, strokes: int, is_contact: bool) -> None:
        """One reading that fits, and was not refused."""
        at = self.count
        if at == 0:
            self._first_ms = t_ms
        self._after_ms[at] = t_ms - self._first_ms
        self._dial_counts[at] = counts
        self._strokes[at] = strokes
        self._contact[at] = is_contact
        self.count = at + 1

    def last_ms(self) -> int:
        """Time of the last reading in the batch."""
        return self._first_ms + self._after_ms[self.count - 1]

    def take(self, seq: int, session: int) -> bytes:
        """The record of this batch, which must not be empty; the next batch is begun."""
        payload = messages.encode_samples(
            seq,
            session,
            self.count,
            self._period_ms,
            [self._first_ms + after_ms for after_ms in self._after_ms],
            self._dial_counts,
            self._strokes_before,
            self._strokes,
            self._contact,
        )
        self._strokes_before = self._strokes[self.count - 1]
        self.count = 0
        return payload
