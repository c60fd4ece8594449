"""When a session opens and closes: one transition table, after h11's.

Strategy: whatever happens to the pen is first named as one of a few events; TRANSITIONS then says
what follows from it in each state. `Session` holds the state and what the tags said. Time is passed
in, and what follows is returned as values, so that the whole life of a pen can be tested as a table.

    CLOSED   no session; a cartridge may still be in the pen (idle close, or the pen was not armed)
    FRESH    a session that has not worked yet: another badge only replaces the practitioner
    WORKED   motor on and contact was seen: another badge begins the next session
    OFF      power is off, nothing follows any more

Not here: readings, counting, records and their numbers (recorder), what a tag means (gateway).
"""

from array import array

from needletrail_protocol import ndef
from needletrail_protocol.measure import MOTOR_HOLD_MS
from needletrail_protocol.messages import (
    CLOSED_BY_BADGE,
    CLOSED_BY_CARTRIDGE,
    CLOSED_BY_IDLE,
    CLOSED_BY_POWER_OFF,
    CLOSED_BY_REMOVAL,
    IDLE_CLOSE_MS,
    OPENED_BY_BADGE,
    OPENED_BY_CARTRIDGE,
    OPENED_BY_MOTOR,
)

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

CLOSED, FRESH, WORKED, OFF = 0, 1, 2, 3

CARTRIDGE = 0  # a cartridge arrived; during a session: another one than the session's
SAME_CARTRIDGE = 1  # the session's own tag was read again
REMOVAL = 2
BADGE = 3  # somebody else's badge
SAME_BADGE = 4
MOTOR = 5  # the motor started
WORK = 6  # a reading with motor on and contact
IDLE = 7  # the motor has been off for five minutes
POWER_OFF = 8
REFUSED = 9  # the session that was to open may not

_NONE = 7


# What follows from an event in a state, in one small integer; 0: it can not happen there. Packed,
# for a pen holds it in its heap.
TRANSITIONS = array("H", bytes(60))


def _put(state: int, event: int, after: int, close: int, opening: int, is_badge: bool) -> None:
    TRANSITIONS[state * 10 + event] = after | close << 2 | opening << 5 | is_badge << 8


# State, event: next state, close cause or _NONE, open cause or _NONE, record the badge.
_put(CLOSED, CARTRIDGE, FRESH, _NONE, OPENED_BY_CARTRIDGE, False)
_put(CLOSED, REMOVAL, CLOSED, _NONE, _NONE, False)
_put(CLOSED, BADGE, CLOSED, _NONE, _NONE, False)
_put(CLOSED, SAME_BADGE, CLOSED, _NONE, _NONE, False)
_put(CLOSED, MOTOR, FRESH, _NONE, OPENED_BY_MOTOR, False)
_put(CLOSED, POWER_OFF, OFF, _NONE, _NONE, False)
_put(FRESH, CARTRIDGE, FRESH, CLOSED_BY_CARTRIDGE, OPENED_BY_CARTRIDGE, False)
_put(FRESH, SAME_CARTRIDGE, FRESH, _NONE, _NONE, False)
_put(FRESH, REMOVAL, CLOSED, CLOSED_BY_REMOVAL, _NONE, False)
_put(FRESH, BADGE, FRESH, _NONE, _NONE, True)
_put(FRESH, SAME_BADGE, FRESH, _NONE, _NONE, False)
_put(FRESH, WORK, WORKED, _NONE, _NONE, False)
_put(FRESH, IDLE, CLOSED, CLOSED_BY_IDLE, _NONE, False)
_put(FRESH, POWER_OFF, OFF, CLOSED_BY_POWER_OFF, _NONE, False)
_put(FRESH, REFUSED, CLOSED, _NONE, _NONE, False)
_put(WORKED, CARTRIDGE, FRESH, CLOSED_BY_CARTRIDGE, OPENED_BY_CARTRIDGE, False)
_put(WORKED, SAME_CARTRIDGE, WORKED, _NONE, _NONE, False)
_put(WORKED, REMOVAL, CLOSED, CLOSED_BY_REMOVAL, _NONE, False)
_put(WORKED, BADGE, FRESH, CLOSED_BY_BADGE, OPENED_BY_BADGE, False)
_put(WORKED, SAME_BADGE, WORKED, _NONE, _NONE, False)
_put(WORKED, IDLE, CLOSED, CLOSED_BY_IDLE, _NONE, False)
_put(WORKED, POWER_OFF, OFF, CLOSED_BY_POWER_OFF, _NONE, False)


