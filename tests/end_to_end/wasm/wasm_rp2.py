"""What a Pico W or Pico 2 W has otherwise than wasm_board.py: PIO, and an ADC that is not calibrated.

The timer's interrupt is hard: the heap is locked in it, so whatever allocates there ends the run.
"""

# ruff: noqa: ARG002
# It runs on MicroPython, and keeps the parameters of what it stands for.

import sys

import micropython
from wasm_board import Machine, World

BATTERY = 27
BATTERY_U16 = 38_730  # half of 3.9 V, of 3.3 V


class ADC:
    def __init__(self, key):
        self.id = key.id

    def read_u16(self):
        return BATTERY_U16 if self.id == BATTERY else World.skin


class StateMachine:
    # One that counts, or one that beats.

    def __init__(self, id, key, freq=0, in_base=None):
        self.key = None

    def irq(self, key, hard):
        self.key = key

    def put(self, value):
        pass

    def exec(self, value):
        pass

    def get(self, args):
        args[0] = -World.strokes & 0xFFFF

    def active(self, value):
        if self.key is not None:
            World.hard = self.key
            World.tick = interrupt if value else None


def interrupt(key):
    micropython.heap_lock()
    try:
        World.hard(key)
    finally:
        micropython.heap_unlock()


# Words and values that a program is made of.
WORDS = ("wrap_target", "wrap", "label", "jmp", "wait", "pull", "mov", "irq", "rel")
VALUES = ("x", "null", "osr", "pin", "x_dec")


def asm_pio():
    # Runs the function with its words, as the real one does. A program takes about so much.
    def end(key):
        items = key.__globals__
        for one in WORDS:
            items[one] = print_nothing
        for one in VALUES:
            items[one] = None
        key()
        for one in WORDS + VALUES:
            del items[one]
        return bytearray(128)

    return end


def print_nothing(*args):
    pass


class Python:
    # The module micropython, with what WebAssembly has not.

    opt_level = micropython.opt_level
    mem_info = micropython.mem_info

    def alloc_emergency_exception_buf(count):
        World.buffer = bytearray(count)  # it is the pen's


def install():
    Machine.ADC = ADC
    Machine.StateMachine = StateMachine
    Machine.asm_pio = asm_pio
    Machine.disable_irq = int
    Machine.enable_irq = int
    del Machine.Counter, Machine.Timer, Machine.TouchPad
    sys.modules["rp2"] = Machine
    sys.modules["micropython"] = Python
