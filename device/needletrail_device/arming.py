"""Being armed: whether a session may begin, whether the motor may turn, and which parts have failed.

Strategy: small parts without a clock or I/O of their own, which the recorder feeds. `concern` says what
grant and badge have against a session; what the clinic wants then is in the grant's rules and in
pen.json. The recorder asks only where a session may begin, so nothing that changes later (a grant that
expires, a journal that fills) ends a session that runs.

`Interlock` holds the motor's permission. A breach of a hard limit takes it away within its reading.
A breach stays what it is everywhere: 200 ms on end beyond limit and tolerance (protocol/README.md). A
motor that stopped at the first median beyond would stop at noise, for what pen and gateway then agree
was no breach. It is given back when the setting (median) has been within for 200 ms on end, as long as
it took to lose it: so noise around the limit does not make the motor stutter. No session's end and no
badge gives it back earlier. Time without a reading is not time within.

`Faults` keeps a flapping sensor from filling the journal: a fault is told at once; that it is over, or
has become another one, once that has held for a second. Not here: records, lights, the limit itself.
"""

from needletrail_protocol.conversation import REFUSE_EXPIRED, REFUSE_UNKNOWN
from needletrail_protocol.measure import BREACH_LEAST_MS, READING_HOLD_MS

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

SETTLED_MS = 1000


def concern(limits: "Any", utc_ms: "int | None", is_strict: bool, is_refused: bool) -> str:
    """What is wrong with grant and badge, "" if nothing: a reason to refuse, or else one to warn.

    is_strict: without a grant nobody may begin.
    """
    if limits.issued_utc_ms is None:
        return "no_grant" if is_strict == is_refused else ""
    rules = limits.rules
    if limits.is_expired(utc_ms) and (rules & REFUSE_EXPIRED != 0) == is_refused:
        return "grant_expired"
    if not limits.is_listed(utc_ms) and (rules & REFUSE_UNKNOWN != 0) == is_refused:
        return "badge_unknown"
    return ""


class Interlock:
    """set_motor: called with True or False when the permission changes; None on a board without."""

    def __init__(self, set_motor: "Callable[[bool], Any] | None") -> None:
        self._set_motor = set_motor
        self._is_allowed = False  # but for a stop
        self._is_on: "bool | None" = None
        self.is_stopped = False
        self._over_ms = 0  # when the setting was last beyond the limit, or not known
        self._t_ms = 0

    def allow(self, is_allowed: bool) -> None:
        """Whether the motor may turn, as far as arming goes."""
        self._is_allowed = is_allowed
        is_on = is_allowed and not self.is_stopped
        if is_on != self._is_on and self._set_motor is not None:
            self._is_on = is_on
            self._set_motor(is_on)

    def stop(self, t_ms: int) -> None:
        """A hard limit was broken, or can not be checked."""
        if self._set_motor is not None:
            self.is_stopped = True
            self._over_ms = self._t_ms = t_ms
            self.allow(self._is_allowed)

    def step(self, t_ms: int, is_over: bool) -> None:
        """A reading while the motor is stopped. Allocates nothing."""
        if is_over or t_ms - self._t_ms > READING_HOLD_MS:
            self._over_ms = t_ms
        self._t_ms = t_ms
        if t_ms - self._over_ms >= BREACH_LEAST_MS:
            self.is_stopped = False
            self.allow(self._is_allowed)


class Faults:
    """tell: called with t_ms, part, fault, and whether it is over."""

    def __init__(self, tell: "Callable[[int, str, str, bool], None]") -> None:
        self._tell = tell
        self._rows: "list[list[Any]]" = []  # part, fault told, fault now, since when

    def step(self, t_ms: int, part: str, fault: "str | None") -> None:
        """This part has this fault now, or none. Allocates nothing for a part that is well."""
        row = None
        for one in self._rows:
            if one[0] == part:
                row = one
        if row is None:
            if fault is None:
                return
            row = [part, None, None, t_ms]
            self._rows.append(row)
        if fault != row[2]:
            row[2] = fault
            row[3] = t_ms
        self._settle(row, t_ms)

    def settle(self, t_ms: int) -> None:
        """Time goes on."""
        for row in self._rows:
            self._settle(row, t_ms)

    def has(self, part: "str | None" = None) -> bool:
        """True if this part, or any, has a fault that was told and is not over."""
        for row in self._rows:
            if row[1] is not None and part in (None, row[0]):
                return True
        return False

    def _settle(self, row: "list[Any]", t_ms: int) -> None:
        part, told, fault, since_ms = row
        if fault != told and (told is None or t_ms - since_ms >= SETTLED_MS):
            row[1] = fault
            self._tell(t_ms, part, fault or told, fault is None)
