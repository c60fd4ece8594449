"""InfluxDB held against the ledger, day by day: what is missing, what is not the ledger's, what is old.

Of each measurement and UTC day the points that the ledger makes are counted, and their whole numbers
added up; InfluxDB is asked for the same two things. A count finds what is missing or foreign; the sums
find points that should have been written again and were not. Only days that differ are looked at more
closely, point by point (readings: session by session), and repaired by writing their points again.

Not compared: live points; raw readings of days that InfluxDB no longer keeps; readings of sessions
whose readings have expired in the ledger; and the daily points of today, which still change. What
InfluxDB has and the ledger does not make is named and left alone: it is not for us to delete.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from needletrail_gateway.core.series import schema as series
from needletrail_gateway.core.series.depth import count_readings
from needletrail_gateway.core.series.point import NS_PER_MS, Point, line
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.days import begins_utc_ms, day_of, days, points_of_days, sessions_on
from needletrail_gateway.series.making import Lines, Maker, record_of, time_of
from needletrail_gateway.series.sending import Part, Sender
from needletrail_gateway.series.target import RAW_POLICY, Target
from needletrail_protocol import messages
from needletrail_protocol.readings import Readings

EXAMPLES_MOST = 5
_DAY = timedelta(days=1)
_LINES_AT_ONCE = 5_000
_READINGS = (series.DEPTH, series.DEPTH_1S)
_CHECKED = tuple(one for one in series.MEASUREMENTS if one.source != "live")

Place = tuple[str, date]  # a measurement on a day
Key = tuple[tuple[tuple[str, str], ...], int]  # a point's tags, sorted, and its time


@dataclass
class Totals:
    """Points by measurement and day, and the sums of their whole numbers."""

    counts: Counter[Place] = field(default_factory=Counter)
    sums: Counter[tuple[Place, str]] = field(default_factory=Counter)

    def add(self, points: Iterable[Point]) -> None:
        """Points that are not yet among them, each once."""
        for point in points:
            place = (point.measurement, day_of(point.time_ns // NS_PER_MS))
            self.counts[place] += 1
            for name, value in point.fields:
                if isinstance(value, int) and not isinstance(value, bool):
                    self.sums[place, name] += value


@dataclass
class Made:
    """What the ledger makes of some days. not_kept: places of which nothing can be said."""

    totals: Totals = field(default_factory=Totals)
    not_kept: set[Place] = field(default_factory=set)


@dataclass
class Difference:
    """A measurement on a day of which InfluxDB does not hold what the ledger makes.

    made, held: points. missing: points that InfluxDB lacks. foreign: points that the ledger does not
    make; examples name some. stale: fields whose sum differs; if that is all, some points are old.
    """

    measurement: str
    day: date
    made: int
    held: int
    missing: int = 0
    foreign: int = 0
    stale: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    is_repaired: bool = False

    def statement(self) -> dict[str, Any]:
        """For machines."""
        return {
            "measurement": self.measurement,
            "day": self.day.isoformat(),
            "made": self.made,
            "held": self.held,
            "missing": self.missing,
            "foreign": self.foreign,
            "stale": list(self.stale),
            "examples": list(self.examples),
            "is_repaired": self.is_repaired,
        }


class Audit:
    """Compares one ledger with one InfluxDB."""

    def __init__(
        self,
        ledger: Ledger,
        target: Target,
        clock_utc_ms: Callable[[], int],
        raw_from_utc_ms: Callable[[], int | None],
    ) -> None:
        self._ledger = ledger
        self._target = target
        self._clock_utc_ms = clock_utc_ms
        self._raw_from_utc_ms = raw_from_utc_ms
        self._maker = Maker(ledger)
        self._sender = Sender(ledger, target, clock_utc_ms)

    def compare(
        self,
        first: date,
        last: date,
        heard: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[Difference]:
        """What differs from one day to another, both included; days and measurements in order.

        `heard`: how many sessions have been gone through, of how many. Kept if InfluxDB does not
        answer.
        """
        made = self._made(first, last, heard)
        held = self._held(first, last)
        found = []
        for day in days(first, last):
            for measurement in _CHECKED:
                place = (measurement.name, day)
                if place in made.not_kept:
                    continue
                stale = tuple(
                    name
                    for name in _summed(measurement)
                    if made.totals.sums[place, name] != held.sums[place, name]
                )
                if stale or made.totals.counts[place] != held.counts[place]:
                    found.append(
                        Difference(
                            measurement.name,
                            day,
                            made.totals.counts[place],
                            held.counts[place],
                            stale=stale,
                        )
                    )
        return found

    def examine(self, difference: Difference, *, is_repair: bool = False) -> None:
        """Look closely at what differs, and write what is missing or old if wanted."""
        measurement = _named(difference.measurement)
        if measurement in _READINGS:
            lines = self._examine_readings(difference, measurement)
        else:
            lines = self._examine_points(difference, measurement)
        if is_repair and lines:
            for at in range(0, len(lines), _LINES_AT_ONCE):
                self._sender.write(Part(measurement.retention, lines[at : at + _LINES_AT_ONCE]))
            difference.is_repaired = True

    # ---- what the ledger makes ----

    def _made(self, first: date, last: date, heard: Callable[[int, int], None]) -> Made:
        made = Made()
        sessions = sessions_on(self._ledger, first, last)
        for number, session_id in enumerate(sessions, 1):
            made.totals.add(_within(self._maker.points_of(session_id), first, last))
            self._add_readings(made, session_id, first, last)
            heard(number, len(sessions))
        yesterday = day_of(self._clock_utc_ms()) - _DAY
        for _, points in points_of_days(self._ledger, first, min(last, yesterday)):
            made.totals.add(points)
        raw_from_utc_ms = self._raw_from_utc_ms()
        for day in days(first, last):
            if raw_from_utc_ms is not None and begins_utc_ms(day) < raw_from_utc_ms:
                made.not_kept.add((series.DEPTH.name, day))
            if day > yesterday:
                made.not_kept.update((one.name, day) for one in _CHECKED if one.source == "daily")
        return made

    def _add_readings(self, made: Made, session_id: str, first: date, last: date) -> None:
        for place, count in self._readings(session_id).items():
            if first <= place[1] <= last:
                made.totals.counts[place] += count
        for day in self._expired(session_id):
            made.not_kept.update((one.name, day) for one in _READINGS)

    def _readings(self, session_id: str) -> Counter[Place]:
        """How many readings and seconds of a session there are, by day."""
        try:
            row = self._ledger.session(session_id)
        except LedgerError:
            return Counter()
        boot_utc_ms, times_ms = None, []
        for entry in self._ledger.session_entries(session_id):
            if entry.kind != "record" or entry.is_removed:
                continue
            record = record_of(entry)
            if record.kind == messages.OPEN and row["started_utc_ms"] is not None:
                boot_utc_ms = row["started_utc_ms"] - record.t_ms
            elif record.kind == messages.SAMPLES:
                times_ms += Readings(record).t_ms
        return count_readings(boot_utc_ms, times_ms)

    def _expired(self, session_id: str) -> list[date]:
        """The days of a session of which the ledger does not have the readings any more."""
        entries = self._ledger.session_entries(session_id)
        if not any(entry.kind == "record" and entry.is_removed for entry in entries):
            return []
        started_utc_ms = self._ledger.session(session_id)["started_utc_ms"]
        if started_utc_ms is None:
            return []
        started = day_of(started_utc_ms)
        return [started, started + _DAY]

    # ---- what InfluxDB holds ----

    def _held(self, first: date, last: date) -> Totals:
        held = Totals()
        for measurement in _CHECKED:
            summed = _summed(measurement)
            asked = [f'count("{measurement.fields[0].name}") AS "n"']
            asked += [f'sum("{name}") AS "sum_{name}"' for name in summed]
            text = (
                f"SELECT {', '.join(asked)} FROM {self._from(measurement, first, last)} "
                "GROUP BY time(1d) fill(none)"
            )
            for row in self._target.query(text):
                place = (measurement.name, day_of(row.columns["time"] // NS_PER_MS))
                held.counts[place] = int(row.columns["n"] or 0)
                for name in summed:
                    held.sums[place, name] = int(row.columns[f"sum_{name}"] or 0)
        return held

    def _from(self, measurement: series.Measurement, first: date, last: date) -> str:
        """The measurement's points of this clinic on these days, in InfluxQL."""
        from_ns = begins_utc_ms(first) * NS_PER_MS
        to_ns = begins_utc_ms(last + _DAY) * NS_PER_MS
        name = f'"{measurement.name}"'
        if measurement.retention == "raw":
            name = f'"{RAW_POLICY}".{name}'
        clinic = self._maker.clinic.replace("\\", "\\\\").replace("'", "\\'")
        return f"{name} WHERE \"clinic\" = '{clinic}' AND time >= {from_ns} AND time < {to_ns}"

    # ---- a day that differs ----

    def _examine_points(self, difference: Difference, measurement: series.Measurement) -> list[str]:
        """Compare point by point; lines of what the ledger makes."""
        day = difference.day
        if measurement.source == "daily":
            points = [one for _, found in points_of_days(self._ledger, day, day) for one in found]
        else:
            points = [
                one
                for session_id in sessions_on(self._ledger, day, day)
                for one in _within(self._maker.points_of(session_id), day, day)
            ]
        ours = {_key(one): one for one in points if one.measurement == measurement.name}
        text = (
            f'SELECT "{measurement.fields[0].name}" FROM {self._from(measurement, day, day)} GROUP BY *'
        )
        theirs = {
            (tuple(sorted((key, tag) for key, tag in row.tags.items() if tag)), row.columns["time"])
            for row in self._target.query(text)
        }
        foreign = sorted(theirs - ours.keys(), key=lambda key: (key[1], key[0]))
        difference.missing = len(ours.keys() - theirs)
        difference.foreign = len(foreign)
        difference.examples = tuple(
            ",".join([measurement.name, *(f"{key}={tag}" for key, tag in tags)]) + f" {time_ns}"
            for tags, time_ns in foreign[:EXAMPLES_MOST]
        )
        return [line(one) for one in ours.values()]

    def _examine_readings(self, difference: Difference, measurement: series.Measurement) -> list[str]:
        """Compare session by session; lines of the sessions that differ."""
        day = difference.day
        source = self._from(measurement, day, day)
        first_field = measurement.fields[0].name
        named = self._target.query(f'SELECT distinct("session") AS "session" FROM {source}')
        ours = {
            session_id: count
            for session_id in sessions_on(self._ledger, day, day)
            if (count := self._readings(session_id)[measurement.name, day])
        }
        foreign = {row.columns["session"] for row in named} - ours.keys()
        lines: list[str] = []
        for session_id in [*ours, *sorted(foreign)]:
            rows = self._target.query(
                f'SELECT count("{first_field}") AS "n" FROM {source} AND "session" = \'{session_id}\''
            )
            held = sum(int(row.columns["n"]) for row in rows)
            made = ours.get(session_id, 0)
            difference.missing += max(0, made - held)
            difference.foreign += max(0, held - made)
            if held > made and len(difference.examples) < EXAMPLES_MOST:
                difference.examples += (f"session {session_id}: {held} instead of {made}",)
            if made and held != made:
                lines += self._lines(session_id, measurement, day)
        return lines

    def _lines(self, session_id: str, measurement: series.Measurement, day: date) -> list[str]:
        lines = Lines()
        self._maker.forget()
        self._maker.tell(self._ledger.session_entries(session_id), lines)
        self._maker.forget()
        made = lines.raw if measurement.retention == "raw" else lines.long
        return [
            one
            for one in made
            if one.startswith(measurement.name + ",") and day_of(time_of(one) // NS_PER_MS) == day
        ]


def _summed(measurement: series.Measurement) -> list[str]:
    """The fields whose sums are compared; of readings the count must do."""
    if measurement in _READINGS:
        return []
    return [one.name for one in measurement.fields if one.kind == "integer"]


def _named(name: str) -> series.Measurement:
    return next(one for one in series.MEASUREMENTS if one.name == name)


def _within(points: Iterable[Point], first: date, last: date) -> Iterator[Point]:
    for point in points:
        if first <= day_of(point.time_ns // NS_PER_MS) <= last:
            yield point


def _key(point: Point) -> Key:
    return tuple(sorted(point.tags)), point.time_ns
