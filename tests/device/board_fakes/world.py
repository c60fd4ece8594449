"""The world around a pretended microcontroller: wires, chips, tags, motor, skin; and a tape moves them.

Strategy: board files import machine, network, neopixel and rp2 from this folder, and these ask the one
`World` that the test has set up. Its wires come from the test, not from the board's file: a part that
the board looks for at another pin is not there. Chips are the register-level ones of chip_fakes and
pn532_fake. What a port does not have, and what a pin can not do, is refused as MicroPython 1.25 does.

Interrupts come from a thread. A hard one (RP2) is called there, in the middle of whatever the main task
does. A soft one (ESP32) is scheduled into the main thread where the interpreter can do that; where it
can not, a lock keeps it from coming into a call of C. The motor's strokes up to then come just before.

Time is real, but stands still while the main task gets no processor: a busy computer is no slow pen.

The tape is as long as real time. It begins when the file `go` is there; before that its first row
stands still. Afterwards the button is pressed for long, by which a pen ends.
"""

# ruff: noqa: PTH116, PTH123, PLW0603
# This file also runs on MicroPython, which lacks what these rules ask for.

import _thread
import json
import os
import time

import chip_fakes
import pn532_fake

try:
    from micropython import schedule
except ImportError:
    schedule = None

ROW_MS = 20
BADGE_MS = 900  # a badge is held to the pen for so long
CONVERSION_MS = 17  # INA219, as it is set up
TURNING_MS = 100
SHUNT_UV = 15_000  # 150 mA through 100 milliohms
BUTTON_MS = 1500
PATIENCE_US = 60_000
NAP_US = 2000
THREAD_STACK = 512 * 1024
ESP32_S3, ESP32_C3, RP2 = "esp32_s3", "esp32_c3", "rp2"
# GPIO that the chip or its radio has for itself, by the chip's data sheet.
RESERVED = {
    ESP32_S3: tuple(range(19, 38)) + (43, 44),
    ESP32_C3: tuple(range(11, 20)),
    RP2: (23, 24, 25, 29),
}
GPIO_COUNT = {ESP32_S3: 49, ESP32_C3: 22, RP2: 30}
ADC_PINS = {ESP32_S3: range(1, 11), ESP32_C3: range(0, 5), RP2: range(26, 29)}  # beside Wi-Fi
I2C_COUNT = {ESP32_S3: 2, ESP32_C3: 1, RP2: 2}
FAULTS = ("magnet", "dial_bus", "pn532", "current", "timer", "main")
HELD_MS = 400  # for how long a timer is held up: a flash erase at its worst
AWAY_MS = 4500  # for how long the main task is held up: longer than the ring lasts


class Time:
    """Microseconds. From `watch` on they stop PATIENCE_US after the main task came by last."""

    def __init__(self, real_us, difference):
        self._real_us = real_us
        self._difference = difference
        self._last = real_us()
        self._us = 0
        self._until_us = -1  # no limit
        self._lock = _thread.allocate_lock()

    def us(self):
        if not self._lock.acquire(False):
            return self._us  # asked in the middle of itself, by an interrupt: it is about that
        last = self._real_us()
        passed_us = self._difference(last, self._last)
        self._last = last
        if self._until_us >= 0:
            passed_us = max(0, min(passed_us, self._until_us - self._us))
        self._us += passed_us
        self._lock.release()
        return self._us

    def watch(self):
        """From now on the main task comes by."""
        self._until_us = self.us() + PATIENCE_US

    def come_by(self):
        """The main task is here."""
        if self._until_us >= 0:
            self.watch()

    def let_go(self):
        """It does no more."""
        self._until_us = -1


class Dial(chip_fakes.As5600):
    """An AS5600 whose magnet stands where the tape says."""

    def __init__(self, world):
        super().__init__()
        self._world = world

    def point(self, register):
        if register == 0x0C:
            self.angle = self._world.row()[1]
        super().point(register)


class Current(chip_fakes.Ina219):
    """An INA219 that converts when its time has come, and sees the motor run."""

    def __init__(self, world):
        super().__init__()
        self._world = world
        self._converted_ms = 0
        self.is_blind = False

    def point(self, register):
        now_ms = self._world.now_ms()
        if register == self.BUS and now_ms - self._converted_ms >= CONVERSION_MS:
            self._converted_ms = now_ms
            is_on = self._world.is_turning() and not self.is_blind
            self.shunt_uv = SHUNT_UV if is_on else 0
            self.convert()
        super().point(register)


