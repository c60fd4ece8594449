"""Strokes of the motor since power-on, from one pulse a stroke; counted by hardware or by interrupt.

Both kinds have `count(t_ms)`, which never falls and allocates nothing, and `fault`: RANGE while more
than 400 strokes/s come in (a pen makes up to 200). The count goes on even then: a noisy
sensor must not look like a motor that stands still, since then a breach would go unseen.

Prefer the hardware. A handler that is only scheduled (MicroPython's ESP32 port has no hard pin
interrupts) sees the time at which it runs, not the time of the edge: after a pause its edges look
like bouncing. There give `min_us` = 0 and a sensor that does not bounce, such as a Hall switch.
"""

from needletrail_device.drivers.faults import RANGE

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

STROKES_MAX_HZ = 400
WINDOW_MS = 500
MIN_US = 2000
_TICKS_MASK = 0x3FFFFFFF  # MicroPython's ticks wrap at 2**30, or at a multiple of it


class _Tachometer:
    def __init__(self) -> None:
        self.fault: "str | None" = None
        self._total = 0
        self._window_ms = -1
        self._window_total = 0

    def _judge(self, t_ms: int) -> int:
        """The total, after a look at how fast it rose."""
        total = self._total
        elapsed_ms = t_ms - self._window_ms
        if self._window_ms < 0:
            self._window_ms = t_ms
            self._window_total = total
        elif elapsed_ms >= WINDOW_MS:
            is_fast = total - self._window_total > elapsed_ms * STROKES_MAX_HZ // 1000
            self.fault = RANGE if is_fast else None
            self._window_ms = t_ms
            self._window_total = total
        return total


class CounterTachometer(_Tachometer):
    """Counts by a hardware counter with `value()`.

    modulus: how many counts until it is 0 again: 65536 for 16 bits (the default; also good for one
    that does not wrap), its `max` for esp32.PCNT. Ask at least once in half of that many strokes.
    """

    def __init__(self, counter: "Any", modulus: int = 0x10000) -> None:
        super().__init__()
        self._counter = counter
        self._modulus = modulus
        self._value = counter.value()

    def count(self, t_ms: int) -> int:
        """Strokes since power-on."""
        value = self._counter.value()
        step = (value - self._value) % self._modulus
        self._value = value
        if step > self._modulus >> 1:  # backwards or set anew: this step is unknown, so it is none
            self.fault = RANGE
            self._window_ms = t_ms
            self._window_total = self._total
        else:
            self._total += step
        return self._judge(t_ms)


class PinTachometer(_Tachometer):
    """Counts by a pin's interrupt: `pin.irq(tachometer.edge, Pin.IRQ_RISING)`, hard if it can be.

    now_us: time.ticks_us, or what counts like it. min_us: an edge nearer than this to the last stroke
    is bouncing (200 strokes/s are 5000 us apart).
    """

    def __init__(self, now_us: "Callable[[], int]", min_us: int = MIN_US) -> None:
        super().__init__()
        self._now_us = now_us
        self._min_us = min_us
        self._last_us = now_us() - min_us

    def edge(self, _pin: "Any") -> None:
        """The interrupt's handler."""
        now_us = self._now_us()
        if (now_us - self._last_us) & _TICKS_MASK >= self._min_us:
            self._last_us = now_us
            self._total += 1

    def count(self, t_ms: int) -> int:
        """Strokes since power-on."""
        return self._judge(t_ms)
