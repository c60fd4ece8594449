"""The virtual board with a timer: a thread takes the readings, as an interrupt does on a real board.

Strategy: the main task reads the tape some seconds ahead into arrays. The thread sleeps until the next
row is due and calls the firmware's own Sampler, whose sensors are that row; its ring is where the
main task takes the reading from. How late each reading was goes into a histogram.

The thread is held to what a hard interrupt may do: its heap is locked (each thread of MicroPython has
a lock of its own), so that whatever allocates there is a MemoryError, and `next` says so. That is also
what keeps it on time. On the Unix port a thread that allocates waits until the garbage collection of
another has ended, and one division is enough for that: its result is a float, on the heap.

A tape's events belong to rows, so they come with the row's reading.
"""

import _thread
from array import array

from boards import virtual
from needletrail_device.sampling import Ring, Sampler

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython allocates as it likes

    def heap_lock() -> None:
        """Nothing to lock."""

    def heap_unlock() -> None:
        """Nothing to unlock."""


TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

AHEAD_ROWS = 256  # of the tape: as many as the ring holds
BUCKET_US = 10
BUCKETS = 501  # the last one for all from LATE_US on
LATE_US = 5000  # a reading may not be later than this
_POLL_S = 0.005
_NAP_US = 1000


class Board(virtual.Board):
    """A tape that plays by a timer, in real time or `speed` times as fast.

    At the end it tells "timer": how many `samples` were taken; of how late they were the median, the
    99th percentile (both to 10 us, at the most LATE_US) and the largest, in microseconds; how many were
    `late`, by LATE_US or more; how many were `lost`, because the ring had no room.
    """

    def __init__(
        self,
        path: str,
        speed: float,
        now_ms: "Callable[[], int]",
        sleep_s: "Callable[[float], Any]",
        tell: "Callable[..., None]",
        now_us: "Callable[[], int]",
        nap_us: "Callable[[int], None]",
    ) -> None:
        """now_us must not wrap within the tape; nap_us blocks the thread that calls it."""
        super().__init__(path, speed or 1.0, now_ms, sleep_s, tell)
        self._now_us = now_us
        self._nap_us = nap_us
        self._times = array("I", [0] * AHEAD_ROWS)
        self._waits_us = array("I", [0] * AHEAD_ROWS)  # from the row before, as it is played
        self._dial = array("H", [0] * AHEAD_ROWS)
        self._turns = array("I", [0] * AHEAD_ROWS)
        self._skin = array("H", [0] * AHEAD_ROWS)
        self._filled = self._played = 0  # rows
        self._filled_us = -1  # when the last row is due, from the first one on
        self._events: "list[tuple[int, Any]]" = []
        self._is_read = self._is_started = self._is_over = False
        self._late = array("I", [0] * BUCKETS)
        self._latest_us = 0
        self._at = self._now_row = 0
        self.ring = Ring(AHEAD_ROWS)
        self.sampler = Sampler(
            self.ring, self._read_dial, self._read_turns, self._read_skin, self._ticks, _difference
        )
        self.sampler.least_ms = 0  # a tape says when it was

    # ---- the thread ----

    def _ticks(self) -> int:
        return self._times[self._now_row]

    def _read_dial(self) -> int:
        return self._dial[self._now_row]

    def _read_turns(self, _t_ms: int) -> int:
        return self._turns[self._now_row]

    def _read_skin(self, _t_ms: int) -> int:
        return self._skin[self._now_row]

    def _run(self) -> None:
        heap_lock()
        try:
            self._play()
        finally:
            heap_unlock()
            self._is_over = True

    def _play(self) -> None:
        due_us = self._now_us()
        while True:
            if self._played == self._filled:
                if self._is_read:
                    return
                self._nap_us(_NAP_US)
                continue
            self._now_row = self._played % AHEAD_ROWS
            due_us += self._waits_us[self._now_row]
            late_us = self._now_us() - due_us
            while late_us < 0:
                self._nap_us(-late_us)
                late_us = self._now_us() - due_us
            self.sampler.tick()
            self._late[min(late_us // BUCKET_US, BUCKETS - 1)] += 1
            self._latest_us = max(self._latest_us, late_us)
            self._played += 1

    # ---- the main task ----

    async def next(self) -> bool:
        """Wait for the next reading. False: power is off.

        RuntimeError if the thread ended early; what it did wrong is on standard error.
        """
        while True:
            await self._read_ahead()
            if not self._is_started:
                self._is_started = True
                _thread.start_new_thread(self._run, ())
            is_over = self._is_over
            if self.ring.take():
                ring = self.ring
                self.t_ms = ring.t_ms
                self.counts = ring.counts
                self.strokes = ring.strokes
                self.contact_adc = ring.contact_adc
                if self._events and self._events[0][0] <= self.t_ms:
                    self._event = self._events.pop(0)[1]
                return True
            if is_over:
                if not self._is_read or self._played < self._filled:
                    raise RuntimeError("the timer stopped")
                self._tell_late()
                return False
            await self._sleep_s(_POLL_S)

    async def _read_ahead(self) -> None:
        while not self._is_read and self._filled - self._played < AHEAD_ROWS:
            self._at = self._filled % AHEAD_ROWS
            if not self._read_row():
                self._is_read = True
                return
            due_us = int(self._row[0] * 1000 / self._speed)
            self._times[self._at] = self._row[0]
            self._waits_us[self._at] = 0 if self._filled_us < 0 else due_us - self._filled_us
            self._filled_us = due_us
            self._dial[self._at] = self._row[1]
            self._turns[self._at] = self._row[2]
            self._skin[self._at] = self._row[3]
            event = self.take_event()
            if event is not None:
                self._events.append((self._row[0], event))
            self._filled += 1

    def _tell_late(self) -> None:
        self._tell(
            "timer",
            ("samples", self._played),
            ("p50_us", self._quantile_us(50)),
            ("p99_us", self._quantile_us(99)),
            ("latest_us", self._latest_us),
            ("late", self._late[BUCKETS - 1]),
            ("lost", self.ring.lost),
        )

    def _quantile_us(self, percent: int) -> int:
        """What that many of a hundred readings were not later than."""
        count = bucket = 0
        while 100 * count < percent * self._played:
            count += self._late[bucket]
            bucket += 1
        return bucket * BUCKET_US

    def lateness(self) -> "list[int]":
        """Readings by how many whole milliseconds they were late; the last for all from 5 ms on."""
        a_ms = 1000 // BUCKET_US
        return [sum(self._late[at : at + a_ms]) for at in range(0, BUCKETS, a_ms)]


def _difference(now: int, before: int) -> int:
    return now - before
