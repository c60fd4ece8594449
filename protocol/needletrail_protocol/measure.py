"""What readings mean: depth, motor, working, passes, breach. The definitions of protocol/README.md.

The pen runs this for its local limit check and the gateway for the verdict, so the two can differ
about what was permitted (the gateway knows more) but never about what was done. Everything counts
in dial counts: a calibration is monotone, so the median of counts is the median of depths, and a
limit in micrometres becomes one comparison with a count. A `Meter` is fed one reading at a time,
in order of time, and never looks back, so any split of a session into batches gives the same.

Not here: what the limit is (judge, grant), where readings come from (device), who did it.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIAN_READINGS = 5
MOTOR_HOLD_MS = 100  # the motor is on while its last stroke is no older than this
READING_HOLD_MS = 100  # a reading says nothing about what comes later than this
PASS_BRIDGE_MS = 300  # a shorter gap does not end a pass
PASS_LEAST_MS = 500  # a shorter working interval is no pass
BREACH_LEAST_MS = 200  # a shorter excursion is no breach

DIAL_MAX_COUNTS = 4095  # 12-bit angle (AS5600 data sheet, RAW ANGLE register)


class Calibration:
    """The pen's dial: pairs (counts, micrometres), both strictly rising; linear between them.

    Beyond the last pair the last segment goes on; before the first one depth stops at 0.
    """

    def __init__(self, points: "list[tuple[int, int]]") -> None:
        if len(points) < 2:
            raise ValueError("a calibration needs at least two points")
        for (counts, um), (next_counts, next_um) in zip(points, points[1:]):
            if next_counts <= counts or next_um <= um:
                raise ValueError("calibration points must rise in counts and in depth")
        if points[0][0] < 0 or points[-1][0] > DIAL_MAX_COUNTS or points[0][1] < 0:
            raise ValueError("calibration points lie outside the dial")
        self._points = points

    def depth_um(self, counts: int) -> int:
        """Depth setting in micrometres for a dial reading of 0 to 4095 counts."""
        points = self._points
        index = 1
        while index < len(points) - 1 and counts > points[index][0]:
            index += 1
        low_counts, low_um = points[index - 1]
        high_counts, high_um = points[index]
        um = low_um + (counts - low_counts) * (high_um - low_um) // (high_counts - low_counts)
        return um if um > 0 else 0

    def highest_counts(self, limit_um: int) -> int:
        """The largest reading whose depth does not exceed `limit_um`; -1 if there is none."""
        low, high = -1, DIAL_MAX_COUNTS
        while low < high:
            middle = (low + high + 1) // 2
            if self.depth_um(middle) <= limit_um:
                low = middle
            else:
                high = middle - 1
        return low

    def ends(self, spare_um: int) -> tuple[int, int]:
        """The readings of the first and of the last pair, each so much further out."""
        points = self._points
        outer = []
        for inner, end in ((points[1], points[0]), (points[-2], points[-1])):
            outer.append(end[0] + spare_um * (end[0] - inner[0]) // abs(end[1] - inner[1]))
        return outer[0], outer[1]


def median_of_five(a: int, b: int, c: int, d: int, e: int) -> int:
    """The third smallest of five integers. Allocates nothing."""
    if a > b:
        a, b = b, a
    if c > d:
        c, d = d, c
    if a > c:  # the smaller of the two smaller ones is below the median: drop it
        c = a
        b, d = d, b
    # left: b, c, d, e with c <= d; wanted: the second smallest
    if b > e:
        b, e = e, b
    if b > c:
        return b if b < d else d
    return c if c < e else e


class Intervals:
    """The stretches of time in which something was so.

    Gaps shorter than `bridge_ms` are bridged; a stretch counts if it is at least `least_ms` long.
    `count` and `total_ms` hold what is finished, `spans` those stretches as (from_ms, to_ms) if
    `keep` was asked for.
    """

    def __init__(self, bridge_ms: int, least_ms: int, keep: bool) -> None:
        self._bridge_ms = bridge_ms
        self._least_ms = least_ms
        self._from_ms = -1
        self._to_ms = -1
        self.count = 0
        self.total_ms = 0
        self.longest_ms = 0
        self.spans: "list[tuple[int, int]] | None" = [] if keep else None

    def feed(self, t_ms: int, is_so: bool) -> None:
        """From `t_ms` on it is so, or not. Times must not fall."""
        if is_so:
            if self._from_ms < 0:
                self._from_ms = t_ms
            elif self._to_ms >= 0:
                if t_ms - self._to_ms >= self._bridge_ms:
                    self._end()
                    self._from_ms = t_ms
                self._to_ms = -1
        elif self._from_ms >= 0:
            if self._to_ms < 0:
                self._to_ms = t_ms
            if t_ms - self._to_ms >= self._bridge_ms:
                self._end()

    def finish(self, t_ms: int) -> None:
        """Nothing is known after `t_ms`: end what is still open."""
        if self._from_ms >= 0:
            if self._to_ms < 0:
                self._to_ms = t_ms
            self._end()

    def open_ms(self, t_ms: int) -> int:
        """Length of the stretch open at `t_ms`; 0 if none is, or if it is still too short."""
        if self._from_ms < 0:
            return 0
        lasted_ms = (self._to_ms if self._to_ms >= 0 else t_ms) - self._from_ms
        return lasted_ms if lasted_ms >= self._least_ms else 0

    def open_from_ms(self) -> int:
        """When the stretch that is open began; -1 if none is."""
        return self._from_ms

    def _end(self) -> None:
        lasted_ms = self._to_ms - self._from_ms
        if lasted_ms >= self._least_ms:
            self.count += 1
            self.total_ms += lasted_ms
            self.longest_ms = max(self.longest_ms, lasted_ms)
            if self.spans is not None:
                self.spans.append((self._from_ms, self._to_ms))
        self._from_ms = self._to_ms = -1


class Meter:
    """Everything that is counted in one session.

    lead: up to four dial readings that came just before the session, oldest first.
    strokes: the stroke counter before the session's first reading.
    over_counts: a median above this is beyond the limit and its tolerance.
    keep_spans: remember the intervals (the gateway does, the pen has no room).

    After each step: `counts` (median dial reading), `is_motor_on`, `is_working`, `is_over`,
    `is_breach` (beyond the limit for at least 200 ms). `peak_counts` is the largest median while
    working, -1 if there was no work. `over` is all time beyond the limit, however brief.
    """

    def __init__(self, lead: "list[int]", strokes: int, over_counts: int, keep_spans: bool) -> None:
        self._lead = lead
        self._window = [0] * MEDIAN_READINGS
        self._at = -1
        self._stroke_ms = -1
        self._one = ([0], [0], [0], [False])
        self.first_strokes = self.strokes = strokes
        self.over_counts = over_counts
        self.counts = self.peak_counts = -1
        self.is_motor_on = self.is_working = self.is_over = self.is_breach = False
        self.samples = 0
        self.longest_hole_ms = 0
        self.t_ms = -1
        self.passes = Intervals(PASS_BRIDGE_MS, PASS_LEAST_MS, keep_spans)
        self.breaches = Intervals(0, BREACH_LEAST_MS, keep_spans)
        self.over = Intervals(0, 0, False)
        self.work = Intervals(0, 0, False)

    def step(self, t_ms: int, counts: int, strokes: int, is_contact: bool) -> None:
        """One reading: time, dial counts, strokes since power-on, skin contact (debounced)."""
        one = self._one
        one[0][0] = t_ms
        one[1][0] = counts
        one[2][0] = strokes
        one[3][0] = is_contact
        self.steps(one[0], one[1], one[2], one[3], 1)

    def steps(
        self,
        times_ms: "Sequence[int]",
        dial: "Sequence[int]",
        strokes: "Sequence[int]",
        contact: "Sequence[bool]",
        count: int,
    ) -> None:
        """The next `count` readings, in four parallel columns. The same as so many steps.

        A median costs more than the rest together, and most of them change nothing: one that is not
        above the peak so far. It can only be above if three of the five readings are.
        """
        if count == 0:
            return
        window = self._window
        at = self._at
        last_ms = self.t_ms
        if at < 0:
            self._begin(dial[0])
            at = 0
            last_ms = times_ms[0]
        over_counts = self.over_counts
        peak_counts = self.peak_counts
        stroke_ms = self._stroke_ms
        last_strokes = self.strokes
        is_motor_on = self.is_motor_on
        was_working = self.is_working
        was_over = self.is_over
        ceiling = peak_counts if peak_counts < over_counts else over_counts
        above = 0
        for counts in window:
            if counts > ceiling:
                above += 1
        for index in range(count):
            t_ms = times_ms[index]
            counts = dial[index]
            if t_ms - last_ms > READING_HOLD_MS:
                self._hold_ended(last_ms, t_ms)
                was_working = was_over = False
            last_ms = t_ms
            if window[at] > ceiling:
                above -= 1
            if counts > ceiling:
                above += 1
            window[at] = counts
            at = at + 1 if at < MEDIAN_READINGS - 1 else 0
            if strokes[index] > last_strokes:
                last_strokes = strokes[index]
                stroke_ms = t_ms
                is_motor_on = True
            elif is_motor_on and t_ms - stroke_ms > MOTOR_HOLD_MS:
                is_motor_on = False
            is_working = is_motor_on and contact[index]
            if is_working != was_working:
                was_working = is_working
                self.passes.feed(t_ms, is_working)
                self.work.feed(t_ms, is_working)
            is_over = False
            if is_working and above >= 3:
                a, b, c, d, e = window
                median = median_of_five(a, b, c, d, e)
                is_over = median > over_counts
                if median > peak_counts:
                    peak_counts = median
                    ceiling = peak_counts if peak_counts < over_counts else over_counts
                    above = 0
                    for counts in window:
                        if counts > ceiling:
                            above += 1
            if is_over != was_over:
                was_over = is_over
                self.breaches.feed(t_ms, is_over)
                self.over.feed(t_ms, is_over)
        self._at = at
        self.t_ms = last_ms
        self.peak_counts = peak_counts
        self._stroke_ms = stroke_ms
        self.strokes = last_strokes
        self.is_motor_on = is_motor_on
        self.is_working = was_working
        self.is_over = was_over
        self.is_breach = was_over and self.breaches.open_ms(last_ms) > 0
        self.samples += count
        a, b, c, d, e = window
        self.counts = median_of_five(a, b, c, d, e)

    def _begin(self, counts: int) -> None:
        """Before the first reading the dial stood where the lead says, or where it is."""
        lead = self._lead
        for index in range(MEDIAN_READINGS):
            back = len(lead) - MEDIAN_READINGS + index
            self._window[index] = lead[back] if back >= 0 else (lead[0] if lead else counts)

    def finish(self) -> None:
        """The session is over, at its last reading: end what is still open."""
        if self.t_ms >= 0:
            self.passes.finish(self.t_ms)
            self.breaches.finish(self.t_ms)
            self.over.finish(self.t_ms)
            self.work.finish(self.t_ms)
        self.is_working = self.is_over = self.is_breach = False

    def breach_ms(self) -> int:
        """Time in breach so far, an open one included."""
        return self.breaches.total_ms + self.breaches.open_ms(self.t_ms)

    def pass_count(self) -> int:
        """Passes so far, an open one included once it is long enough."""
        return self.passes.count + (1 if self.passes.open_ms(self.t_ms) else 0)

    def has_worked(self) -> bool:
        """True once there was a working reading: a person was, or may have been, treated."""
        return self.peak_counts >= 0

    def _hold_ended(self, last_ms: int, t_ms: int) -> None:
        """No reading for longer than a reading holds: what was so is not known to have gone on."""
        end_ms = last_ms + READING_HOLD_MS
        self.work.feed(end_ms, False)
        self.passes.feed(end_ms, False)
        self.breaches.feed(end_ms, False)
        self.over.feed(end_ms, False)
        self.longest_hole_ms = max(self.longest_hole_ms, t_ms - last_ms)
