"""What an ESP32-C3 has otherwise than wasm_board.py: strokes by interrupt, the NFC reader on SPI."""

# ruff: noqa: ARG002
# It runs on MicroPython, and keeps the parameters of what it stands for.

from wasm_board import Machine, Pin, Timer, World


class SPI:
    # A line that nobody drives, and that is held up.

    def __init__(self, id, baudrate, sck, mosi, miso):
        pass

    def write_readinto(self, key, value):
        for index in range(len(value)):
            value[index] = 0xFF


class Strokes:
    edge = None
    count = 0

    def irq(self, key, value):
        Strokes.edge = key

    def init(self, mode, period, callback):
        def tick(key):
            while Strokes.count != World.strokes:
                Strokes.count = (Strokes.count + 1) & 0xFFFF
                Strokes.edge(None)
            callback(key)

        World.tick = tick


def install():
    Pin.irq = Strokes.irq
    Pin.__call__ = Pin.value  # a chip select
    Timer.init = Strokes.init
    Machine.SPI = SPI
    Machine.Counter = None
