"""What a pen's firmware asks of an ESP32-S3 and its parts, for MicroPython for WebAssembly.

Other boards' is this, and on top of it wasm_esp32_c3.py or wasm_rp2.py.

Strategy: the least that the firmware's own drivers take for a pen at work, and as little heap as can
be, since what it takes is measured and taken off. But a table of names doubles when it is full, for
whomever. So parameters here have names that are in every MicroPython's ROM, and what would be a
docstring is a comment. The script that loads this (pen.mjs) says what the sensors see, calls the
timer, and moves bytes between a device file and a real socket. The NFC reader does not answer: a fault
that the pen bears.
"""

# ruff: noqa: ARG002, PTH123, SIM115, UP031
# It runs on MicroPython, and keeps the parameters of what it stands for.

import asyncio
import builtins
import errno
import os
import sys

import js

DIAL = 0x36


class World:
    # Set by pen.mjs before each tick.

    angle = 1000
    strokes = 0
    skin = 0
    is_turning = False
    is_pressed = False
    button = 0  # its pin
    tick = None


class Pin:
    # Inputs are high, but for a button that is pressed.

    IN = OUT = PULL_UP = IRQ_FALLING = 0

    def __init__(self, id, mode=0, key=0, value=0):
        self.id = id

    def value(self, level=None):
        return 0 if self.id == World.button and World.is_pressed else 1

    def irq(self, key, value):
        pass


class ADC:
    # The skin's, and a battery's at 3.9 V.

    ATTN_11DB = 0

    def __init__(self, key):
        pass

    def atten(self, value):
        pass

    def read_u16(self):
        return World.skin

    def read_uv(self):
        return 1_950_000


class I2C:
    # An AS5600 with a good magnet, an INA219, and nobody else.

    def __init__(self, id, scl, sda, freq, timeout):
        self.items = {}

    def readfrom_mem_into(self, key, index, args):
        value = self.items.get(index, 0)
        if key == DIAL:
            if index == 0x0B:
                value = 0x20
            elif index == 0x0C:
                value = World.angle
        elif index == 2:
            value = 2
        elif index == 4:
            value = 2000 if World.is_turning else 0
        if len(args) == 2:
            args[0] = value >> 8
        args[-1] = value & 0xFF

    def writeto_mem(self, key, index, value):
        self.items[index] = int.from_bytes(value, "big")

    def writeto(self, key, value):
        raise OSError(errno.ENODEV)

    def readfrom_into(self, key, args):
        raise OSError(errno.ENODEV)


class Counter:
    # Strokes.

    FALLING = 0

    def __init__(self, id, key, edge, filter_ns):
        pass

    def value(self):
        return World.strokes & 0xFFFF


class Timer:
    # Runs when pen.mjs says so.

    PERIODIC = 0

    def __init__(self, id):
        pass

    def init(self, mode, period, callback):
        World.tick = callback

    def deinit(self):
        World.tick = None


class WDT:
    # A dog that bites nobody.

    def __init__(self, timeout):
        pass

    def feed(self):
        pass


class NeoPixel:
    # A light that nobody sees.

    def __init__(self, key, count):
        pass

    def __setitem__(self, index, value):
        pass

    def write(self):
        pass


class WLAN:
    # A radio that is always connected: what fails is what lies behind it.

    STA_IF = 0

    def __init__(self, key):
        pass

    def isconnected(self):
        return True


# ---- sockets ----


class Socket:
    # One of pen.mjs's, by its number; bytes go through a device file.

    def setblocking(self, value):
        pass

    def setsockopt(self, *args):
        pass

    def connect(self, key):
        self.id = js.pen.open()
        self.file = open("/dev/net%d" % self.id, "r+b")
        raise OSError(errno.EINPROGRESS)

    def close(self):
        self.file.close()
        js.pen.close(self.id)

    def getaddrinfo(*args):
        return [(0, 0, 0, "", None)]

    SOCK_STREAM = 0

    def socket(*args):
        return Socket()


class Poll:
    # Ready as soon as it is no longer connecting.

    def register(self, key, value):
        self.key = key

    def poll(self, value):
        return js.pen.is_settled(self.key.id)


class Select:
    poll = Poll


class StreamReader:
    # What MicroPython's own does, on those sockets.

    def __init__(self, s, e=None):
        self.s = s
        self.e = e

    async def read(self, count):
        while True:
            data = self.s.file.read(count)
            if data or js.pen.is_gone(self.s.id):
                return data
            await asyncio.sleep(0.02)

    def write(self, data):
        if js.pen.is_gone(self.s.id):
            raise OSError(errno.ECONNRESET)
        self.s.file.write(data)

    async def drain(self):
        await asyncio.sleep(0)

    def close(self):
        pass


def tick(angle, strokes, skin, is_turning, is_pressed):
    # One period of the timer is over.
    World.angle = angle
    World.strokes = strokes
    World.skin = skin
    World.is_turning = is_turning
    World.is_pressed = is_pressed
    if World.tick is not None:
        World.tick(None)


_open = open


def elsewhere(*args):
    # WebAssembly has a number of its own for a file that is not there.
    error = None
    try:
        return _open(*args)
    except OSError as key:
        error = key
    raise OSError(errno.ENOENT if error.errno == 44 else error.errno)


class Machine:
    pass  # the module


def install(button):
    # Everything is where the firmware looks for it.
    World.button = button
    for one in (Pin, ADC, I2C, Counter, Timer, WDT):
        setattr(Machine, one.__name__, one)
    Machine.TouchPad = None
    sys.modules["machine"] = Machine
    sys.modules["neopixel"] = sys.modules["network"] = Machine
    Machine.NeoPixel = NeoPixel
    Machine.WLAN = WLAN
    Machine.STA_IF = 0
    sys.modules["socket"] = Socket
    sys.modules["select"] = Select
    asyncio.StreamReader = StreamReader
    asyncio.run = asyncio.create_task
    os.urandom = bytes
    builtins.open = elsewhere
