"""The button: debounced; a short press counts when it ends, a long one as soon as it is long.

A level counts after it has been the same for 30 ms. A button that is down at power-on is no press
until it was up once: a key that hangs, or a hand that holds the pen, starts nothing.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

NOTHING, SHORT, LONG = 0, 1, 2
DEBOUNCE_MS = 30
LONG_MS = 1000


class Button:
    """pin: a Pin with a pull-up. pressed: its value while the button is down."""

    def __init__(self, pin: "Any", pressed: int = 0) -> None:
        self._pin = pin
        self._pressed = pressed
        self._level = pressed  # what was seen last
        self._level_ms = -1  # since when
        self._is_down = True  # what is believed
        self._down_ms = 0
        self._is_told = True  # this press gave its result, or gives none

    def step(self, t_ms: int) -> int:
        """SHORT or LONG once for each press, else NOTHING. Call it every 10 ms or so."""
        level = self._pin.value()
        if level != self._level or self._level_ms < 0:
            self._level = level
            self._level_ms = t_ms
            return NOTHING
        if t_ms - self._level_ms < DEBOUNCE_MS:
            return NOTHING
        is_down = level == self._pressed
        if is_down and not self._is_down:
            self._is_down = True
            self._is_told = False
            self._down_ms = self._level_ms
        elif not is_down and self._is_down:
            self._is_down = False
            if not self._is_told:
                return SHORT
        if is_down and not self._is_told and t_ms - self._down_ms >= LONG_MS:
            self._is_told = True
            return LONG
        return NOTHING
