"""What the pen shows: one table of signals, the most urgent first; README.md tells it to people.

Signals are begun by name with `show`, whenever there is something to say. One with a duration ends by
itself; the others stay until `clear`. The light shows the most urgent of those that are on. A buzz
is given when a signal begins; a less urgent one does not cut it short. Light and buzz start
within `show`, not at the next `tick`. A name that the table does not know is the code of an alert.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

_RED, _YELLOW, _GREEN = (80, 0, 0), (80, 50, 0), (0, 60, 0)
_BLUE, _VIOLET, _WHITE = (0, 0, 80), (60, 0, 80), (30, 30, 30)
_FAST, _EVEN, _SELDOM, _STEADY = (100, 100), (400, 400), (100, 1900), ()

ALERT = "alert"
# name, how long in ms (0: until cleared), colour, light on and off in ms, buzz on and off in ms
TABLE = (
    ("breach", 3000, _RED, _FAST, (300, 100, 300, 100, 300)),
    (ALERT, 5000, _RED, _EVEN, (200, 150, 200)),
    ("refused", 3000, _RED, _STEADY, (800,)),
    ("fault", 0, _YELLOW, _FAST, (100, 100, 100)),
    ("journal_full", 0, _VIOLET, _STEADY, (800,)),
    ("journal_warning", 0, _VIOLET, _EVEN, (100,)),
    ("low_battery", 0, _YELLOW, _SELDOM, (100,)),
    ("offline", 0, _BLUE, _SELDOM, ()),
    ("charging", 0, _YELLOW, _STEADY, ()),
    ("armed", 0, _GREEN, _STEADY, (100,)),
    ("ready", 0, _WHITE, _SELDOM, ()),
)
_ALERT_ROW = 1
_NONE = len(TABLE)


class Signals:
    """led: led.Led. haptic: haptic.Haptic."""

    def __init__(self, led: "Any", haptic: "Any") -> None:
        self._led = led
        self._haptic = haptic
        self._is_on = [False] * _NONE
        self._from_ms = [0] * _NONE
        self._lit = _NONE  # the row that the light shows
        self._buzzing = _NONE  # the row that buzzed last

    def show(self, name: str, now_ms: int) -> None:
        """Begin this signal, or begin it anew; one that stays until cleared buzzes only once."""
        row = _row(name)
        hold_ms, buzz = TABLE[row][1], TABLE[row][4]
        is_new = hold_ms or not self._is_on[row]
        self._is_on[row] = True
        self._from_ms[row] = now_ms
        if buzz and is_new and (row < self._buzzing or not self._haptic.is_playing):
            self._buzzing = row
            self._haptic.play(buzz, now_ms)
        self._light(now_ms)

    def alarm(self) -> None:
        """From an interrupt: red and buzzing at once. `show` what it is soon afterwards.

        Touches nothing that `show` and `tick` go by, so it may come in the middle of them.
        """
        self._led.force(_RED)
        self._haptic.force()

    def clear(self, name: str, now_ms: int) -> None:
        """End this signal."""
        self._is_on[_row(name)] = False
        self._light(now_ms)

    def tick(self, now_ms: int) -> None:
        """Go on with light and buzz; every 20 ms or so. Allocates nothing with PinLamp."""
        for row in range(_NONE):
            hold_ms = TABLE[row][1]
            if hold_ms and self._is_on[row] and now_ms - self._from_ms[row] >= hold_ms:
                self._is_on[row] = False
        self._light(now_ms)
        self._led.tick(now_ms)
        self._haptic.tick(now_ms)

    def _light(self, now_ms: int) -> None:
        lit = 0
        while lit < _NONE and not self._is_on[lit]:
            lit += 1
        if lit == self._lit:
            return
        self._lit = lit
        if lit < _NONE:
            self._led.show(TABLE[lit][2], TABLE[lit][3], now_ms)
        else:
            self._led.stop()


def _row(name: str) -> int:
    for row in range(_NONE):
        if TABLE[row][0] == name:
            return row
    return _ALERT_ROW
