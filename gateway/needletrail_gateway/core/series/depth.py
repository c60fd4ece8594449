"""The readings of one session as lines: each of them, and those of each second together.

This is the path that everything a pen records must take, so no object is made for a reading. A line is
a piece that is the same for each reading with that dial and contact (made once, and kept), the strokes,
and the time. The work in a second comes from the judge's own `Meter`, which is given the readings in
slices: from one second's first reading to that of the next, for a reading holds until the next one. A
second has what the meter's totals rose by, so the seconds of a session add up to its verdict.

A second is told when it is over: by the next reading, or by `finish`. So whatever has been told of one
is all there is. The limit is that of the whole session, as the judge holds it: the row's. If a badge
changes it, the session's seconds are counted again from the start, as the judge does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from needletrail_gateway.core.registry.model import Pen, um
from needletrail_gateway.core.series.point import Name, has_place, head, written
from needletrail_gateway.core.series.schema import DEPTH, DEPTH_1S
from needletrail_gateway.core.statement import mm
from needletrail_gateway.core.treatment import utc
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Calibration, Meter
from needletrail_protocol.readings import Readings
from needletrail_protocol.tables import Message

SECOND_MS = 1_000
DAY_MS = 86_400_000
_IN_CONTACT = DIAL_MAX_COUNTS + 1  # added to a dial reading, it says: with skin contact
_NO_SECOND = -1
_ABOVE_ALL_UM = 1 << 30


class Trace:
    """One session's readings, given in their order; lines with times in nanoseconds.

    clinic: its id. pen: as the registry had it at the session. row: the ledger's row of the session.
    opened: its first record. A session without a place in time (no clock) gives nothing.
    """

    def __init__(self, clinic: str, pen: Pen, row: Mapping[str, Any], opened: Message) -> None:
        session_id: str = row["session_id"]
        name = Name.of(session_id)
        tags = (("clinic", clinic), ("pen", name.pen), *name.turn())
        limit_um: int = row["limit_um"]
        calibration = pen.counts_to_depth()
        over_counts = calibration.highest_counts(limit_um + um(pen.reading_tolerance_mm))
        started_utc_ms: int | None = row["started_utc_ms"]
        self._boot_utc_ms = None if started_utc_ms is None else started_utc_ms - opened.t_ms
        self._meter = Meter(opened.lead, opened.strokes, over_counts, False)
        self._depth_um = _Depths(calibration)
        self._pieces = _Pieces(head(DEPTH.name, tags), self._depth_um, session_id)
        self._digits = f"{name.digits():06d}"
        self._second_head = head(DEPTH_1S.name, tags)
        self._second_end = f"limit_mm={mm(limit_um)},session={written(session_id)}"
        self._told_work_ms = self._told_over_ms = 0
        self._strokes = self._told_strokes = opened.strokes
        self._begin(_NO_SECOND)

    def _begin(self, begins_ms: int) -> None:
        self._begins_ms = begins_ms
        self._samples = self._contact_samples = self._total_um = self._highest_um = 0
        self._lowest_um = _ABOVE_ALL_UM

    def read(self, readings: Readings) -> tuple[list[str], list[str]]:
        """The next readings: their lines, and those of the seconds that are over now."""
        boot_utc_ms = self._placed(readings)
        if boot_utc_ms is None:
            return [], []
        seconds = self._count(readings, boot_utc_ms)
        pieces, digits = self._pieces, self._digits
        lines = [
            f"{pieces[dial + _IN_CONTACT if contact else dial]}{strokes}i {boot_utc_ms + t_ms}{digits}"
            for dial, contact, strokes, t_ms in zip(
                readings.dial, readings.contact, readings.strokes, readings.t_ms, strict=True
            )
        ]
        return lines, seconds

    def count(self, readings: Readings) -> list[str]:
        """The same without the lines of the readings."""
        boot_utc_ms = self._placed(readings)
        return [] if boot_utc_ms is None else self._count(readings, boot_utc_ms)

    def finish(self) -> list[str]:
        """The second that is not over yet, if there is one: the session is over."""
        return [self._second()] if self._samples else []

    def _placed(self, readings: Readings) -> int | None:
        """UTC at t_ms = 0, if these readings have a place in time."""
        boot_utc_ms = self._boot_utc_ms
        if boot_utc_ms is None:
            return None
        times_ms: list[int] = readings.t_ms
        is_placed = has_place(boot_utc_ms + times_ms[0]) and has_place(boot_utc_ms + times_ms[-1])
        return boot_utc_ms if is_placed else None

    def _count(self, readings: Readings, boot_utc_ms: int) -> list[str]:
        times_ms = readings.t_ms
        count = len(times_ms)
        found: list[str] = []
        first = metered = 0
        while first < count:
            begins_ms = (boot_utc_ms + times_ms[first]) // SECOND_MS * SECOND_MS
            if begins_ms != self._begins_ms:
                if self._samples:
                    self._step(readings, metered, first + 1)
                    metered = first + 1
                    found.append(self._second())
                self._begin(begins_ms)
            ends_ms = begins_ms + SECOND_MS - boot_utc_ms
            last = count
            if times_ms[-1] >= ends_ms:
                last = first + 1
                while times_ms[last] < ends_ms:
                    last += 1
            self._add(readings, first, last)
            first = last
        self._step(readings, metered, count)
        return found

    def _step(self, readings: Readings, first: int, last: int) -> None:
        if first < last:
            part = slice(first, last)
            self._meter.steps(
                readings.t_ms[part],
                readings.dial[part],
                readings.strokes[part],
                readings.contact[part],
                last - first,
            )

    def _add(self, readings: Readings, first: int, last: int) -> None:
        """Readings that are in the present second."""
        dial = readings.dial[first:last]
        lowest, highest = min(dial), max(dial)
        depth_um = self._depth_um
        # Depth rises with the dial: of the lowest reading it is the lowest.
        self._lowest_um = min(self._lowest_um, depth_um[lowest])
        self._highest_um = max(self._highest_um, depth_um[highest])
        if lowest == highest:
            self._total_um += depth_um[lowest] * (last - first)
        else:
            self._total_um += sum([depth_um[counts] for counts in dial])
        self._samples += last - first
        self._contact_samples += readings.contact[first:last].count(True)
        self._strokes = max(self._strokes, readings.strokes[last - 1])

    def _second(self) -> str:
        """The line of the present second; its readings have been metered, and the one after them."""
        meter, samples = self._meter, self._samples
        work_ms = meter.work.total_ms + meter.work.open_ms(meter.t_ms)
        over_ms = meter.over.total_ms + meter.over.open_ms(meter.t_ms)
        text = (
            f"{self._second_head} lowest_mm={self._lowest_um / 1000}"
            f",mean_mm={round(self._total_um / samples) / 1000},highest_mm={self._highest_um / 1000}"
            f",strokes={self._strokes - self._told_strokes}i,samples={samples}i"
            f",contact_samples={self._contact_samples}i,work_ms={work_ms - self._told_work_ms}i"
            f",over_limit_ms={over_ms - self._told_over_ms}i,{self._second_end}"
            f" {self._begins_ms}{self._digits}"
        )
        self._told_work_ms, self._told_over_ms = work_ms, over_ms
        self._told_strokes = self._strokes
        return text


class _Depths(dict[int, int]):
    """Micrometres of dial readings, each calculated once."""

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self._calibration = calibration

    def __missing__(self, counts: int) -> int:
        depth_um = self[counts] = self._calibration.depth_um(counts)
        return depth_um


class _Pieces(dict[int, str]):
    """Lines of readings up to the number of strokes, by dial reading and contact."""

    def __init__(self, series: str, depth_um: _Depths, session_id: str) -> None:
        super().__init__()
        self._series = series
        self._depth_um = depth_um
        self._session = written(session_id)

    def __missing__(self, key: int) -> str:
        contact, counts = divmod(key, _IN_CONTACT)
        piece = self[key] = (
            f"{self._series} contact={written(contact > 0)},depth_mm={self._depth_um[counts] / 1000}"
            f",session={self._session},strokes="
        )
        return piece


def count_readings(boot_utc_ms: int | None, times_ms: Sequence[int]) -> Counter[tuple[str, date]]:
    """How many points a whole session's readings and seconds are: by measurement and UTC day.

    Two readings at the same time are one point, as InfluxDB has it. No lines are made for this.

    boot_utc_ms: the row's started_utc_ms less the t_ms of its first record; None: nobody knows when it
    was, and there are none. times_ms: of all its readings.
    """
    if boot_utc_ms is None:
        return Counter()
    placed = {boot_utc_ms + t_ms for t_ms in times_ms if has_place(boot_utc_ms + t_ms)}
    days = Counter([utc_ms // DAY_MS for utc_ms in placed])
    seconds = {utc_ms // SECOND_MS for utc_ms in placed}
    second_days = Counter(second * SECOND_MS // DAY_MS for second in seconds)
    found: Counter[tuple[str, date]] = Counter()
    for measurement, counts in ((DEPTH.name, days), (DEPTH_1S.name, second_days)):
        for day, count in counts.items():
            found[measurement, utc(day * DAY_MS).date()] = count
    return found
