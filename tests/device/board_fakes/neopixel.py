"""MicroPython's `neopixel`: what is written is seen."""

import world as _world


class NeoPixel:
    def __init__(self, pin, count):
        self._world = _world.here()
        self._is_wired = pin.number == self._world.wires["pixel"]
        self._next = [(0, 0, 0)] * count
        self._seen = (0, 0, 0)

    def __setitem__(self, index, colour):
        self._next[index] = tuple(colour)

    def write(self):
        if self._is_wired and self._next[0] != self._seen:
            self._seen = self._next[0]
            self._world.show("pixel", list(self._seen))
