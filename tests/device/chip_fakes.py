"""Chips, pins and buses as their data sheets have them, by register. For both interpreters.

Knobs are attributes: what a fault does to the part, never what the driver should make of it. Reading
allocates nothing, so that a test can tell what the driver allocates.
"""

import gc

ENODEV, EIO, ETIMEDOUT = 19, 5, 110


def allocated_bytes(call, times=200):
    """What `times` calls allocate on MicroPython; 0 on CPython, which can not tell."""
    call()
    mem_alloc = getattr(gc, "mem_alloc", None) or _unknown
    gc.collect()
    gc.disable()
    before = mem_alloc()
    for _ in range(times):
        call()
    after = mem_alloc()
    gc.enable()
    return after - before


def _unknown():
    return 0


class I2C:
    """machine.I2C with these chips. Errors as MicroPython's: OSError with ENODEV (ESP32) or EIO (RP2)
    if nobody acknowledges, ETIMEDOUT if the clock is held low."""

    def __init__(self, *chips):
        self._chips = {}
        for chip in chips:
            self._chips[chip.ADDRESS] = chip
        self.transfers = 0
        self.is_stuck = False
        self.fails_at = 0  # the number of a transfer that is cut off by a missing acknowledge
        self.nack = ENODEV

    def readfrom_mem_into(self, address, register, buffer):
        chip = self._chip(address)
        chip.point(register)
        for index in range(len(buffer)):
            buffer[index] = chip.read()

    def writeto_mem(self, address, register, data):
        self._chip(address).write(register, data)

    def _chip(self, address):
        self.transfers += 1
        if self.is_stuck:
            raise OSError(ETIMEDOUT)
        if self.transfers == self.fails_at:
            raise OSError(EIO)
        chip = self._chips.get(address)
        if chip is None or chip.is_silent:
            raise OSError(self.nack)
        return chip


class OtherChip:
    """Some other chip at an address: it acknowledges all and reads as one byte."""

    def __init__(self, address, byte):
        self.ADDRESS = address
        self.is_silent = False
        self._byte = byte

    def point(self, register):
        pass

    def read(self):
        return self._byte

    def write(self, register, data):
        pass


class As5600:
    """ams AS5600, data sheet [v1-06].

    `angle`: where the magnet stands. `magnet`: GOOD, WEAK, STRONG or ABSENT. `turns_by`: counts that
    the magnet turns while one byte goes over the bus.
    """

    ADDRESS = 0x36  # "I2C Interface"
    GOOD, WEAK, STRONG, ABSENT = 0x20, 0x30, 0x28, 0x10  # MD, ML, MH of "STATUS Register", Figure 23

    # "Automatic Increment of the Address Pointer for ANGLE, RAW ANGLE and MAGNITUDE Registers"
    SPECIAL = (0x0C, 0x0E, 0x1B)

    def __init__(self, angle=0):
        self.angle = angle
        self.magnet = self.GOOD
        self.turns_by = 0
        self.is_silent = False
        self.is_read_only = False
        self.burnt = bytes(2)  # CONF as it was burnt; "Register Map", note 2
        self.conf = bytearray(2)
        self.blank_status = 0x47  # bits without a name are not 0 on real chips
        self._pointer = 0
        self._special = -1
        self._latched = 0

    def power_up(self):
        self.conf[:] = self.burnt

    def point(self, register):
        self._pointer = register
        self._special = register if register in self.SPECIAL else -1

    def read(self):
        """A byte; "Reading": the pointer is incremented after each, and invalid addresses read 0."""
        register = self._pointer
        value = self._byte(register)
        if self._special < 0:
            self._pointer = (register + 1) & 0xFF
        else:  # high and low byte in turn, for ever
            self._pointer = self._special if register != self._special else register + 1
        self.angle = (self.angle + self.turns_by) & 0xFFF
        return value

    def write(self, register, data):
        for byte in data:
            if register in (0x07, 0x08) and not self.is_read_only:
                self.conf[register - 0x07] = byte
            register = (register + 1) & 0xFF

    def _byte(self, register):
        if register in (0x07, 0x08):
            return self.conf[register - 0x07]
        if register == 0x0B:
            return self.magnet | self.blank_status
        if register in (0x0C, 0x0E):
            self._latched = self.angle
            return self.angle >> 8
        if register in (0x0D, 0x0F):
            # The data sheet promises no pair to who did not set the pointer to the high byte.
            return (self.angle if self._special < 0 else self._latched) & 0xFF
        if register == 0x1A:  # "AGC Register", at 3.3 V
            return {self.WEAK: 128, self.ABSENT: 128, self.STRONG: 0}.get(self.magnet, 60)
        return 0


