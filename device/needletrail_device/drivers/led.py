"""The light: three pins, or one NeoPixel; a colour that is steady or blinks by `steps`.

A colour is three bytes, red, green and blue; pins only know off and on.
"""

from needletrail_device.drivers.steps import Steps

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

DARK = b"\x00\x00\x00"


class PinLamp:
    """Red, green and blue pins. is_low: they light when low (common anode)."""

    def __init__(self, red: "Any", green: "Any", blue: "Any", is_low: bool = False) -> None:
        self._pins = (red, green, blue)
        self._on = 0 if is_low else 1

    def set(self, colour: bytes) -> None:
        """Light it."""
        for index in range(3):
            self._pins[index].value(self._on if colour[index] else 1 - self._on)


class PixelLamp:
    """The first pixel of a NeoPixel."""

    def __init__(self, pixels: "Any") -> None:
        self._pixels = pixels

    def set(self, colour: bytes) -> None:
        """Light it."""
        self._pixels[0] = colour
        self._pixels.write()


class Led(Steps):
    """A lamp that blinks."""

    def __init__(self, lamp: "Any") -> None:
        super().__init__(self._set)
        self._lamp = lamp
        self._colour = DARK
        self.stop()

    def show(self, colour: bytes, steps: bytes, now_ms: int) -> None:
        """This colour from now on, blinking by `steps` without end, or steady if there are none."""
        self._colour = colour
        self.play(steps, now_ms, True)

    def force(self, colour: bytes) -> None:
        """This colour until the next change."""
        self._lamp.set(colour)

    def _set(self, is_on: bool) -> None:
        self._lamp.set(self._colour if is_on else DARK)
