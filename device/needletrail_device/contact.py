"""Skin contact from a noisy sensor: two thresholds and a time (protocol/README.md, definitions).

On at 2200 counts or more, off at 1800 or less, either held for 60 ms; the flag changes at the
reading at which it has been held that long. On and off are delayed alike, so the length of a
contact is not biased. A hole between readings is no holding: the time starts again after it.
Allocates nothing. Not here: the sensor, and what contact means for a session.
"""

from needletrail_protocol.measure import READING_HOLD_MS

ON_COUNTS = 2200
OFF_COUNTS = 1800
HELD_MS = 60


class Contact:
    """Feed it each reading in order of time; `is_on` is the debounced flag."""

    def __init__(self) -> None:
        self.is_on = False
        self._since_ms = -1
        self._t_ms = -1

    def step(self, t_ms: int, adc_counts: int) -> bool:
        """The flag at this reading."""
        if adc_counts <= OFF_COUNTS if self.is_on else adc_counts >= ON_COUNTS:
            if self._since_ms < 0 or t_ms - self._t_ms > READING_HOLD_MS:
                self._since_ms = t_ms
            elif t_ms - self._since_ms >= HELD_MS:
                self.is_on = not self.is_on
                self._since_ms = -1
        else:
            self._since_ms = -1
        self._t_ms = t_ms
        return self.is_on
