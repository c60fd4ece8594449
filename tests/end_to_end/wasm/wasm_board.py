"""What a pen's firmware asks of an ESP32-S3 and its parts, for MicroPython for WebAssembly.

Strategy: the least that the firmware's own drivers take for a pen at work, and as little heap as can
be, since what it takes is measured and taken off. The script that loads this (pen.mjs) says what the
sensors see, calls the timer, and moves bytes between a device file and a real socket. The NFC reader
does not answer: a fault that the pen bears.
"""

# ruff: noqa: ARG002, PTH123, SIM115, UP031
# It runs on MicroPython, and keeps the parameters of what it stands for.

import asyncio
import builtins
import errno
import os
import sys

import js

DIAL, CURRENT = 0x36, 0x40
BUTTON = 16


class World:
    """Set by pen.mjs before each tick."""

    angle = 1000
    strokes = 0
    skin = 0
    is_turning = False
    is_pressed = False
    tick = None


class Pin:
    """Inputs are high, but for a button that is pressed."""

    IN = OUT = PULL_UP = IRQ_FALLING = 0

    def __init__(self, number, mode=0, pull=0, value=0):
        self.number = number

    def value(self, level=None):
        return 0 if self.number == BUTTON and World.is_pressed else 1

    def irq(self, handler, trigger):
        pass


class ADC:
    """The skin's, and a battery's at 3.9 V."""

    ATTN_11DB = 0

    def __init__(self, pin):
        pass

    def atten(self, attenuation):
        pass

    def read_u16(self):
        return World.skin

    def read_uv(self):
        return 1_950_000


class I2C:
    """An AS5600 with a good magnet, an INA219, and nobody else."""

    def __init__(self, number, scl, sda, freq, timeout):
        self.registers = {}

    def readfrom_mem_into(self, address, register, buffer):
        value = self.registers.get(register, 0)
        if address == DIAL:
            if register == 0x0B:
                value = 0x20
            elif register == 0x0C:
                value = World.angle
        elif register == 2:
            value = 2
        elif register == 4:
            value = 2000 if World.is_turning else 0
        if len(buffer) == 2:
            buffer[0] = value >> 8
        buffer[-1] = value & 0xFF

    def writeto_mem(self, address, register, data):
        self.registers[register] = int.from_bytes(data, "big")

    def writeto(self, address, data):
        raise OSError(errno.ENODEV)

    def readfrom_into(self, address, buffer):
        raise OSError(errno.ENODEV)


class Counter:
    """Strokes."""

    FALLING = 0

    def __init__(self, number, pin, edge, filter_ns):
        pass

    def value(self):
        return World.strokes & 0xFFFF


class Timer:
    """Runs when pen.mjs says so."""

    PERIODIC = 0

    def __init__(self, number):
        pass

    def init(self, mode, period, callback):
        World.tick = callback

    def deinit(self):
        World.tick = None


class WDT:
    """A dog that bites nobody."""

    def __init__(self, timeout):
        pass

    def feed(self):
        pass


class NeoPixel:
    """A light that nobody sees."""

    def __init__(self, pin, count):
        pass

    def __setitem__(self, index, colour):
        pass

    def write(self):
        pass


class WLAN:
    """A radio that is always connected: what fails is what lies behind it."""

    STA_IF = 0

    def __init__(self, interface):
        pass

    def isconnected(self):
        return True


# ---- sockets ----


class Socket:
    """One of pen.mjs's, by its number; bytes go through a device file."""

    def setblocking(self, flag):
        pass

    def setsockopt(self, *option):
        pass

    def connect(self, address):
        self.number = js.pen.open()
        self.file = open("/dev/net%d" % self.number, "r+b")
        raise OSError(errno.EINPROGRESS)

    def close(self):
        self.file.close()
        js.pen.close(self.number)

    def getaddrinfo(*_question):
        return [(0, 0, 0, "", None)]

    SOCK_STREAM = 0

    def socket(*_kind):
        return Socket()


class Poll:
    """Ready as soon as it is no longer connecting."""

    def register(self, sock, events):
        self.sock = sock

    def poll(self, timeout_ms):
        return js.pen.is_settled(self.sock.number)


class Select:
    poll = Poll


class StreamReader:
    """What MicroPython's own does, on those sockets."""

    def __init__(self, s, e=None):
        self.s = s
        self.e = e

    async def read(self, count):
        while True:
            data = self.s.file.read(count)
            if data or js.pen.is_gone(self.s.number):
                return data
            await asyncio.sleep(0.02)

    def write(self, data):
        if js.pen.is_gone(self.s.number):
            raise OSError(errno.ECONNRESET)
        self.s.file.write(data)

    async def drain(self):
        await asyncio.sleep(0)

    def close(self):
        pass


def tick(angle, strokes, skin, is_turning, is_pressed):
    """One period of the timer is over."""
    World.angle = angle
    World.strokes = strokes
    World.skin = skin
    World.is_turning = is_turning
    World.is_pressed = is_pressed
    if World.tick is not None:
        World.tick(None)


_open = open


def open_as_elsewhere(*arguments):
    """WebAssembly has a number of its own for a file that is not there."""
    error = None
    try:
        return _open(*arguments)
    except OSError as caught:
        error = caught
    raise OSError(errno.ENOENT if error.errno == 44 else error.errno)


class Machine:
    """The module."""


def install():
    """Everything is where the firmware looks for it."""
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
    builtins.open = open_as_elsewhere
