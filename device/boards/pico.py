"""What Pico W and Pico 2 W share, which is all but the chip: pins, buses, the timer, the counter.

GPIO left alone: 23, 24, 25 and 29, which the radio has. ADC is GPIO 26 to 28. Nowhere a pull-down is
asked for: on early Pico 2 chips an input with one can stay up (RP2350 data sheet, erratum E9).

The sampling timer is a state machine of the PIO, for its interrupt can be *hard*: machine.Timer's call
is only queued in MicroPython 1.25 (ports/rp2/machine_timer.c), that of rp2.StateMachine.irq need not
be (rp2_pio.c). So readings are taken within a garbage collection, a TLS handshake, or whatever the main
task does; but not while flash is erased or written, when MicroPython shuts out all interrupts
(rp2_flash.c). A hard handler may allocate nothing, and may not find the main task in the middle of what
it touches: so the dial is alone on its bus, and the battery's ADC reading shuts interrupts out for its
few microseconds.

Strokes are counted by another state machine, in hardware: none is lost. Both are in PIO 0; the radio
takes PIO 1 first.
"""

import network  # type: ignore[import-not-found]  # the stubs are the bare Pico's, which has no radio
import rp2
from machine import ADC, Pin, disable_irq, enable_irq
from micropython import alloc_emergency_exception_buf

from boards import wiring
from needletrail_device.drivers.battery import Battery
from needletrail_device.drivers.pio_beat import Beat, UndisturbedAdc
from needletrail_device.drivers.pio_counter import PioCounter
from needletrail_device.drivers.pn532_i2c import I2cLink
from needletrail_device.drivers.skin import AdcSkin
from needletrail_device.drivers.tachometer import CounterTachometer

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

    from rp2.asm_pio import (  # what rp2.asm_pio lends to a program
        irq,
        jmp,
        label,
        mov,
        null,
        osr,
        pin,
        pull,
        rel,
        wait,
        wrap,
        wrap_target,
        x,
        x_dec,
    )

    from needletrail_device.drivers.as5600 import Dial
    from needletrail_device.handpiece import Parts

DIAL_SDA = 4
DIAL_SCL = 5
TAGS_SDA = 6  # PN532 and INA219
TAGS_SCL = 7
HAPTIC = 14
TACHOMETER = 15
PIXEL = 16
BUTTON = 17
MOTOR = 18
CHARGING = 19
SKIN = 26  # ADC
BATTERY = 27  # ADC

_COUNTER, _BEAT = 0, 1  # state machines of PIO 0
_BEAT_HZ = 10_000
_BEAT_CYCLES = 3  # of a period, beside those that are counted
_EXCEPTION_BYTES = 100


@rp2.asm_pio()
def _count() -> None:
    """X goes down by one at each falling edge; PioCounter asks for it."""
    mov(x, null)
    label("next")
    wrap_target()
    wait(1, pin, 0)
    wait(0, pin, 0)
    jmp(x_dec, "next")
    wrap()


@rp2.asm_pio()
def _beat() -> None:
    """An interrupt in each period, whose length in cycles is given at the start."""
    pull()
    wrap_target()
    mov(x, osr)
    irq(rel(0))
    label("wait")
    jmp(x_dec, "wait")
    wrap()


def wlan() -> "Any":
    """The radio as a station, off."""
    return network.WLAN(network.STA_IF)


def start_timer(period_ms: int, tick: "Callable[[Any], None]") -> Beat:
    """Call `tick` every `period_ms`, in a hard interrupt."""
    alloc_emergency_exception_buf(_EXCEPTION_BYTES)
    machine = rp2.StateMachine(_BEAT, _beat, freq=_BEAT_HZ)
    machine.irq(tick, hard=True)
    cycles = period_ms * (_BEAT_HZ // 1000) - _BEAT_CYCLES
    machine.put(cycles)  # type: ignore[no-untyped-call]  # so it is in the stubs
    machine.active(1)
    return Beat(machine)


def dial() -> "Dial":
    """The dial, set up."""
    return wiring.set_up_dial(wiring.i2c(0, DIAL_SCL, DIAL_SDA, wiring.DIAL_TIMEOUT_US))


def parts(dial: "Dial") -> "Parts":
    """Everything, joined."""
    bus = wiring.i2c(1, TAGS_SCL, TAGS_SDA, wiring.TAGS_TIMEOUT_US)
    parts = wiring.begin(dial, I2cLink(bus), bus)
    machine = rp2.StateMachine(_COUNTER, _count, in_base=Pin(TACHOMETER, Pin.IN, Pin.PULL_UP))
    machine.active(1)
    parts.strokes = CounterTachometer(PioCounter(machine))
    parts.skin = AdcSkin(ADC(Pin(SKIN)))
    adc = UndisturbedAdc(ADC(Pin(BATTERY)), disable_irq, enable_irq)
    parts.battery = Battery(adc, wiring.BATTERY_RATIO_PERMILLE)
    wiring.add_hand(parts, PIXEL, HAPTIC, BUTTON, MOTOR)
    wiring.add_charger(parts, CHARGING)
    parts.start_timer = start_timer
    return parts
