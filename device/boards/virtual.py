"""The virtual board: a tape instead of sensors, tags and a clock.

Strategy: the tape is read line by line as its time comes, so that memory does not grow with it. Its
`t_ms` is the board's clock and its `# start` the UTC of t_ms = 0. `speed` is in times of real time;
0 is as fast as the firmware can. Whatever a sensor could not have said is an InputError with its
line. The end of the tape is the end of power. Sleeping and the clock are passed in.
"""

from binascii import unhexlify

from boards import tape_head
from needletrail_device.inputs import InputError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

NAME = "virtual"
BADGE, CARTRIDGE, REMOVED = "badge", "cartridge", "removed"
GRANT_GRACE_MS = 2000  # a grant in flash will do if none comes within this time of the first ack
POLL_S = 0.01
_ROWS_A_TURN = 25  # read this many before others get their turn
_SENSOR_MAX = 4095
_STROKES_MAX = 0xFFFFFFFF
_T_MAX_MS = (1 << 40) - 1
_TAG_MAX_BYTES = 888


class Board:
    """A tape that plays. After `next`: t_ms, counts, strokes, contact_adc, and take_event."""

    is_reading = True
    faults = ()
    guard = None
    vitals = None

    def __init__(
        self,
        path: str,
        speed: float,
        now_ms: "Callable[[], int]",
        sleep_s: "Callable[[float], Any]",
        tell: "Callable[..., None]",
    ) -> None:
        """Open the tape and read its head; InputError if it is none."""
        self.name = NAME
        self.t_ms = -1
        self.counts = self.strokes = self.contact_adc = 0
        self._row = (-1, 0, 0, 0)  # as read last: t_ms, counts, strokes, contact_adc
        self._event: "tuple[str, bytes] | None" = None
        self._path = path
        self._speed = speed
        self._now_ms = now_ms
        self._sleep_s = sleep_s
        self._tell = tell
        self._line = 0
        self._rows = 0
        self._begin_ms = 0
        self._file: "Any" = None
        try:
            self._file = open(path)  # noqa: SIM115
        except OSError:
            pass
        if self._file is None:
            raise InputError(path, 0, "cannot be read")
        self.period_ms, self.utc_ms = tape_head.read(self._read_line, self._refusal)

    async def wait_ready(self, longest_s: float, uplink: "Any", limits: "Any") -> None:
        """A tape is played when the gateway has answered, so that speed changes nothing."""
        until_ms = self._now_ms() + int(longest_s * 1000)
        ready_ms = -1
        while self._now_ms() < until_ms:
            if not uplink.is_ready:
                ready_ms = -1
            elif uplink.is_grant_heard:
                return
            elif ready_ms < 0:
                ready_ms = self._now_ms()
            elif limits.issued_utc_ms is not None and self._now_ms() - ready_ms >= GRANT_GRACE_MS:
                return
            await self._sleep_s(POLL_S)
        self._tell("offline")

    async def next(self) -> bool:
        """Wait for the next reading. False: power is off."""
        if not self._read_row():
            return False
        self.t_ms, self.counts, self.strokes, self.contact_adc = self._row
        self._rows += 1
        if self._speed:
            await self._pace()
        elif self._rows % _ROWS_A_TURN == 0:
            await self._sleep_s(0)
        return True

    def _read_row(self) -> bool:
        """The tape's next row into _row, and its event. False at the end."""
        line = self._read_line()
        if line is None:
            self._file.close()
            return False
        before_ms, _, before_strokes, _ = self._row
        parts = line.split(",")
        if len(parts) != 5:
            raise self._refusal("%d fields where there should be 5" % len(parts))
        row = (-1, 0, 0, 0)
        try:
            row = (int(parts[0]), int(parts[1]), int(parts[2]), int(parts[3]))
        except ValueError:
            pass
        t_ms, counts, strokes, contact_adc = row
        if t_ms < 0:
            raise self._refusal("a reading that is not a whole number")
        if not before_ms < t_ms <= _T_MAX_MS:
            raise self._refusal("t_ms does not rise")
        if not before_strokes <= strokes <= _STROKES_MAX:
            raise self._refusal("strokes run backwards")
        if not 0 <= counts <= _SENSOR_MAX or not 0 <= contact_adc <= _SENSOR_MAX:
            raise self._refusal("a reading beyond 12 bits")
        self._row = row
        if parts[4]:
            self._event = self._parse_event(parts[4])
        return True

    def take_event(self) -> "tuple[str, bytes] | None":
        """(BADGE or CARTRIDGE, NDEF message) or (REMOVED, b"") of this reading's row, then None."""
        event = self._event
        self._event = None
        return event

    def start(self) -> None:
        """The tape plays as it is read."""

    def stop(self) -> None:
        """The tape is over."""

    def set_motor(self, is_on: bool) -> None:
        """The interlock: may the motor turn?"""
        self._tell("motor", ("is_on", is_on))

    def show(self, what: str) -> None:
        """Buzz and light: "breach" or an alert's code."""
        self._tell("shown", ("what", what))

    async def _pace(self) -> None:
        if self._rows == 1:
            self._begin_ms = self._now_ms() - int(self.t_ms / self._speed)
        ahead_ms = self._begin_ms + int(self.t_ms / self._speed) - self._now_ms()
        if ahead_ms > 0:
            await self._sleep_s(ahead_ms / 1000)
        elif self._rows % _ROWS_A_TURN == 0:
            await self._sleep_s(0)

    def _parse_event(self, text: str) -> "tuple[str, bytes]":
        if text == "removed:cartridge":
            return REMOVED, b""
        name, _, data = text.partition(":")
        if name not in (BADGE, CARTRIDGE):
            raise self._refusal("an unknown event")
        tag = None
        try:
            tag = unhexlify(data)
        except ValueError:
            pass
        if tag is None:
            raise self._refusal("a tag that is not hexadecimal")
        if len(tag) > _TAG_MAX_BYTES:
            raise self._refusal("a tag of more than %d bytes" % _TAG_MAX_BYTES)
        return name, tag

    def _read_line(self) -> "str | None":
        """The next line, or None at the end of the tape."""
        self._line += 1
        line = "?"
        try:
            line = self._file.readline()
        except UnicodeError:  # and so it is no line of a tape
            pass
        return line.rstrip("\r\n") if line else None

    def _refusal(self, cause: str) -> InputError:
        return InputError(self._path, self._line, cause)
