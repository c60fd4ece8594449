"""Raspberry Pi Pico 2 W: RP2350, 4 MB of flash. Pins, buses and calibration are in pico.py."""

from boards.pico import dial, parts, wlan
from boards.wiring import watchdog

__all__ = ("NAME", "dial", "parts", "watchdog", "wlan")

NAME = "pico_2_w"
