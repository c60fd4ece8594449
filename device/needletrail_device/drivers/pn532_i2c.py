"""The PN532 on I2C (UM0701-02, 6.2.4): each read begins with a status byte, whose bit 0 is "ready".

A frame has to be read within one transfer: what a shorter one leaves is lost. So the status is asked
for alone, and the frame is read as long as it can be; behind its end the chip sends nothing of use.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

ADDRESS = 0x24  # 6.2.4: 48h with its read-write bit


class I2cLink:
    """bus: an I2C object, at 400 kHz at the most. Give it a short timeout: a waking chip stretches the
    clock for a millisecond or two, a broken one for as long as it is let."""

    def __init__(self, bus: "Any", address: int = ADDRESS) -> None:
        self._bus = bus
        self._address = address
        self._status = bytearray(1)

    def send(self, frame: "bytes | memoryview") -> None:
        """Write a frame. Raises OSError."""
        self._bus.writeto(self._address, frame)

    def receive(self, view: "memoryview") -> bool:
        """Fill `view` with the status byte and a frame, if the chip is ready. Raises OSError."""
        status = self._status
        self._bus.readfrom_into(self._address, status)
        if not status[0] & 1:
            return False
        self._bus.readfrom_into(self._address, view)
        return True
