"""The pen's two clocks: milliseconds since power-on, and the time of day, if it was ever set."""

import time

CLOCK_SET_YEAR = 2026  # a clock before that was never set
UNIX_2000_S = 946_684_800  # 1 January 2000, where some ports begin to count


class Clock:
    """Milliseconds since power-on, from a counter that may wrap."""

    def __init__(self) -> None:
        self._now_ms = 0
        self._last = time.ticks_ms() if hasattr(time, "ticks_ms") else time.monotonic_ns()

    def now_ms(self) -> int:
        """Never falls."""
        if hasattr(time, "ticks_ms"):
            ticks = time.ticks_ms()
            self._now_ms += time.ticks_diff(ticks, self._last)
            self._last = ticks
            return self._now_ms
        return (time.monotonic_ns() - self._last) // 1000000


def utc_ns() -> "int | None":
    """Nanoseconds since 1970, or None while the clock is not set."""
    if time.gmtime()[0] < CLOCK_SET_YEAR:
        return None
    unix_s = UNIX_2000_S if time.gmtime(0)[0] == 2000 else 0  # MicroPython's ports differ
    return time.time_ns() + unix_s * 1000000000