class Ina219:
    """TI INA219, data sheet SBOS448G.

    `shunt_uv` and `bus_mv`: what it measures at the next `convert`, if its mode lets it.
    """

    ADDRESS = 0x40  # 8.5.5.1
    CONFIGURATION, SHUNT, BUS, POWER, CURRENT, CALIBRATION = 0, 1, 2, 3, 4, 5

    def __init__(self):
        self.shunt_uv = 0
        self.bus_mv = 3700
        self.is_silent = False
        self.is_read_only = False
        self.registers = [0] * 6
        self._pointer = 0
        self._is_low_byte = False
        self.power_up()

    def power_up(self):
        """Table 2: power-on reset."""
        for register in range(6):
            self.registers[register] = 0
        self.registers[self.CONFIGURATION] = 0x399F

    def convert(self):
        """One conversion of shunt and bus (8.4), if the mode is 111 (8.6.2.1)."""
        registers = self.registers
        configuration = registers[self.CONFIGURATION]
        if configuration & 7 != 7:
            return
        # 8.6.3.1: 10 uV a step, two's complement, as far as PGA goes (40 mV to 320 mV)
        most = 4000 << (configuration >> 11 & 3)
        shunt = max(-most, min(most, self.shunt_uv // 10))
        registers[self.SHUNT] = shunt & 0xFFFF
        # 8.5.1: current = shunt * calibration / 4096, power = current * bus / 5000
        current = shunt * registers[self.CALIBRATION] // 4096
        power = abs(current) * (self.bus_mv // 4) // 5000
        is_overflow = not -32768 <= current <= 32767 or power > 0xFFFF
        registers[self.CURRENT] = current & 0xFFFF
        registers[self.POWER] = power & 0xFFFF
        # 8.6.3.2: 4 mV a step from bit 3 on, CNVR is bit 1, OVF is bit 0
        registers[self.BUS] = (self.bus_mv // 4) << 3 | 2 | is_overflow

    def point(self, register):
        """8.5.6: the pointer stays until the next write."""
        self._pointer = register
        self._is_low_byte = False

    def read(self):
        value = self.registers[self._pointer]
        if not self._is_low_byte:
            self._is_low_byte = True
            return value >> 8
        self._is_low_byte = False
        if self._pointer == self.POWER:
            self.registers[self.BUS] &= ~2  # 8.6.3.2: reading power clears CNVR
        return value & 0xFF

    def write(self, register, data):
        assert len(data) == 2, "registers have 16 bits"
        value = data[0] << 8 | data[1]
        if self.is_read_only:
            return
        if register == self.CONFIGURATION:
            if value & 0x8000:  # 8.6.2.1, RST
                self.power_up()
                return
            self.registers[self.BUS] &= ~2
            self.registers[register] = value
        elif register == self.CALIBRATION:
            self.registers[register] = value & 0xFFFE  # 8.6.4.1: FS0 is always 0


# ---- what a microcontroller has itself ----


class Pin:
    """machine.Pin; `changes` counts how often its level changed."""

    def __init__(self, level=0):
        self.level = level
        self.changes = 0

    def value(self, level=None):
        if level is None:
            return self.level
        if level != self.level:
            self.changes += 1
        self.level = level
        return None


class Pwm:
    """machine.PWM."""

    def __init__(self):
        self.duty = -1

    def duty_u16(self, duty):
        self.duty = duty


class Pixels:
    """neopixel.NeoPixel with one pixel: a colour is seen after `write` only."""

    def __init__(self):
        self.seen = None
        self._next = None

    def __setitem__(self, index, colour):
        assert index == 0
        self._next = colour

    def write(self):
        self.seen = self._next


class Adc:
    """machine.ADC without calibration: 12 bits, spread over 16 as MicroPython does it."""

    def __init__(self, counts=0):
        self.counts = counts
        self.fails = False

    def read_u16(self):
        if self.fails:
            raise OSError(ETIMEDOUT)
        return self.counts << 4 | self.counts >> 8


class CalibratedAdc:
    """The ESP32's machine.ADC, with read_uv."""

    def __init__(self, mv):
        self.mv = mv

    def read_uv(self):
        return self.mv * 1000

    def read_u16(self):
        raise AssertionError("the calibrated reading is there")


class TouchPad:
    """The ESP32-S3's machine.TouchPad: higher when touched; an error of the pad is a ValueError."""

    def __init__(self, raw):
        self.raw = raw
        self.fails = False

    def read(self):
        if self.fails:
            raise ValueError("Touch pad error")
        return self.raw


class Counter:
    """A pulse counter that begins again at 0 when it reaches `modulus` (0: never)."""

    def __init__(self, modulus=0, pulses=0):
        self._modulus = modulus
        self._pulses = pulses

    def pulse(self, pulses):
        self._pulses += pulses

    def reset(self):
        self._pulses = 0

    def value(self):
        return self._pulses % self._modulus if self._modulus else self._pulses


class Ticks:
    """time.ticks_us: microseconds that begin again at 2**30."""

    def __init__(self, us=0):
        self.us = us

    def __call__(self):
        return self.us & 0x3FFFFFFF
