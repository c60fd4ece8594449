"""What the pen shows: one table of signals, the most urgent first; README.md tells it to people.

Signals are begun by name with `show`, whenever there is something to say. One with a duration ends by
itself; the others stay until `clear`. The light shows the most urgent of those that are on. A buzz
is given when a signal begins; a less urgent one does not cut it short. Light and buzz start
within `show`, not at the next `tick`. A name that the table does not know is the code of an alert.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

ALERT = "alert"
# fmt: off
NAMES = (
    "breach", ALERT, "refused", "fault", "journal_full", "journal_warning", "low_battery", "offline",
    "charging", "armed", "ready",
)
# fmt: on
# Four digits for each: how long in s (0: until cleared), colour, blink, buzz. All of it is packed, for
# a pen holds it in its heap all the time. Light and buzz are steps, on and off, of 10 ms (steps).
_LOOKS = b"30015012303501030435041401240320013002340520"
_COLOURS = (  # red, yellow, green, blue, violet, white
    b"\x50\x00\x00\x50\x32\x00\x00\x3c\x00\x00\x00\x50\x3c\x00\x50\x1e\x1e\x1e"
)
_BLINKS = b"\x0a\x0a\x28\x28\x0a\xbe"  # fast, even, a flash every 2 s; none: steady
_BUZZES = (  # none, then: three long, two, three short, one short, one long
    b"\x1e\x0a\x1e\x0a\x1e\x14\x0f\x14\x00\x00\x0a\x0a\x0a\x00\x00\x0a\x00\x00\x00\x00\x50"
)
_RED = b"\x50\x00\x00"
_ALERT_ROW = 1
_NONE = 11


def look(row: int) -> "tuple[int, bytes, bytes, bytes]":
    """How a signal looks: for how many seconds, colour, blink, buzz."""
    hold, colour, blink, buzz = _LOOKS[row * 4 : row * 4 + 4]
    colour = (colour & 15) * 3
    blink = (blink & 15) * 2
    buzz = (buzz & 15) * 5
    buzzes = _BUZZES[buzz - 5 : buzz].rstrip(b"\x00") if buzz else b""
    return hold & 15, _COLOURS[colour : colour + 3], _BLINKS[blink : blink + 2], buzzes


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
        is_new = _LOOKS[row * 4] > 0x30 or not self._is_on[row]
        self._is_on[row] = True
        self._from_ms[row] = now_ms
        if is_new and (row < self._buzzing or not self._haptic.is_playing):
            buzz = look(row)[3]
            if buzz:
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
        """Go on with light and buzz; every 20 ms or so. Allocates nothing with PinLamp, as long as
        no other signal is to be seen."""
        for row in range(_NONE):
            hold_ms = (_LOOKS[row * 4] & 15) * 1000
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
            _, colour, blink, _ = look(lit)
            self._led.show(colour, blink, now_ms)
        else:
            self._led.stop()


def _row(name: str) -> int:
    return NAMES.index(name) if name in NAMES else _ALERT_ROW
