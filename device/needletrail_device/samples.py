"""One second of readings, gathered for one `samples` record.

Four arrays are allocated once; adding a reading writes four numbers and allocates nothing. The
batch is full after a second's readings, or when a reading strays from the grid of `period_ms` by
more than a nibble holds (7 ms), or after a hole: then `fits` is false, the owner writes the record
and starts the next. Not here: when a session begins or ends, and where the record goes.
"""

from array import array

from needletrail_protocol import messages

READINGS_MAX = 50
STRAY_MAX_MS = 7


class Batch:
    """The readings that are not in the journal yet."""

    def __init__(self, period_ms: int) -> None:
        self.count = 0
        self._period_ms = period_ms
        self._first_ms = 0
        self._after_ms = array("I", [0] * READINGS_MAX)  # since the first reading
        self._dial_counts = array("H", [0] * READINGS_MAX)
        self._strokes = array("I", [0] * READINGS_MAX)
        self._contact = bytearray(READINGS_MAX)
        self._strokes_before = 0

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
        """One reading that fits."""
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
