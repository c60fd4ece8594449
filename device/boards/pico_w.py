"""Raspberry Pi Pico W: RP2040, 2 MB of flash. Pins, buses and calibration are in pico.py."""

from boards.pico import dial, parts, wlan
from boards.wiring import watchdog

__all__ = ("NAME", "dial", "parts", "watchdog", "wlan")

NAME = "pico_w"
