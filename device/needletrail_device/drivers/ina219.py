"""The motor's current from an INA219, as a second opinion on the tachometer.

Source: TI data sheet SBOS448G. Current without strokes for more than 500 ms is a dead tachometer or a
stalled motor; strokes without current, a tachometer that counts noise or a cut shunt. Which of
them is wrong can not be said from here: the fault is DISAGREES.

8.6.3.2: each conversion sets CNVR in the bus voltage register and reading the power register clears
it; without it there is nothing new, and an old value is none. OVF says that the current is
meaningless. The current register has a sign: a little below 0 is the offset or the motor's kick, much
below 0 is a shunt wired the other way round. A chip that lost its power has no calibration and reads 0,
so it disagrees at the next stroke; `configure` mends that.
"""

from needletrail_device.drivers.faults import BUS, DISAGREES, RANGE, STUCK

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

ADDRESS = 0x40  # 8.5.5.1: A0 and A1 at ground
DISAGREES_MS = 500
ON_MA = 40

# Table 2
_CONFIGURATION, _BUS_VOLTAGE, _POWER, _CURRENT, _CALIBRATION = 0, 2, 3, 4, 5
_CNVR, _OVF = 2, 1
# 8.6.2.1: 16 V; PGA /4, 160 mV at the shunt; bus 12 bits; shunt the mean of 16, 8.51 ms; continuous
_CONFIGURED = 0x11E7
_SHUNT_MIN_MOHM = 7  # the calibration register holds no more


class MotorCurrent:
    """The current through a shunt of `shunt_mohm`; the motor is on from `on_ma` on.

    With the usual 100 milliohms it measures up to 1600 mA in steps of 0.1 mA.
    """

    def __init__(
        self, bus: "Any", shunt_mohm: int = 100, on_ma: int = ON_MA, address: int = ADDRESS
    ) -> None:
        if shunt_mohm < _SHUNT_MIN_MOHM:
            raise ValueError("shunt_mohm")
        self.fault: "str | None" = BUS  # until configure
        self._bus = bus
        self._address = address
        self._on_ma = on_ma
        # 8.5.1, equation 1: 0.04096 / (0.0001 A * shunt); bit 0 does not exist (8.6.4.1)
        self._calibration = 409600 // shunt_mohm & 0xFFFE
        self._two = bytearray(2)
        self._since_ms = -1  # of the disagreement
        self._seen_ms = -1  # when there was a value

    def configure(self) -> bool:
        """Set up the chip; true if it holds what was written."""
        self.fault = BUS
        try:
            for register, value in (
                (_CALIBRATION, self._calibration),
                (_CONFIGURATION, _CONFIGURED),
            ):
                self._bus.writeto_mem(self._address, register, bytes((value >> 8, value & 0xFF)))
                if self._get(register) != value:
                    return False
        except OSError:
            return False
        self.fault = None
        return True

    def read(self) -> int:
        """The current in mA, 0 or more; -1 if there is a fault, or nothing new. Allocates nothing."""
        try:
            state = self._get(_BUS_VOLTAGE)
            if not state & _CNVR:
                self.fault = None
                return -1
            current = self._get(_CURRENT)
            self._get(_POWER)
        except OSError:
            self.fault = BUS
            return -1
        ma = (current - (current >> 15 << 16)) // 10
        if state & _OVF or ma <= -self._on_ma:
            self.fault = RANGE
            return -1
        self.fault = None
        return ma if ma > 0 else 0

    def opinion(self, t_ms: int, is_turning: bool) -> int:
        """Like `read`, and hold it against the tachometer. is_turning: a stroke in the last 100 ms."""
        before = self.fault
        ma = self.read()
        if self._seen_ms < 0:
            self._seen_ms = t_ms
        if ma < 0:
            if self.fault is not None:
                self._seen_ms = t_ms
            elif t_ms - self._seen_ms > DISAGREES_MS:
                self.fault = STUCK
            else:  # nothing new
                self.fault = before
            return ma
        self._seen_ms = t_ms
        if (ma >= self._on_ma) == is_turning:
            self._since_ms = -1
        elif self._since_ms < 0:
            self._since_ms = t_ms
        elif t_ms - self._since_ms > DISAGREES_MS:
            self.fault = DISAGREES
        return ma

    def bus_mv(self) -> int:
        """Voltage at the motor in mV (8.6.3.2: 4 mV a step), or -1."""
        try:
            return (self._get(_BUS_VOLTAGE) >> 3) * 4
        except OSError:
            return -1

    def _get(self, register: int) -> int:
        two = self._two
        self._bus.readfrom_mem_into(self._address, register, two)
        return two[0] << 8 | two[1]
