"""The definitions of protocol/measure for a whole session at once: `Meter`, as arrays.

What does not depend on the limit (motor, work, medians, passes, peak, holes) is `Work`, and is counted
once for a session; the rest is asked of it for each limit. Stretches of time are found as the places
where a flag changes, so that nothing is done reading by reading. `ArrayMeter` gives the same in the
form of a `Meter`, for whoever asks that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from needletrail_gateway.replay.columns import Columns, Dial, Flags, Ints
from needletrail_protocol import measure
from needletrail_protocol.measure import Intervals, Meter

_BEFORE = measure.MEDIAN_READINGS - 1  # readings that the first median takes from before the session
_NEVER = np.int64(-(1 << 62))


@dataclass(frozen=True)
class Stretches:
    """Stretches of time, in order: from_ms[i] to to_ms[i]."""

    from_ms: Ints
    to_ms: Ints

    @property
    def total_ms(self) -> int:
        """How long all of them are together."""
        return int((self.to_ms - self.from_ms).sum())

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The same as pairs."""
        return list(zip(self.from_ms.tolist(), self.to_ms.tolist(), strict=True))

    def bridged(self, bridge_ms: int) -> "Stretches":
        """Those with gaps shorter than that between them as one."""
        if not len(self.from_ms):
            return self
        is_apart = self.from_ms[1:] - self.to_ms[:-1] >= bridge_ms
        return Stretches(
            self.from_ms[np.concatenate(([True], is_apart))],
            self.to_ms[np.concatenate((is_apart, [True]))],
        )

    def of_at_least(self, least_ms: int) -> "Stretches":
        """Only those that are so long."""
        is_long = self.to_ms - self.from_ms >= least_ms
        return Stretches(self.from_ms[is_long], self.to_ms[is_long])


class Work:
    """All of a session, or of its beginning, that does not depend on the limit.

    columns: its readings. lead, strokes: as for a `Meter`. medians: the median dial reading at each
    reading. is_working: the needles worked on skin, as far as the pen tells. strokes: the counter at
    the end. peak_counts: the largest median while working; -1 if there was no work.
    """

    def __init__(self, columns: Columns, lead: Sequence[int], strokes: int) -> None:
        if not len(columns):
            raise ValueError("a session without readings has nothing to be counted")
        self._t_ms = t_ms = columns.t_ms
        self.medians = medians(columns.dial, lead)
        steps_ms = np.diff(t_ms)
        longest_ms = int(steps_ms.max()) if len(steps_ms) else 0
        is_even = longest_ms > 0 and int(steps_ms.min()) == longest_ms
        is_stroke, self.strokes = _strokes(columns.strokes, strokes)
        self.is_working = _is_motor_on(t_ms, is_stroke, longest_ms if is_even else None)
        self.is_working &= columns.contact
        has_holes = longest_ms > measure.READING_HOLD_MS
        self.longest_hole_ms = longest_ms if has_holes else 0
        self._is_hole = steps_ms > measure.READING_HOLD_MS if has_holes else None
        self.peak_counts = int(np.max(self.medians, where=self.is_working, initial=-1))
        self.work = self.stretches(self.is_working)
        self.passes = self.work.bridged(measure.PASS_BRIDGE_MS).of_at_least(measure.PASS_LEAST_MS)

    def over(self, over_counts: int) -> Stretches:
        """When it worked above so many counts, however briefly."""
        if self.peak_counts <= over_counts:
            nothing = np.zeros(0, np.int64)
            return Stretches(nothing, nothing)
        return self.stretches(self.is_working & (self.medians > over_counts))

    def stretches(self, is_so: Flags) -> Stretches:
        """When it was so. A reading holds until the next, but not beyond READING_HOLD_MS."""
        t_ms = self._t_ms
        edges = np.flatnonzero(is_so[1:] != is_so[:-1]) + 1
        bounds = np.concatenate(([0] if is_so[0] else [], edges)).astype(np.int64)
        starts, stops = bounds[0::2], bounds[1::2]
        to_ms = t_ms[stops]
        if len(stops) < len(starts):  # so to the last reading, and nothing is known after it
            to_ms = np.concatenate((to_ms, t_ms[-1:]))
            stops = np.concatenate((stops, [len(t_ms)]))
        if self._is_hole is None:
            return Stretches(t_ms[starts], to_ms)
        # A hole after a reading at which it was so ends a stretch, and may begin another.
        last = np.flatnonzero(self._is_hole & is_so[:-1])
        is_at_end = np.isin(stops - 1, last)
        from_ms = np.concatenate((t_ms[starts], t_ms[last[is_so[last + 1]] + 1]))
        to_ms = np.concatenate((to_ms[~is_at_end], t_ms[last] + measure.READING_HOLD_MS))
        return Stretches(np.sort(from_ms), np.sort(to_ms))

    def worked_ms(self, at: Ints) -> Ints:
        """How long it had worked when those readings came, as far as was known then."""
        held_ms = np.minimum(np.diff(self._t_ms), measure.READING_HOLD_MS)
        held_ms[~self.is_working[:-1]] = 0
        return np.concatenate(([0], np.cumsum(held_ms)))[at]


