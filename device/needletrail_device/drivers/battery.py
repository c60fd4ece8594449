"""Charge of one lithium-ion cell, from its voltage behind a divider at an ADC: an estimate.

Strategy: `measure` now and then (once a second is plenty). The median of the last five keeps the
motor's inrush out; the figure shown moves only if it is 3 % off, so it does not flicker; LOW comes
at 15 % and goes at 20 %. The curve is that of a usual 4.2 V cell at light load: good to about 10 %.
"""

from needletrail_device.drivers.faults import BUS, LOW, RANGE

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

LOW_PERCENT = 15
GOOD_PERCENT = 20
_MOVE_PERCENT = 3
_MEDIAN_OF = 5
# no cell of a pen that still runs, nor one on its charger, is beyond these
_LEAST_MV, _MOST_MV = 2800, 4400
_CURVE_MV = (3300, 3600, 3700, 3750, 3790, 3860, 3950, 4060, 4180)
_CURVE_PERCENT = (0, 7, 16, 30, 45, 60, 75, 90, 100)


class Battery:
    """adc: an ADC, read by `read_uv()` if it is calibrated (ESP32), else by `read_u16()`.

    ratio_permille: cell voltage in thousandths of the ADC's, 2000 for two equal resistors.
    reference_mv: what read_u16's full scale means.
    """

    def __init__(self, adc: "Any", ratio_permille: int = 2000, reference_mv: int = 3300) -> None:
        self.fault: "str | None" = None
        self.percent = -1  # 0 to 100; -1 if it is not known
        self._adc = adc
        self._is_calibrated = hasattr(adc, "read_uv")
        self._ratio_permille = ratio_permille
        self._reference_mv = reference_mv
        self._last_mv: "list[int]" = []

    def measure(self) -> int:
        """Take one more voltage; the cell's in mV, or -1 if it can not be one."""
        try:
            if self._is_calibrated:
                mv = self._adc.read_uv() // 1000
            else:
                mv = self._adc.read_u16() * self._reference_mv >> 16
        except OSError:
            return self._unknown(BUS)
        mv = mv * self._ratio_permille // 1000
        if not _LEAST_MV <= mv <= _MOST_MV:
            return self._unknown(RANGE)
        last_mv = self._last_mv
        last_mv.append(mv)
        if len(last_mv) > _MEDIAN_OF:
            last_mv.pop(0)
        percent = charge_percent(sorted(last_mv)[len(last_mv) // 2])
        if self.percent < 0 or abs(percent - self.percent) >= _MOVE_PERCENT or percent in (0, 100):
            self.percent = percent
        if self.percent <= LOW_PERCENT:
            self.fault = LOW
        elif self.fault != LOW or self.percent >= GOOD_PERCENT:
            self.fault = None
        return mv

    def _unknown(self, fault: str) -> int:
        self.fault = fault
        self.percent = -1
        self._last_mv.clear()
        return -1


def charge_percent(mv: int) -> int:
    """Charge of a cell at `mv`, 0 to 100."""
    if mv <= _CURVE_MV[0]:
        return 0
    for at in range(1, len(_CURVE_MV)):
        if mv <= _CURVE_MV[at]:
            low_mv, low = _CURVE_MV[at - 1], _CURVE_PERCENT[at - 1]
            return low + (mv - low_mv) * (_CURVE_PERCENT[at] - low) // (_CURVE_MV[at] - low_mv)
    return 100
