"""Readings are taken by a timer into a ring, whatever the rest of the firmware is busy with.

Strategy: one writer, one reader. `Sampler.tick` is the writer: a hardware timer's interrupt calls
it, or a thread where there is no such timer. It asks the sensors, writes one place of the ring, and
lets the guard compare with the limit, so that the practitioner is warned even while the main task is
held up by a TLS handshake or a flash write. It allocates nothing and raises nothing of its own. The
reader is the main task: `Ring.take`. Only the writer moves `_head`, only the reader moves `_tail`.

A tick at which the dial has no reading writes no place: what is not known becomes a hole. A full ring
loses the newest readings, not the oldest, and counts them: a hole again, which the gateway sees. A tick
that comes late says so: a reading bears the time at which its sensors were asked, not the time at which
they should have been. Ticks that were queued meanwhile come all at once then (ESP32); one that follows
within a quarter of a period reads nothing, for it would say the same again, or at the same millisecond.
docs/explanation/sampling.md says what may hold a tick up, on which board.

Times are milliseconds since power-on. They stay below 2**30, beyond which a 32-bit MicroPython
would have to allocate: a board restarts an idle pen long before.
Not here: sensors (drivers), the timer (boards), what a reading means (recorder).
"""

from array import array

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

RING_READINGS = 192  # four seconds at 50 Hz
LEAST_MS = 10  # half a period; eight queued strokes in it are still less than one a millisecond


class Ring:
    """The readings that the main task has not seen yet; `lost` counts those that had no room.

    After take(): t_ms, counts, strokes, contact_adc. A place holds the low 16 bits of each. That is all
    of dial and contact; times and strokes rise from one reading to the next by less, else it is as if
    there were no room. The writer says where they stand whenever the ring is empty.
    """

    def __init__(self, size: int = RING_READINGS) -> None:
        self._places = array("H", bytes(size * 8))
        self._head = self._tail = 0
        self._put_ms = self._put_strokes = 0  # of the newest reading in it
        self.t_ms = self.counts = self.strokes = self.contact_adc = 0
        self._from_ms = self._from_strokes = 0  # the oldest reading in it is above that
        self.lost = 0

    def put(self, t_ms: int, counts: int, strokes: int, contact_adc: int) -> None:
        """The writer's: one reading, if there is room. Allocates nothing."""
        head = self._head
        after = head + 4
        if after == len(self._places):
            after = 0
        if head == self._tail:
            self._from_ms = t_ms
            self._from_strokes = strokes
        elif (
            after == self._tail
            or not 0 <= t_ms - self._put_ms < 0x10000
            or not 0 <= strokes - self._put_strokes < 0x10000
        ):
            self.lost += 1
            return
        self._put_ms = t_ms
        self._put_strokes = strokes
        places = self._places
        places[head] = t_ms & 0xFFFF
        places[head + 1] = counts
        places[head + 2] = strokes & 0xFFFF
        places[head + 3] = contact_adc
        self._head = after

    def is_waiting(self) -> bool:
        """The reader's: true if there is a reading to take."""
        return self._tail != self._head

    def take(self) -> bool:
        """The reader's: the oldest reading into the attributes. False if there is none."""
        tail = self._tail
        if tail == self._head:
            return False
        places = self._places
        t_ms = self._from_ms
        strokes = self._from_strokes
        self.t_ms = self._from_ms = t_ms + (places[tail] - t_ms & 0xFFFF)
        self.counts = places[tail + 1]
        self.strokes = self._from_strokes = strokes + (places[tail + 2] - strokes & 0xFFFF)
        self.contact_adc = places[tail + 3]
        tail += 4
        self._tail = 0 if tail == len(places) else tail
        return True


class Sampler:
    """What the timer does.

    dial, strokes, skin: a driver's `read`, `count` and `read`, the last two told the time; -1 says
    that there is no reading. ticks_ms, ticks_diff: MicroPython's time functions. guard: None, or
    something with `step(t_ms, counts, strokes, contact_adc)`.
    """

    def __init__(
        self,
        ring: Ring,
        dial: "Callable[[], int]",
        strokes: "Callable[[int], int]",
        skin: "Callable[[int], int]",
        ticks_ms: "Callable[[], int]",
        ticks_diff: "Callable[[int, int], int]",
        guard: "Any" = None,
    ) -> None:
        self._ring = ring
        self._dial = dial
        self._strokes = strokes
        self._skin = skin
        self._ticks_ms = ticks_ms
        self._ticks_diff = ticks_diff
        self.last = ticks_ms()  # when the last tick was, by the port's clock
        self.guard = guard
        self.t_ms = self.strokes = 0  # of the last tick, whether it gave a reading or not
        self.least_ms = LEAST_MS
        self.longest_ms = 0  # between two ticks, since the owner last set this to 0

    def tick(self, _timer: "Any" = None) -> None:
        """One period is over."""
        now = self._ticks_ms()
        since_ms = self._ticks_diff(now, self.last)
        t_ms = self.t_ms + since_ms
        if self.t_ms:
            if since_ms < self.least_ms:
                return
            self.longest_ms = max(self.longest_ms, since_ms)
        self.last = now
        counts = self._dial()
        strokes = self._strokes(t_ms)
        contact_adc = self._skin(t_ms)
        self.t_ms = t_ms
        self.strokes = strokes
        if counts < 0 or strokes < 0 or contact_adc < 0:
            return
        self._ring.put(t_ms, counts, strokes, contact_adc)
        if self.guard is not None:
            self.guard.step(t_ms, counts, strokes, contact_adc)
