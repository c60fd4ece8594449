"""ESP32-C3 with 4 MB of flash and its USB socket at the chip's own USB.

It has few pins, and all are used: 18 and 19 are USB, 12 to 17 flash. The strapping pins have parts
that hold them as a start needs them: 2 and 8 high (a chip select and a data line with their pull-ups),
9 high unless the button is held down. GPIO 20 and 21 are UART 0, which MicroPython leaves as soon as
they are something else; a board with a USB bridge at them can not be wired like this, for the bridge
drives 20.

At reset the chip's ROM writes its greeting to GPIO 21: on a clock line whose data line rests that is no
start, so no chip listens. MicroPython still hears UART 0 on GPIO 20; the haptic motor's slow levels
there are no character but NUL.

There is one I2C bus, for dial and INA219: no reading of the timer interrupts a transfer (esp.py), and
neither chip stretches the clock. The PN532 does, and it may hang, so it is on SPI. The chip has no
pulse counter and no touch pads: strokes by interrupts, skin by ADC1, which is GPIO 0 to 4.
"""

from machine import I2C, SPI, Pin

from boards import esp, wiring
from boards.esp import wlan
from boards.wiring import watchdog
from needletrail_device.drivers.battery import Battery
from needletrail_device.drivers.pn532_spi import SpiLink
from needletrail_device.drivers.skin import AdcSkin

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from needletrail_device.drivers.as5600 import Dial
    from needletrail_device.handpiece import Parts

__all__ = ("NAME", "dial", "parts", "watchdog", "wlan")

NAME = "esp32_c3"

SKIN = 0  # ADC1
BATTERY = 1  # ADC1
TAGS_SELECT = 2  # strapping: high at reset
TACHOMETER = 3
TAGS_SCK = 4
TAGS_MISO = 5
TAGS_MOSI = 6
PIXEL = 7
SDA = 8  # strapping: high at reset
BUTTON = 9  # strapping: held down at reset, the chip waits for firmware
MOTOR = 10
HAPTIC = 20  # UART 0
SCL = 21  # UART 0

_TAGS_HZ = 1_000_000  # the PN532 takes 5 MHz at the most
_SPI = 1


def dial() -> "Dial":
    """The dial, set up."""
    return wiring.set_up_dial(_bus())


def parts(dial: "Dial") -> "Parts":
    """Everything, joined."""
    spi = SPI(_SPI, baudrate=_TAGS_HZ, sck=Pin(TAGS_SCK), mosi=Pin(TAGS_MOSI), miso=Pin(TAGS_MISO))
    link = SpiLink(spi, Pin(TAGS_SELECT, Pin.OUT, value=1))
    parts = wiring.begin(dial, link, _bus())
    parts.strokes = esp.count_by_interrupt(Pin(TACHOMETER, Pin.IN, Pin.PULL_UP))
    parts.skin = AdcSkin(esp.adc(SKIN))
    parts.battery = Battery(esp.adc(BATTERY), wiring.BATTERY_RATIO_PERMILLE)
    wiring.add_hand(parts, PIXEL, HAPTIC, BUTTON, MOTOR)
    parts.start_timer = esp.start_timer
    return parts


def _bus() -> I2C:
    return wiring.i2c(0, SCL, SDA, wiring.DIAL_TIMEOUT_US)
