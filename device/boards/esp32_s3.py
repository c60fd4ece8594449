"""ESP32-S3 with 8 MB of flash and PSRAM, such as the ESP32-S3-DevKitC-1 N8R8 or N8R2.

GPIO left alone: 0, 3, 45 and 46 (strapping), 19 and 20 (USB), 26 to 32 (flash), 33 to 37 (octal PSRAM),
43 and 44 (UART 0). ADC1 is GPIO 1 to 10, touch is GPIO 1 to 14. The dial has an I2C bus of its own: a
PN532 that stretches the clock, or a wire of its that breaks, never costs a depth.

Strokes are counted by the chip's pulse counter if MicroPython has it (machine.Counter, 1.26 or newer),
else by interrupts, which lose strokes while the main task is held up for more than 40 ms.
"""

import machine
from machine import Pin, TouchPad

from boards import esp, wiring
from boards.esp import wlan
from boards.wiring import watchdog
from needletrail_device.drivers.battery import Battery
from needletrail_device.drivers.pn532_i2c import I2cLink
from needletrail_device.drivers.skin import AdcSkin, TouchSkin
from needletrail_device.drivers.tachometer import CounterTachometer

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

    from needletrail_device.drivers.as5600 import Dial
    from needletrail_device.handpiece import Parts

__all__ = ("NAME", "dial", "parts", "watchdog", "wlan")

NAME = "esp32_s3"

SKIN = 1  # ADC1 and touch
BATTERY = 2  # ADC1
DIAL_SDA = 8
DIAL_SCL = 9
TAGS_SDA = 11  # PN532 and INA219
TAGS_SCL = 12
MOTOR = 13
TACHOMETER = 14
HAPTIC = 15
BUTTON = 16
CHARGING = 18
PIXEL = 38  # the board's own, from version 1.1 on; 48 on version 1.0

# What machine.TouchPad(machine.Pin(SKIN)).read() gives in the air, with the tip mounted. 0: no touch
# electrode but a sensor with a voltage.
TOUCH_IDLE_RAW = 0
_FILTER_NS = 12_000  # shorter pulses are noise; the most that the counter can do


def dial() -> "Dial":
    """The dial, set up."""
    return wiring.set_up_dial(wiring.i2c(0, DIAL_SCL, DIAL_SDA, wiring.DIAL_TIMEOUT_US))


def parts(dial: "Dial") -> "Parts":
    """Everything, joined."""
    bus = wiring.i2c(1, TAGS_SCL, TAGS_SDA, wiring.TAGS_TIMEOUT_US)
    parts = wiring.begin(dial, I2cLink(bus), bus)
    parts.strokes = _strokes(Pin(TACHOMETER, Pin.IN, Pin.PULL_UP))
    parts.skin = _skin()
    parts.battery = Battery(esp.adc(BATTERY), wiring.BATTERY_RATIO_PERMILLE)
    wiring.add_hand(parts, PIXEL, HAPTIC, BUTTON, MOTOR)
    wiring.add_charger(parts, CHARGING)
    parts.start_timer = esp.start_timer
    return parts


def _strokes(pin: Pin) -> "Any":
    counter = getattr(machine, "Counter", None)
    if counter is None:
        return esp.count_by_interrupt(pin)
    return CounterTachometer(counter(0, pin, edge=counter.FALLING, filter_ns=_FILTER_NS))


def _skin() -> "Any":
    if TOUCH_IDLE_RAW:
        return TouchSkin(TouchPad(Pin(SKIN)), TOUCH_IDLE_RAW)
    return AdcSkin(esp.adc(SKIN))
