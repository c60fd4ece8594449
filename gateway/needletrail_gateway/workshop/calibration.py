"""From readings at the dial's marks to the pen's table, and later back: has the dial moved?

Strategy: at each mark the median of many readings counts, and only if they are steady. Through the
marks goes a table of straight pieces, which the firmware and the judge read alike. Beside it a straight
line is laid through all marks by the median of the slopes between them (Theil and Sen), so that one
mark that was set wrongly does not pull the line to itself and can be named. What no dial can be is
refused: counts that do not rise, a mark far off the line, a count coarser than the tolerance.

Pure: no pen, no file, no clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

from needletrail_gateway.core.registry.model import DEPTH_MAX_MM, um
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Calibration

MARKS_LEAST = 3
READINGS_LEAST = 15
UNSTEADY_COUNTS = 8  # 0.7 degrees of the ring; a ring at rest reads within 2 or 3 counts
OFF_LINE_UM = 200  # more than a pen's declared accuracy: not the dial's curve, but a wrong mark
_SPIKES = 20  # one reading in so many may be a spike, at either end

Table = Sequence[tuple[int, int]]


class CalibrationError(Exception):
    """No table can be made from this; the text is for the person at the bench."""


@dataclass(frozen=True)
class Mark:
    """The ring at rest at a mark: its depth, the median reading and how far the readings spread."""

    um: int
    counts: int
    spread_counts: int


@dataclass(frozen=True)
class Fit:
    """A table and how well it is founded. `residual_um`: each mark's distance from a straight line.

    `backlash_um` is None if the marks were approached from one side only.
    """

    points: list[tuple[int, int]]
    residual_um: list[int]
    rms_um: float
    backlash_um: int | None

    @property
    def largest_residual_um(self) -> int:
        """The greatest distance of a mark from the straight line, without its sign."""
        return max(abs(one) for one in self.residual_um)


def mm(depth_um: float) -> str:
    """Micrometres as people read them."""
    return f"{depth_um / 1000:.3f}".rstrip("0").ljust(4, "0") + " mm"


def settle(depth_um: int, readings: Sequence[int]) -> Mark:
    """The mark that these readings tell of; CalibrationError if the ring was not at rest.

    A reading below 0 is one that the sensor could not give. One reading in twenty may be a spike.
    """
    place = f"at {mm(depth_um)}"
    good = sorted(one for one in readings if 0 <= one <= DIAL_MAX_COUNTS)
    if len(good) < READINGS_LEAST:
        raise CalibrationError(
            f"{place} the sensor gave {len(good)} readings out of {len(readings)}; "
            f"{READINGS_LEAST} are needed. Look at the magnet's distance and the sensor's wires."
        )
    spikes = len(good) // _SPIKES
    spread = good[len(good) - 1 - spikes] - good[spikes]
    if spread > DIAL_MAX_COUNTS // 2:
        raise CalibrationError(
            f"{place} the readings jump between 0 and {DIAL_MAX_COUNTS}: the sensor's zero lies within "
            "the ring's travel. Turn the magnet, or set the board's zero_counts."
        )
    if spread > UNSTEADY_COUNTS:
        raise CalibrationError(
            f"{place} the readings spread over {spread} counts; {UNSTEADY_COUNTS} are allowed. "
            "Let go of the ring, keep the motor off, and measure again."
        )
    return Mark(depth_um, round(median(good)), spread)


def fit(marks: Iterable[Mark], tolerance_um: int) -> Fit:
    """The table through the marks, in any order; a mark that is there twice was approached twice.

    CalibrationError if the marks can not be those of a dial, or are less exact than `tolerance_um`,
    which is what the registry promises of a reading.
    """
    by_depth: dict[int, list[int]] = {}
    for mark in marks:
        by_depth.setdefault(mark.um, []).append(mark.counts)
    if len(by_depth) < MARKS_LEAST:
        raise CalibrationError(
            f"{len(by_depth)} marks are too few: with {MARKS_LEAST} or more it shows whether the dial "
            "is straight."
        )
    depths = sorted(by_depth)
    if depths[0] < 0 or depths[-1] > um(DEPTH_MAX_MM):
        raise CalibrationError(f"marks lie between 0 and {DEPTH_MAX_MM} mm.")
    points = [(round(sum(by_depth[one]) / len(by_depth[one])), one) for one in depths]
    _check_rising(points)
    slope, offset = _line(points)
    residual = [round(offset + slope * counts - depth) for counts, depth in points]
    _check_straight(points, residual)
    _check_fine(points, tolerance_um)
    backlash = None
    if all(len(counts) > 1 for counts in by_depth.values()):
        backlash = _backlash(points, by_depth, tolerance_um)
    if Calibration(points).depth_um(DIAL_MAX_COUNTS) > um(DEPTH_MAX_MM):
        raise CalibrationError(
            f"after the last mark the table would go on to more than {DEPTH_MAX_MM} mm. "
            "Were the last two marks set rightly?"
        )
    rms = (sum(one * one for one in residual) / len(residual)) ** 0.5
    return Fit(points, residual, rms, backlash)


def reading_um(points: Table, counts: float) -> float:
    """What a table says of a reading. Unlike the pen's depth it goes on below 0, so drift shows."""
    index = 1
    while index < len(points) - 1 and counts > points[index][0]:
        index += 1
    (low_counts, low_um), (high_counts, high_um) = points[index - 1], points[index]
    return low_um + (counts - low_counts) * (high_um - low_um) / (high_counts - low_counts)