class ArrayMeter(Meter):
    """A `Meter` whose `steps` are given the whole session so far each time, as arrays."""

    def __init__(self, lead: list[int], strokes: int, over_counts: int) -> None:
        super().__init__(lead, strokes, over_counts, True)
        self._counted: tuple[Any, Work] | None = None

    def steps(self, times_ms: Any, dial: Any, strokes: Any, contact: Any, count: int) -> None:
        """All readings so far, in four parallel arrays; `count` is their length."""
        if count == 0:
            return
        if self._counted is None or self._counted[0] is not times_ms:
            columns = Columns(times_ms, dial, strokes, contact, np.array([0, count], np.int64))
            self._counted = (times_ms, Work(columns, self._lead, self.first_strokes))
        self.take(self._counted[1], int(times_ms[-1]), count)

    def take(self, work: Work, t_ms: int, count: int) -> None:
        """What was counted of `count` readings, the last of them at t_ms."""
        over = work.over(self.over_counts)
        self.t_ms = t_ms
        self.samples = count
        self.strokes = work.strokes
        self.counts = int(work.medians[-1])
        self.peak_counts = work.peak_counts
        self.longest_hole_ms = work.longest_hole_ms
        _fill(self.work, work.work)
        _fill(self.passes, work.passes)
        _fill(self.over, over)
        _fill(self.breaches, over.of_at_least(measure.BREACH_LEAST_MS))


def medians(dial: Dial, lead: Sequence[int]) -> Dial:
    """The median of each reading and the four before it; before the first, what the lead says."""
    filled = [lead[0] if lead else dial[0]] * _BEFORE + list(lead)
    around = np.concatenate((np.array(filled[-_BEFORE:], dial.dtype), dial))
    low, high = np.minimum(around[:-1], around[1:]), np.maximum(around[:-1], around[1:])
    # Of two pairs the smallest and the largest are out; the median is that of the three left.
    left = np.maximum(low[:-3], low[2:-1])
    right = np.minimum(high[:-3], high[2:-1])
    newest = around[4:]
    middle = np.minimum(newest, np.maximum(left, right))
    found: NDArray[np.int16] = np.maximum(np.minimum(left, right), middle, out=middle)
    return found


def _strokes(counter: Ints, before: int) -> tuple[Flags, int]:
    """At which readings there was a stroke since the highest count before; and the highest count."""
    is_stroke = np.empty(len(counter), np.bool_)
    is_stroke[0] = counter[0] > before
    np.greater(counter[1:], counter[:-1], out=is_stroke[1:])
    if counter[0] < before or (counter[1:] < counter[:-1]).any():  # it ran backwards
        highest = np.maximum.accumulate(np.concatenate(([before], counter)))
        is_stroke = counter > highest[:-1]
        return is_stroke, int(highest[-1])
    return is_stroke, int(counter[-1])


def _is_motor_on(t_ms: Ints, is_stroke: Flags, period_ms: int | None) -> Flags:
    """Whether the last stroke is no older than MOTOR_HOLD_MS. period_ms: if it is always the same."""
    if period_ms is not None:  # as almost always: then it was no more than so many readings ago
        is_on = is_stroke.copy()
        for ago in range(1, min(measure.MOTOR_HOLD_MS // period_ms, len(is_on) - 1) + 1):
            is_on[ago:] |= is_stroke[:-ago]
        return is_on
    last_ms = np.where(is_stroke, t_ms, _NEVER)
    np.maximum.accumulate(last_ms, out=last_ms)
    last_ms += measure.MOTOR_HOLD_MS
    found: Flags = last_ms >= t_ms
    return found


def _fill(intervals: Intervals, stretches: Stretches) -> None:
    lengths_ms = stretches.to_ms - stretches.from_ms
    intervals.count = len(lengths_ms)
    intervals.total_ms = int(lengths_ms.sum())
    intervals.longest_ms = int(lengths_ms.max()) if len(lengths_ms) else 0
    if intervals.spans is not None:
        intervals.spans = stretches.spans
