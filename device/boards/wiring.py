"""What every board joins in the same way, whatever its pins and buses are.

Pins are given as GPIO numbers. Which part goes to which pin, and why, is in README.md. Outputs are off
from the first moment: a pin is given its level before it becomes an output, and between reset and that
moment a resistor to ground holds it (README.md), so no motor starts by itself.

Calibration of all boards is here, that of one board in its file, that of one pen in pen.json.
"""

from machine import I2C, WDT, Pin
from neopixel import NeoPixel

from needletrail_device.drivers.as5600 import Dial
from needletrail_device.drivers.button import Button
from needletrail_device.drivers.haptic import Haptic
from needletrail_device.drivers.ina219 import MotorCurrent
from needletrail_device.drivers.led import Led, PixelLamp
from needletrail_device.drivers.ntag import Tags
from needletrail_device.drivers.pn532 import Pn532
from needletrail_device.drivers.signals import Signals
from needletrail_device.handpiece import Parts

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

WATCHDOG_MS = 8000  # the RP2's can not wait longer than 8388
DIAL_ZERO_COUNTS = (
    0  # raw angle that reads 0: mount the magnet so that the ring's travel does not cross it
)
SHUNT_MOHM = 100  # of the INA219's board
MOTOR_ON_MA = 40
BATTERY_RATIO_PERMILLE = 2000  # two equal resistors
_I2C_HZ = 400_000
# A transfer takes a fifth of a millisecond: a bus that hangs must not hang the reading for longer.
DIAL_TIMEOUT_US = 1000
TAGS_TIMEOUT_US = 5000  # a PN532 that wakes stretches the clock (UM0701-02, 7.2.11)


def watchdog() -> WDT:
    """The watchdog, started: without `feed` the board restarts."""
    return WDT(timeout=WATCHDOG_MS)


def i2c(number: int, scl: int, sda: int, timeout_us: int) -> I2C:
    """A bus."""
    clock, data = Pin(scl), Pin(sda)
    # the stubs do not know of `timeout`, which both ports have
    return I2C(number, scl=clock, sda=data, freq=_I2C_HZ, timeout=timeout_us)  # type: ignore[call-overload,no-any-return]


def set_up_dial(bus: "Any") -> Dial:
    """The dial; if it does not answer, its `fault` says so."""
    dial = Dial(bus, DIAL_ZERO_COUNTS)
    dial.configure()
    return dial


def begin(dial: Dial, link: "Any", current_bus: "Any") -> Parts:
    """Dial, tags and current. link: the PN532's. current_bus: the I2C bus with the INA219."""
    parts = Parts()
    parts.dial = dial
    parts.tags = Tags(Pn532(link))
    parts.current = MotorCurrent(current_bus, SHUNT_MOHM, MOTOR_ON_MA)
    parts.current.configure()
    return parts


def add_hand(parts: Parts, pixel: int, haptic: int, button: int, motor: int) -> None:
    """What hand and eye meet: light, buzz, button; and the motor's permission."""
    lamp = PixelLamp(NeoPixel(Pin(pixel, Pin.OUT), 1))
    parts.signals = Signals(Led(lamp), Haptic(Pin(haptic, Pin.OUT, value=0)))
    parts.button = Button(Pin(button, Pin.IN, Pin.PULL_UP))
    parts.set_motor = Pin(motor, Pin.OUT, value=0).value


def add_charger(parts: Parts, status: int) -> None:
    """The charger's status output, which pulls its line down while it charges."""
    parts.charger = Pin(status, Pin.IN, Pin.PULL_UP)
