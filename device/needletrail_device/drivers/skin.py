"""Skin contact as 0 to 4095 counts, for the thresholds of `contact`, from an ADC or a touch pad.

No counts (-1) if the sensor does not answer (BUS) or is where it can not be (RANGE: a cut or shorted
wire). A contact of two minutes without a break is STUCK: then the counts go on, since they may be
true, and leaving out a true contact would hide a breach.

ADC: the sensor's own divider must keep it off both ends, so the ends are a fault.

Touch pad: of the ESP32-S2 and -S3, which reads higher when touched. `idle_raw` is what calibration
found in the air. It is not taken at power-on: a pen that is switched on at the skin would take that
for air. While the tip is well off the skin the idle value follows slow drift, an eighth up or down
at the most. A rise of `touch_permille` over idle is the middle between the two thresholds.
"""

from needletrail_device.contact import OFF_COUNTS, ON_COUNTS
from needletrail_device.drivers.faults import BUS, RANGE, STUCK

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

STUCK_MS = 120_000
ADC_MARGIN_COUNTS = 16
COUNTS_MAX = 4095
TOUCH_PERMILLE = 150
# idle_raw between these keeps all arithmetic within 30 bits
IDLE_RAW_MIN, IDLE_RAW_MAX = 1000, 1 << 17

_MIDDLE_COUNTS = (ON_COUNTS + OFF_COUNTS) // 2
_ERRORS = (OSError, ValueError)  # TouchPad.read raises ValueError


class _Skin:
    def __init__(self) -> None:
        self.fault: "str | None" = None
        self._since_ms = -1

    def _none(self, fault: str) -> int:
        self.fault = fault
        self._since_ms = -1
        return -1

    def _judge(self, t_ms: int, counts: int) -> int:
        if counts < ON_COUNTS:
            self._since_ms = -1
        elif self._since_ms < 0:
            self._since_ms = t_ms
        is_stuck = self._since_ms >= 0 and t_ms - self._since_ms > STUCK_MS
        self.fault = STUCK if is_stuck else None
        return counts


class AdcSkin(_Skin):
    """Contact by an ADC with `read_u16()`."""

    def __init__(self, adc: "Any") -> None:
        super().__init__()
        self._adc = adc

    def read(self, t_ms: int) -> int:
        """Counts, or -1. Allocates nothing."""
        try:
            counts = self._adc.read_u16() >> 4
        except OSError:
            return self._none(BUS)
        if not ADC_MARGIN_COUNTS <= counts <= COUNTS_MAX - ADC_MARGIN_COUNTS:
            return self._none(RANGE)
        return self._judge(t_ms, counts)


class TouchSkin(_Skin):
    """Contact by a touch pad with `read()`."""

    def __init__(self, pad: "Any", idle_raw: int, touch_permille: int = TOUCH_PERMILLE) -> None:
        super().__init__()
        if not IDLE_RAW_MIN <= idle_raw <= IDLE_RAW_MAX or not 10 <= touch_permille <= 1000:
            raise ValueError("idle_raw or touch_permille")
        self._pad = pad
        self._least_raw = idle_raw >> 1
        self._most_raw = idle_raw * 8
        self._permille = touch_permille
        self._idle_256 = idle_raw << 8  # in 1/256, so that slow drift is not lost
        self._idle_least_256 = (idle_raw - idle_raw // 8) << 8
        self._idle_most_256 = (idle_raw + idle_raw // 8) << 8

    def read(self, t_ms: int) -> int:
        """Counts, or -1. Allocates nothing."""
        try:
            raw = self._pad.read()
        except _ERRORS:
            return self._none(BUS)
        if not self._least_raw <= raw <= self._most_raw:
            return self._none(RANGE)
        idle = self._idle_256 >> 8
        rise = raw - idle
        middle = idle * self._permille // 1000
        counts = 0
        if rise >= middle * 2:
            counts = COUNTS_MAX
        elif rise > 0:
            counts = rise * _MIDDLE_COUNTS // middle
        if counts < _MIDDLE_COUNTS // 2:
            self._drift(raw)
        return self._judge(t_ms, counts)

    def _drift(self, raw: int) -> None:
        """Follow `raw` with a time constant of 1024 readings."""
        idle_256 = self._idle_256 + (((raw << 8) - self._idle_256) >> 10)
        if self._idle_least_256 <= idle_256 <= self._idle_most_256:
            self._idle_256 = idle_256
