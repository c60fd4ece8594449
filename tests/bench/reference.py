"""What the shared definitions make of a tape: needletrail_protocol.measure on the simplest host.

The session's borders and the contact sensor's debouncing are the pen's work; here they are written
once more, as plainly as the definitions say them, so that the definitions can be checked against
truths without any firmware.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from needletrail_gateway.bench.tapes import Tape
from needletrail_protocol.measure import Calibration, Meter

CONTACT_ON_ADC = 2200
CONTACT_OFF_ADC = 1800
CONTACT_HOLD_MS = 60


@dataclass(frozen=True)
class Measured:
    """Figures counted from readings, named as in the truth."""

    samples: int
    session_ms: int
    strokes: int
    passes: list[tuple[int, int]]
    breaches: list[tuple[int, int]]
    peak_um: int | None
    breach_ms: int


class Contact:
    """Skin contact: on from 2200, off to 1800, either held for 60 ms."""

    def __init__(self) -> None:
        self.is_on = False
        self._since_ms = -1

    def step(self, t_ms: int, adc: int) -> bool:
        is_opposite = adc <= CONTACT_OFF_ADC if self.is_on else adc >= CONTACT_ON_ADC
        if not is_opposite:
            self._since_ms = -1
        elif self._since_ms < 0:
            self._since_ms = t_ms
        elif t_ms - self._since_ms >= CONTACT_HOLD_MS:
            self.is_on = not self.is_on
            self._since_ms = -1
        return self.is_on


def measure(tape: Tape, points: Sequence[tuple[int, int]], over_um: int) -> Measured:
    calibration = Calibration(list(points))
    first, last = session_rows(tape)
    strokes_before = tape.rows[first - 1].strokes if first else tape.rows[0].strokes
    lead = [row.dial_counts for row in tape.rows[max(0, first - 4) : first]]
    meter = Meter(lead, strokes_before, calibration.highest_counts(over_um), True)
    contact = Contact()
    for index, row in enumerate(tape.rows[: last + 1]):
        is_contact = contact.step(row.t_ms, row.contact_adc)
        if index >= first:
            meter.step(row.t_ms, row.dial_counts, row.strokes, is_contact)
    meter.finish()
    return Measured(
        samples=meter.samples,
        session_ms=tape.rows[last].t_ms - tape.rows[first].t_ms,
        strokes=meter.strokes - strokes_before,
        passes=meter.passes.spans or [],
        breaches=meter.breaches.spans or [],
        peak_um=calibration.depth_um(meter.peak_counts) if meter.has_worked() else None,
        breach_ms=meter.breach_ms(),
    )


def session_rows(tape: Tape) -> tuple[int, int]:
    """Indices of a session's first and last row. A bench tape holds one session."""
    first = motor = None
    last = len(tape.rows) - 1
    for index, row in enumerate(tape.rows):
        if motor is None and index and row.strokes > tape.rows[index - 1].strokes:
            motor = index
        if row.event is not None and row.event.kind == "cartridge":
            first = index
        if row.event is not None and row.event.kind == "removed":
            last = index
    if first is None:
        first = motor
    assert first is not None, "neither a cartridge nor the motor: no session"
    return first, last
