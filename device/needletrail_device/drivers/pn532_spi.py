"""The PN532 on SPI (UM0701-02, 6.2.5): mode 0, least significant bit first, 5 MHz at the most.

Each transfer begins with a byte that says what it is: status reading 02h, data writing 01h, data
reading 03h. Few boards can send the least significant bit first, so the bits are reversed here, and
the bus is an ordinary one. In and out share a buffer: what goes out while a frame comes in means
nothing.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

# 01h, 02h and 03h with their bits reversed
_WRITE, _STATUS, _READ = 0x80, 0x40, 0xC0
_READY = 0x80
_NIBBLES = b"\x00\x08\x04\x0c\x02\x0a\x06\x0e\x01\x09\x05\x0d\x03\x0b\x07\x0f"
_FRAME_MAX_BYTES = 24


class SpiLink:
    """bus: an SPI object. select: the chip select, an output pin; called with 0 or 1."""

    def __init__(self, bus: "Any", select: "Any") -> None:
        self._bus = bus
        self._select = select
        self._status = bytearray(2)
        self._out = bytearray(1 + _FRAME_MAX_BYTES)
        self._outs: "dict[int, memoryview]" = {}  # that of each length: a poll allocates nothing
        select(1)

    def send(self, frame: "bytes | memoryview") -> None:
        """Write a frame. Raises OSError."""
        out = self._out
        count = len(frame) + 1
        out[0] = _WRITE
        for index in range(1, count):
            byte = frame[index - 1]
            out[index] = _NIBBLES[byte & 15] << 4 | _NIBBLES[byte >> 4]
        if count not in self._outs:
            self._outs[count] = memoryview(out)[:count]
        self._exchange(self._outs[count])

    def receive(self, view: "memoryview") -> bool:
        """Fill `view` with one byte of no meaning and a frame, if the chip is ready. Raises OSError."""
        status = self._status
        status[0] = _STATUS
        self._exchange(status)
        if not status[1] & _READY:
            return False
        view[0] = _READ
        self._exchange(view)
        for index in range(1, len(view)):
            byte = view[index]
            view[index] = _NIBBLES[byte & 15] << 4 | _NIBBLES[byte >> 4]
        return True

    def _exchange(self, both: "bytearray | memoryview") -> None:
        self._select(0)
        try:
            self._bus.write_readinto(both, both)
        finally:
            self._select(1)
