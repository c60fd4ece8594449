"""MicroPython's `machine` of a board that is only pretended: what the board files use of it."""

import chip_fakes
import pn532_fake
import world as _world

ENODEV = 19


class Pin:
    """One object a GPIO, as on both ports."""

    IN, OUT = 0, 1
    PULL_UP, PULL_DOWN = 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2

    def __new__(cls, number, *_rest, **_named):
        world = _world.here()
        if not 0 <= number < _world.GPIO_COUNT[world.chip] or number in _world.RESERVED[world.chip]:
            raise ValueError("invalid pin")
        if number not in world.pins:
            world.pins[number] = pin = object.__new__(cls)
            pin.number = number
            pin.mode = -1
            pin.level = 0
            pin.listeners = []
            pin._world = world
            pin._handler = None
            pin._trigger = 0
            pin._names = [name for name in world.wires if world.wires[name] == number]
        return world.pins[number]

    def __init__(self, number, mode=-1, pull=-1, value=None):
        if mode >= 0:
            self.mode = mode
        if pull == Pin.PULL_UP:
            self.level = 1
        if value is not None:
            self._put(value)

    def value(self, level=None):
        if level is None:
            return self.level
        self._put(level)
        return None

    __call__ = value

    def _put(self, level):
        level = 1 if level else 0
        if "tags_select" in self._names:
            self._world.spi.select(level)
        elif level != self.level:
            for name in self._names:
                self._world.show(name, level)
        self.level = level

    def irq(self, handler=None, trigger=IRQ_RISING | IRQ_FALLING, **named):
        if named and not (self._world.is_hard and list(named) == ["hard"]):
            raise TypeError("extra keyword arguments given")
        self._handler = handler
        self._trigger = trigger

    def drive(self, level):
        """Somebody outside gives the line this level."""
        before = self.level
        self.level = level
        edge = Pin.IRQ_RISING if level > before else Pin.IRQ_FALLING if level < before else 0
        if self._handler is not None and edge & self._trigger:
            self._handler(self)
        for listener in self.listeners:
            listener()


class _Wire:
    """One transfer at a time. Two at once would be a reading within another's transfer."""

    def __init__(self):
        self._is_busy = False

    def __enter__(self):
        world = _world.here()
        world.begin_call()
        if self._is_busy:
            world.problems.append("two transfers at once on a bus")
        self._is_busy = True

    def __exit__(self, *_error):
        self._is_busy = False
        _world.here().end_call()


class I2C:
    """machine.I2C with the chips that are wired to its pins."""

    def __init__(self, number, *, scl, sda, freq=400_000, timeout=50_000):
        world = _world.here()
        if not 0 <= number < _world.I2C_COUNT[world.chip]:
            raise ValueError("I2C(%d) doesn't exist" % number)
        # ports/rp2/machine_i2c.c: which pins a block can have
        is_fit = scl.number & 3 == 1 + 2 * number and sda.number & 3 == 2 * number
        if world.chip == _world.RP2 and not is_fit:
            raise ValueError("bad SCL or SDA pin")
        assert 100_000 <= freq <= 400_000
        assert timeout <= 5000, "a bus that hangs must not hang the pen"
        pins = (scl.number, sda.number)
        chips = []
        if world.wired("dial", *pins):
            chips.append(world.dial)
        if world.wired("current", *pins):
            chips.append(world.current)
        self._registers = chip_fakes.I2C(*chips)
        self._registers.nack = 5 if world.is_hard else ENODEV
        self._has_dial = world.dial in chips
        self._reader = pn532_fake.I2cBus(world.reader) if world.wired("tags_i2c", *pins) else None
        self._world = world
        self._wire = world.pins.setdefault(("bus", pins), _Wire())

    def readfrom_mem_into(self, address, register, buffer):
        with _transfer(self):
            self._registers.readfrom_mem_into(address, register, buffer)

    def writeto_mem(self, address, register, data):
        with _transfer(self):
            self._registers.writeto_mem(address, register, data)

    def writeto(self, address, data):
        with _transfer(self):
            return self._tags().writeto(address, data)

    def readfrom_into(self, address, buffer):
        with _transfer(self):
            self._tags().readfrom_into(address, buffer)

    def _tags(self):
        if self._reader is None:
            raise OSError(ENODEV)
        return self._reader