def drift_um(points: Table, mark: Mark) -> int:
    """By how much the table reads too deep at a mark (too shallow: below 0)."""
    return round(reading_um(points, mark.counts) - mark.um)


def beyond_um(points: Table, counts: int) -> int:
    """How far a reading lies beyond the table's ends; 0 within. Below the first mark it is negative.

    The first and last marks are the ring's stops: a reading beyond them is one that the ring can not
    give unless sensor or magnet have moved.
    """
    if points[0][0] <= counts <= points[-1][0]:
        return 0
    end_um = points[0][1] if counts < points[0][0] else points[-1][1]
    return round(reading_um(points, counts) - end_um)


def default_marks_um(points: Table | None) -> list[int]:
    """The marks to ask for: those of the table that the pen has, else every 0.5 mm up to 2.5 mm."""
    if points is not None and len(points) >= MARKS_LEAST:
        return [depth for _, depth in points]
    return list(range(0, 2501, 500))


def _check_rising(points: Table) -> None:
    pairs = list(pairwise(points))
    if all(after <= before for (before, _), (after, _) in pairs):
        raise CalibrationError(
            "the counts fall as the depth rises: the dial runs the wrong way. "
            "Connect the sensor's DIR pin to the other level, then measure again."
        )
    for (before, shallow), (after, deep) in pairs:
        if after <= before:
            raise CalibrationError(
                f"{mm(deep)} reads {after} counts and {mm(shallow)} reads {before}: counts must rise "
                "with depth. Were these marks set in the order asked for?"
            )


def _line(points: Table) -> tuple[float, float]:
    """(micrometres a count, micrometres at 0 counts)."""
    slope = median(
        (deep - shallow) / (after - before)
        for (before, shallow), (after, deep) in combinations(points, 2)
    )
    return slope, median(depth - slope * counts for counts, depth in points)


def _check_straight(points: Table, residual: Sequence[int]) -> None:
    off = max(range(len(points)), key=lambda index: abs(residual[index]))
    if abs(residual[off]) > OFF_LINE_UM:
        raise CalibrationError(
            f"the mark {mm(points[off][1])} lies {mm(abs(residual[off]))} off the straight line "
            f"through the others ({mm(OFF_LINE_UM)} are allowed). Was the ring at another mark?"
        )


def _check_fine(points: Table, tolerance_um: int) -> None:
    for (before, shallow), (after, deep) in pairwise(points):
        step_um = (deep - shallow) / (after - before)
        if step_um > tolerance_um:
            raise CalibrationError(
                f"between {mm(shallow)} and {mm(deep)} one count is {mm(step_um)}, more than the "
                f"reading tolerance of {mm(tolerance_um)}. Let the magnet turn further for a depth."
            )


def _backlash(points: Table, by_depth: dict[int, list[int]], tolerance_um: int) -> int:
    """The greatest difference between approaches to one mark, in micrometres."""
    found, place = max(
        (reading_um(points, max(counts)) - reading_um(points, min(counts)), depth)
        for depth, counts in by_depth.items()
    )
    if found / 2 > tolerance_um:
        raise CalibrationError(
            f"at {mm(place)} the two approaches differ by {mm(found)}: half of that is more than the "
            f"reading tolerance of {mm(tolerance_um)}. Take the play out of the ring, or declare a "
            "larger reading_tolerance_mm in the registry."
        )
    return round(found)