class Session:
    """State of the pen's session, its badge and cartridge (NDEF bytes as read, or None).

    The methods return (close cause or None, open cause or None, record the badge).
    """

    def __init__(self) -> None:
        self.state = CLOSED
        self.badge: "bytes | None" = None
        self.cartridge: "bytes | None" = None
        self.idle_from_ms = 0  # when the motor last turned, or the session opened
        self._stroke_ms = -1

    def is_open(self) -> bool:
        """True between open and close."""
        return CLOSED < self.state < OFF

    def happen(self, event: int, t_ms: int) -> "tuple[Any, Any, bool]":
        """Apply an event; ValueError if it cannot happen in this state."""
        row = TRANSITIONS[self.state * 10 + event] if self.state < OFF else 0
        if not row:
            raise ValueError("event %d in state %d" % (event, self.state))
        self.state = row & 3
        close, opening = row >> 2 & 7, row >> 5 & 7
        if opening != _NONE:
            self.idle_from_ms = t_ms
        return (
            None if close == _NONE else close,
            None if opening == _NONE else opening,
            row >> 8 == 1,
        )

    def cartridge_arrived(self, t_ms: int, tag: bytes) -> "tuple[Any, Any, bool]":
        """A cartridge's tag was read."""
        is_same = self.is_open() and tag == self.cartridge
        self.cartridge = tag
        return self.happen(SAME_CARTRIDGE if is_same else CARTRIDGE, t_ms)

    def cartridge_removed(self, t_ms: int) -> "tuple[Any, Any, bool]":
        """The cartridge's tag is gone."""
        outcome = self.happen(REMOVAL, t_ms)
        self.cartridge = None
        return outcome

    def badge_read(self, t_ms: int, tag: bytes) -> "tuple[Any, Any, bool]":
        """A badge was read; it stays in force until another one is."""
        if self.badge is not None and is_same_person(tag, self.badge):
            return self.happen(SAME_BADGE, t_ms)
        self.badge = tag
        return self.happen(BADGE, t_ms)

    def is_motor_start(self, t_ms: int, is_stroke: bool, is_contact: bool) -> bool:
        """True if this reading, before a session, is the motor's start.

        A motor that still runs out after a session's close is no start, unless it touches skin.
        """
        if not is_stroke:
            return False
        is_running = self._stroke_ms >= 0 and t_ms - self._stroke_ms <= MOTOR_HOLD_MS
        self._stroke_ms = t_ms
        return self.state == CLOSED and (is_contact or not is_running)

    def stroke(self, t_ms: int) -> None:
        """The motor turned during a session."""
        self._stroke_ms = self.idle_from_ms = t_ms

    def idle_close_ms(self, t_ms: int) -> int:
        """When an open session became five idle minutes old, if by `t_ms` it has; else -1."""
        if self.is_open() and t_ms - self.idle_from_ms >= IDLE_CLOSE_MS:
            return self.idle_from_ms + IDLE_CLOSE_MS
        return -1


def is_same_person(tag: bytes, other: bytes) -> bool:
    """True if two badges name the same practitioner; unreadable ones are compared by their bytes."""
    if tag == other:
        return True
    name = ndef.badge_id(tag)
    return name is not None and name == ndef.badge_id(other)