def _transfer(bus):
    bus._registers.is_stuck = bus._has_dial and bus._world.stuck
    return bus._wire


class SPI:
    """machine.SPI; the PN532, if it is wired to its pins."""

    def __init__(self, number, baudrate, *, sck, mosi, miso, polarity=0, phase=0):
        world = _world.here()
        assert number in (0, 1) if world.is_hard else number in (1, 2)
        assert baudrate <= 5_000_000
        assert (polarity, phase) == (0, 0)
        is_wired = world.wired("tags_spi", sck.number, mosi.number, miso.number)
        self._bus = world.spi if is_wired else None

    def write_readinto(self, out, into):
        if self._bus is None:
            for at in range(len(into)):
                into[at] = 0xFF
            return
        _world.here().begin_call()
        self._bus.write_readinto(out, into)
        _world.here().end_call()


class _Adc:
    def __init__(self, pin):
        self._world = _world.here()
        if pin.number not in _world.ADC_PINS[self._world.chip]:
            raise ValueError("invalid pin")
        self._pin = pin
        self._is_busy = False

    def read_u16(self):
        """12 bits, spread over 16; a line that nothing drives reads 0."""
        counts = 0
        if self._pin.number == self._world.wires["skin"]:
            counts = self._world.row()[3]
        elif self._pin.number == self._world.wires["battery"]:
            counts = 1900 * 4096 // 3300
        return counts << 4 | counts >> 8


class _EspAdc(_Adc):
    ATTN_0DB, ATTN_11DB = 0, 3

    def __init__(self, pin):
        super().__init__(pin)
        self._most_mv = 950

    def atten(self, attenuation):
        self._most_mv = 3100 if attenuation == self.ATTN_11DB else 950

    def read_uv(self):
        return min(self._most_mv, 1900) * 1000


class TouchPad:
    """A pad of the ESP32-S3: higher when touched."""

    IDLE_RAW = 30_000

    def __init__(self, pin):
        if not 1 <= pin.number <= 14:
            raise ValueError("invalid pin for touchpad")

    def read(self):
        contact = _world.here().row()[3]
        return self.IDLE_RAW + (9000 if contact >= 2000 else 200)


class Timer:
    """A hardware timer of the ESP32: its callback is scheduled."""

    ONE_SHOT, PERIODIC = 0, 1

    def __init__(self, number):
        if not 0 <= number < (4 if _world.here().chip == _world.ESP32_S3 else 2):
            raise ValueError("invalid Timer number")
        self._running = []

    def init(self, *, mode=PERIODIC, period, callback):
        assert mode == Timer.PERIODIC
        self._running = _world.here().every(period * 1000, lambda: callback(self))

    def deinit(self):
        self._running.clear()
        _world.here().passing.let_go()


class WDT:
    """The watchdog. When it is fed, the main task comes by."""

    def __init__(self, *, timeout=5000):
        if _world.here().is_hard and timeout > 8388:
            raise ValueError("timeout exceeds 8388")
        self.timeout = timeout

    def feed(self):
        world = _world.here()
        world.sync()
        if world.longest_unfed_ms > self.timeout:
            world.problems.append("the watchdog would have bitten")


class _Counter:
    """machine.Counter, of MicroPython 1.26 and newer on the ESP32-S3."""

    RISING, FALLING = 1, 2

    def __init__(self, number, pin, edge=RISING, filter_ns=0):
        assert 0 <= number < 4
        assert edge == self.FALLING
        assert filter_ns <= 12_787
        self._pin = pin
        self._level = pin.level
        self._count = 0
        pin.listeners.append(self._look)

    def _look(self):
        if self._pin.level < self._level:
            self._count += 1
        self._level = self._pin.level

    def value(self):
        return self._count


def disable_irq():
    _world.here().interrupts.acquire()
    return True


def enable_irq(state):
    assert state
    _world.here().interrupts.release()


def settle():
    """Take away what this port does not have. Called when the world is set up."""
    names = globals()
    world = _world.here()
    names["ADC"] = _Adc if world.chip == _world.RP2 else _EspAdc
    if world.has_counter:
        names["Counter"] = _Counter
    else:
        names.pop("Counter", None)
