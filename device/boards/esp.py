"""What ESP32-S3 and ESP32-C3 share: Wi-Fi, soft timers and soft interrupts, calibrated ADC readings.

MicroPython's ESP32 port has no hard interrupts in Python, neither for timers nor for pins: the chip's
interrupt only queues the call, at most eight of them, and it runs between two bytecodes of the main
task (in 1.25: ports/esp32/machine_timer.c and machine_pin.c, py/scheduler.c). So a reading waits while
the main task is within one long call of C: an erase of flash, a step of a TLS handshake, a garbage
collection. It bears the time at which it was taken. In return, what the timer calls may use a bus that
the main task uses, too: no transfer is ever interrupted by another. docs/explanation/sampling.md has
the consequences.
"""

import time

import network
from machine import ADC, Pin, Timer

from needletrail_device.drivers.tachometer import PinTachometer

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

_TIMER = 0


def wlan() -> network.WLAN:
    """The radio as a station, off."""
    return network.WLAN(network.STA_IF)


def start_timer(period_ms: int, tick: "Callable[[Any], None]") -> Timer:
    """Call `tick` every `period_ms`, between two bytecodes."""
    timer = Timer(_TIMER)
    timer.init(mode=Timer.PERIODIC, period=period_ms, callback=tick)
    return timer


def adc(pin: int) -> ADC:
    """An input for the whole range up to 3.1 V. Only ADC1 works beside Wi-Fi."""
    adc = ADC(Pin(pin))
    adc.atten(ADC.ATTN_11DB)
    return adc


def count_by_interrupt(pin: Pin) -> PinTachometer:
    """Falling edges by soft interrupts, which see when they run, not when the edge was."""
    strokes = PinTachometer(time.ticks_us, 0)
    pin.irq(strokes.edge, Pin.IRQ_FALLING)
    return strokes
