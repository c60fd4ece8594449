"""The guard: the local limit, checked where readings are taken, however busy the main task is.

Strategy: the recorder's own Contact and Meter once more, fed by the sampling timer, perhaps in a hard
interrupt: `step` allocates nothing and raises nothing, as long as times are below 2**30 ms. The main
task writes what it wants here by single assignments. Two callables, made beforehand, say when a breach
begins and ends. They may switch the haptic motor, the light, and at a hard limit the motor *off*; on
again is the recorder's business (arming.Interlock), which looks at `has_stopped`.

A Meter asks only whether strokes rose: any change of the counter counts as that, so that a counter that
begins anew does not blind the guard. Not here: records, and who may go how deep.
"""

from needletrail_device.contact import Contact
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Meter

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Callable


class Guard:
    """on_breach, on_over: called at the reading where a breach begins, and where it ends.

    Written by the main task: `over_counts`, `is_hard` (of the limit in force), `is_new` (a session
    begins: what went on before does not count), `has_stopped` (back to False).
    """

    def __init__(self, on_breach: "Callable[[], object]", on_over: "Callable[[], object]") -> None:
        self.over_counts = DIAL_MAX_COUNTS
        self.is_hard = self.is_new = self.is_breach = False
        self.has_stopped = False  # a breach of a hard limit has begun
        self._on_breach = on_breach
        self._on_over = on_over
        self._contact = Contact()
        self._meter = Meter([], 0, DIAL_MAX_COUNTS, False)
        self._strokes = -1
        self._turns = 0  # readings with a stroke

    def step(self, t_ms: int, counts: int, strokes: int, contact_adc: int) -> None:
        """One reading, in order of time."""
        if not 0 <= counts <= DIAL_MAX_COUNTS:
            return
        meter = self._meter
        if self.is_new:
            self.is_new = False
            meter.finish()
            meter.is_motor_on = False
        if strokes != self._strokes:
            if self._strokes >= 0:
                self._turns += 1
            self._strokes = strokes
        meter.over_counts = self.over_counts
        meter.step(t_ms, counts, self._turns, self._contact.step(t_ms, contact_adc))
        is_breach = meter.is_breach
        if is_breach != self.is_breach:
            self.is_breach = is_breach
            if not is_breach:
                self._on_over()
                return
            if self.is_hard:
                self.has_stopped = True
            self._on_breach()
