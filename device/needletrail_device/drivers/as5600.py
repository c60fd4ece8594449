"""The depth ring's angle from an AS5600: a count that can be trusted, or none.

Source: ams data sheet AS5600 [v1-06], cited by its headings. A count is given only between two good
readings of STATUS, the one before it and the one after it; so the first count after a fault is left
out. RAW ANGLE is read, not ANGLE: what somebody burnt into ZPOS, MPOS or MANG does not touch it.

"STATUS Register", Figure 23: MD, a magnet was detected; ML, the gain is at its maximum and the magnet
too weak; MH, the gain is at its minimum and the magnet too strong. With MD = 0 there is no angle.
With ML or MH the chip gives one, but its gain control has left its range and nothing in the data sheet
bounds the error then: such a depth could be wrong unnoticed, so it is none. A magnet can not be both,
so both bits together are a bus that reads high: a fault of the bus, as is a chip that does not answer.

Two transfers, not one from STATUS on: by "Automatic Increment of the Address Pointer" RAW ANGLE is a
special register only if the pointer is *set* to its high byte. Whether two bytes reached from STATUS
belong to one angle it does not say; if they did not, the count would be wrong by up to 255.

`configure` belongs to power-on and, if the board likes, to the end of a bus fault. It asks for what a
virgin chip does anyway, so a chip that lost its power for a moment goes on as before.
"""

from needletrail_device.drivers.faults import BUS, MAGNET_MISSING, MAGNET_STRONG, MAGNET_WEAK

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

ADDRESS = 0x36  # "I2C Interface"

# "Register Map", Figure 21
_CONF = 0x07
_STATUS = 0x0B
_RAW_ANGLE = 0x0C
_AGC = 0x1A
_MH, _ML, _MD = 0x08, 0x10, 0x20


class Dial:
    """The ring's angle, 0 to 4095 counts, from `zero_counts` on.

    bus: an I2C object. zero_counts: the raw angle that is to read 0; choose it outside the ring's
    travel, so that the counts rise through the whole of it (DIR sets the sense of rotation).
    """

    def __init__(self, bus: "Any", zero_counts: int = 0) -> None:
        self.fault: "str | None" = BUS  # until configure
        self._bus = bus
        self._zero_counts = zero_counts
        self._before: "str | None" = BUS  # what STATUS showed last
        self._one = bytearray(1)
        self._two = bytearray(2)

    def configure(self) -> bool:
        """Set up the chip; true if it is there and its magnet is good. Nothing is burnt.

        "CONF Register", Figure 22: nominal power, no watchdog (in low power an angle is up to 100 ms
        old), slow filter only at 16x, no hysteresis. "Register Map", note 1: other bits stay.
        """
        conf = bytearray(2)
        try:
            self._bus.readfrom_mem_into(ADDRESS, _CONF, conf)
            high, low = conf[0] & 0xC0, conf[1] & 0xF0
            conf[0], conf[1] = high, low
            self._bus.writeto_mem(ADDRESS, _CONF, conf)
            self._bus.readfrom_mem_into(ADDRESS, _CONF, conf)
            fault = self._look() if conf[0] == high and conf[1] == low else BUS
        except OSError:
            fault = BUS
        self.fault = self._before = fault
        return fault is None

    def read(self) -> int:
        """The angle in counts, or -1: then `fault` says why. Allocates nothing."""
        try:
            self._bus.readfrom_mem_into(ADDRESS, _RAW_ANGLE, self._two)
            fault = self._look()
        except OSError:
            fault = BUS
        before = self._before
        self._before = fault
        if fault is None:
            fault = before
        self.fault = fault
        if fault is not None:
            return -1
        return ((self._two[0] << 8 | self._two[1]) - self._zero_counts) & 0xFFF

    def gain(self) -> int:
        """The gain, for whoever mounts the magnet, or -1. "AGC Register": best in the middle of 0 to
        255 at 5 V, of 0 to 128 at 3.3 V."""
        try:
            self._bus.readfrom_mem_into(ADDRESS, _AGC, self._one)
        except OSError:
            return -1
        return self._one[0]

    def _look(self) -> "str | None":
        self._bus.readfrom_mem_into(ADDRESS, _STATUS, self._one)
        status = self._one[0]
        if status & _ML:
            if status & _MH:
                return BUS
            return MAGNET_WEAK if status & _MD else MAGNET_MISSING
        if not status & _MD:
            return MAGNET_MISSING
        return MAGNET_STRONG if status & _MH else None
