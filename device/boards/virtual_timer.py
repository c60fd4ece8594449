"""The virtual board with a timer: a thread takes the readings, as an interrupt does on a real board.

Strategy: the main task reads the tape some seconds ahead into arrays. The thread sleeps until the next
row is due and calls the firmware's own Sampler, whose sensors are that row; its ring is where the
main task takes the reading from. How late each reading was goes into a histogram. The thread
allocates nothing and touches nothing but these arrays, which is what an interrupt may do.

A tape's events belong to rows, so they come with the row's reading.
"""

import _thread
from array import array

from boards import virtual
from needletrail_device.sampling import Ring, Sampler

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

AHEAD_ROWS = 512  # of the tape
LATE_BUCKETS = 512  # of a millisecond each, the last one for all beyond
_POLL_S = 0.005
_NAP_US = 1000


class Board(virtual.Board):
    """A tape that plays by a timer, in real time or `speed` times as fast."""

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
        self._dial = array("H", [0] * AHEAD_ROWS)
        self._turns = array("I", [0] * AHEAD_ROWS)
        self._skin = array("H", [0] * AHEAD_ROWS)
        self._filled = self._played = 0  # rows
        self._events: "list[tuple[int, Any]]" = []
        self._is_read = self._is_started = self._is_over = False
        self._late = array("I", [0] * LATE_BUCKETS)
        self._now_row = 0
        self.ring = Ring()
        self.sampler = Sampler(
            self.ring, self._read_dial, self._read_turns, self._read_skin, self._ticks, _difference
        )

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
        begin_us = self._now_us() - int(self._times[0] * 1000 / self._speed)
        while True:
            if self._played == self._filled:
                if self._is_read:
                    break
                self._nap_us(_NAP_US)
                continue
            self._now_row = self._played % AHEAD_ROWS
            due_us = begin_us + int(self._times[self._now_row] * 1000 / self._speed)
            wait_us = due_us - self._now_us()
            while wait_us > 0:
                self._nap_us(wait_us)
                wait_us = due_us - self._now_us()
            self.sampler.tick()
            self._late[min(-wait_us // 1000, LATE_BUCKETS - 1)] += 1
            self._played += 1
        self._is_over = True

    # ---- the main task ----

    async def next(self) -> bool:
        """Wait for the next reading. False: power is off."""
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
                return False
            await self._sleep_s(_POLL_S)

    async def _read_ahead(self) -> None:
        while not self._is_read and self._filled - self._played < AHEAD_ROWS:
            self._at = self._filled % AHEAD_ROWS
            if not self._read_row():
                self._is_read = True
                return
            self._times[self._at] = self._row[0]
            self._dial[self._at] = self._row[1]
            self._turns[self._at] = self._row[2]
            self._skin[self._at] = self._row[3]
            event = self.take_event()
            if event is not None:
                self._events.append((self._row[0], event))
            self._filled += 1

    def lateness(self) -> "list[int]":
        """Readings by how many whole milliseconds they were late."""
        return list(self._late)


def _difference(now: int, before: int) -> int:
    return now - before