class World:
    """One board and all that is wired to it. wires: GPIO by what is there. passing: its Time."""

    def __init__(self, passing, chip, wires, tape="", go="", faults=(), has_counter=False):
        self.passing = passing
        self.chip = chip
        self.is_hard = chip == RP2
        self.wires = wires
        self.has_counter = has_counter
        self.pins = {}
        self.problems = []
        self.shown = []  # (ms, what, value)
        self.longest_unfed_ms = 0
        self._fed_ms = self._watchdog_ms = 0
        self._go = go
        self._begin_ms = -1  # of the tape
        self._rows = [(0, 410, 0, 900)]
        self._events = []
        if tape:
            self._read(tape)
        self._strokes = self._rows[0][2]  # that the motor has made
        self._turned_ms = -TURNING_MS
        self._faults = list(faults)  # (ms of the tape, name, is there)
        self._leaving = []  # (ms, badge)
        self._cartridge = None
        self._tags = 0
        self.clock = pn532_fake.Clock()
        self.reader = pn532_fake.Chip(self.clock)
        self.dial = Dial(self)
        self.current = Current(self)
        self.stuck = False
        self.held_until_ms = 0  # the timer
        self.spi = pn532_fake.SpiBus(self.reader)
        self.is_over = False
        self.lost_interrupts = 0
        self.interrupts = _thread.allocate_lock()  # held: no hard interrupt comes
        self._main = _thread.get_ident()
        # The main task is within a call of C: held, or more than 0; and what waits until that is over.
        self._c_call = _thread.RLock() if schedule is None else None
        self._depth = 0
        self._waiting = []

    # ---- time ----

    def now_ms(self):
        return self.passing.us() // 1000

    def tape_ms(self):
        """Where the tape is; 0 before it begins."""
        return 0 if self._begin_ms < 0 else max(0, self.now_ms() - self._begin_ms)

    def row(self):
        return self._rows[min(self.tape_ms() // ROW_MS, len(self._rows) - 1)]

    def is_turning(self):
        return self.now_ms() - self._turned_ms < TURNING_MS

    def _read(self, path):
        self._rows = []
        with open(path) as file:
            for line in file:
                parts = line.rstrip().split(",")
                if len(parts) != 5 or not parts[0].isdigit():
                    continue
                t_ms, counts, strokes, contact = (int(part) for part in parts[:4])
                assert t_ms == len(self._rows) * ROW_MS
                self._rows.append((t_ms, counts, strokes, contact))
                if parts[4]:
                    self._events.append((t_ms, parts[4]))

    # ---- the main task comes by ----

    def sync(self):
        """Tags, faults and the button follow the tape. Called in the main task alone."""
        self.passing.come_by()
        now_ms = self.now_ms()
        self.clock.now_ms = now_ms
        self.longest_unfed_ms = max(self.longest_unfed_ms, now_ms - self._fed_ms)
        self._fed_ms = now_ms
        if self._begin_ms < 0:
            if self._go and _is_there(self._go):
                self._begin_ms = now_ms
            return
        tape_ms = self.tape_ms()
        while self._events and self._events[0][0] <= tape_ms:
            self._event(now_ms, self._events.pop(0)[1])
        while self._leaving and self._leaving[0][0] <= now_ms:
            self.reader.take(self._leaving.pop(0)[1])
        while self._faults and self._faults[0][0] <= tape_ms:
            _, name, is_there = self._faults.pop(0)
            self.break_down(name, is_there)
        end_ms = self._rows[-1][0]
        if tape_ms > end_ms + 1500:
            self.pin(self.wires["button"]).drive(0)

    def break_down(self, name, is_there):
        """A part fails, or works again."""
        assert name in FAULTS
        if name == "magnet":
            self.dial.magnet = self.dial.ABSENT if is_there else self.dial.GOOD
        elif name == "dial_bus":
            self.stuck = is_there
        elif name == "pn532":
            self.reader.is_absent = is_there
            self.reader.reset()
        elif name == "timer":
            self.held_until_ms = self.now_ms() + HELD_MS * is_there
        elif name == "main":
            until_ms = self.now_ms() + AWAY_MS * is_there
            while self.now_ms() < until_ms:
                self.passing.come_by()
                time.sleep(0.01)
        else:
            self.current.is_blind = is_there

    def _event(self, now_ms, text):
        name, _, data = text.partition(":")
        if name == "removed":
            self.reader.take(self._cartridge)
            return
        self._tags += 1
        message = bytes(int(data[at : at + 2], 16) for at in range(0, len(data), 2))
        uid = bytes((4, 0x11, 0x22, 0x33, 0x44, 0x55, self._tags))
        tag = self.reader.put(pn532_fake.Ntag(215, uid, pn532_fake.ndef_area(message)))
        if name == "cartridge":
            self._cartridge = tag
        else:
            self._leaving.append((now_ms + BADGE_MS, tag))

    # ---- interrupts ----

    def turn(self):
        """The motor makes the strokes that the tape has by now."""
        strokes = self.row()[2]
        if strokes != self._strokes:
            self._turned_ms = self.now_ms()
        pin = self.pin(self.wires["tachometer"])
        while self._strokes < strokes:
            self._strokes += 1
            pin.drive(0)
            pin.drive(1)

    def every(self, period_us, call):
        """Interrupt every so many microseconds, from now on. Returns a flag: empty it to end."""
        running = [True]
        self.nap_us = getattr(time, "sleep_us", None) or (lambda us: time.sleep(us / 1e6))

        def interrupt(_unused=None):
            if self._depth:
                self._waiting.append(interrupt)
            else:
                self.turn()
                call()

        begin_us = self.passing.us()  # before the time's limit is set: the first call is within it

        def run():
            due_us = begin_us
            while running and not self.is_over:
                due_us += period_us
                wait_us = due_us - self.passing.us()
                while wait_us > 0:
                    self.nap_us(min(wait_us, NAP_US))
                    wait_us = due_us - self.passing.us()
                while self.now_ms() < self.held_until_ms:
                    self.passing.come_by()  # the watchdog is not fed meanwhile
                    self.nap_us(NAP_US)
                if self.is_hard:
                    with self.interrupts:
                        interrupt()
                    # Periods that went by meanwhile raised one flag, which was up already.
                    due_us += max(0, self.passing.us() - due_us) // period_us * period_us
                elif schedule is None:
                    with self._c_call:
                        interrupt()
                else:
                    try:
                        schedule(interrupt, None)
                    except RuntimeError:  # its queue is full
                        self.lost_interrupts += 1

        self.passing.watch()
        _thread.stack_size(THREAD_STACK)
        _thread.start_new_thread(run, ())
        return running

    def begin_call(self):
        """A call of C begins that a soft interrupt can not come into. A hard one can; but one that has
        begun is over before the main task goes on."""
        if self.is_hard:
            if _thread.get_ident() == self._main:
                with self.interrupts:
                    pass
        elif schedule is None:
            self._c_call.acquire()
        else:
            self._depth += 1

    def end_call(self):
        if self.is_hard:
            return
        if schedule is None:
            self._c_call.release()
            return
        self._depth -= 1
        while self._waiting and not self._depth:
            self._waiting.pop(0)()

    # ---- pins and buses ----

    def pin(self, number):
        from machine import Pin

        return Pin(number)

    def show(self, what, value):
        """Light, buzz or motor has changed."""
        self.shown.append((self.now_ms(), what, value))

    def wired(self, part, *pins):
        """Whether these pins are where the part is."""
        names = {
            "dial": ("dial_scl", "dial_sda"),
            "current": ("current_scl", "current_sda"),
            "tags_i2c": ("tags_scl", "tags_sda"),
            "tags_spi": ("tags_sck", "tags_mosi", "tags_miso"),
        }[part]
        return tuple(self.wires.get(name) for name in names) == pins

    def report(self, path):
        self.is_over = True
        with open(path, "w") as file:
            file.write(
                json.dumps(
                    {
                        "shown": self.shown,
                        "problems": self.problems,
                        "longest_unfed_ms": self.longest_unfed_ms,
                        "lost_interrupts": self.lost_interrupts,
                        "strokes": self._strokes,
                    }
                )
            )


def _is_there(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


world = None


def set_up(one):
    """This is the world from now on."""
    global world
    world = one
    return one


def here():
    """The world that is set up."""
    return world
