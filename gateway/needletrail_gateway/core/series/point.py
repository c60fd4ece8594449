"""A point, when it is, and how it is written: InfluxDB's line protocol.

A time is nanoseconds since 1970 UTC, of which only the milliseconds are measured. The six digits below
them keep sessions apart: four of the session's number, two of the key epoch. What does not fit into
these is in the tag `turn`, which a pen's first 9,999 sessions in its first 99 epochs do not have. So
two readings that differ in pen, epoch, session or millisecond are never one point, whatever clocks say.

Of the line protocol: a comma, a blank or an equals sign in a tag has a backslash before it; a text has
one before quotation marks and backslashes. There are things that it can not hold: a line's end or
another control character stands as a blank, a backslash at a tag's end as "?", and a number that is
none (NaN) is refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

Value = str | int | float | bool
Tags = tuple[tuple[str, str], ...]
Fields = tuple[tuple[str, Value], ...]

NS_PER_MS = 1_000_000
SESSIONS_A_TURN = 10_000
EPOCHS_A_TURN = 100
UTC_MOST_MS = (2**63 - 1) // NS_PER_MS - 1  # InfluxDB's last moment, in the year 2262
INTEGER_LEAST, INTEGER_MOST = -(2**63), 2**63 - 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IN_TAG = re.compile(r"([,= ])")
_IN_TEXT = re.compile(r'(["\\])')


@dataclass(frozen=True, slots=True)
class Point:
    """One point. No tag's value is empty; fields without a value are left out."""

    measurement: str
    tags: Tags
    fields: Fields
    time_ns: int


def point_of(measurement: str, tags: Tags, fields: Mapping[str, Value | None], time_ns: int) -> Point:
    """A point of those fields that have a value."""
    kept = tuple((name, value) for name, value in fields.items() if value is not None)
    return Point(measurement, tags, kept, time_ns)


@dataclass(frozen=True, slots=True)
class Name:
    """What a session's id says: PEN-EPOCH-NUMBER."""

    pen: str
    epoch: int
    session: int

    @classmethod
    def of(cls, session_id: str) -> Self:
        """Read an id. ValueError if it is none."""
        pen, epoch, session = session_id.rsplit("-", 2)
        return cls(pen, int(epoch), int(session))

    def digits(self) -> int:
        """What stands below the milliseconds in the times of this session's points."""
        return self.session % SESSIONS_A_TURN * EPOCHS_A_TURN + self.epoch % EPOCHS_A_TURN

    def time_ns(self, utc_ms: int) -> int:
        """The time of a point of this session."""
        return utc_ms * NS_PER_MS + self.digits()

    def turn(self) -> Tags:
        """The tag that tells sessions apart whose digits are the same; mostly none."""
        epochs, sessions = self.epoch // EPOCHS_A_TURN, self.session // SESSIONS_A_TURN
        return (("turn", f"{epochs}-{sessions}"),) if epochs or sessions else ()


def entry_ns(committed_utc_ms: int, entry: int) -> int:
    """The time of a point that is of an entry and of no moment in a session."""
    return committed_utc_ms * NS_PER_MS + entry % NS_PER_MS


def has_place(utc_ms: int | None) -> bool:
    """Whether a moment is known and InfluxDB's calendar has it."""
    return utc_ms is not None and 0 < utc_ms <= UTC_MOST_MS


def line(point: Point) -> str:
    """The point in the line protocol, its time in nanoseconds. ValueError if it can not be written."""
    fields = ",".join(f"{key}={written(value)}" for key, value in point.fields)
    return f"{head(point.measurement, point.tags)} {fields} {point.time_ns}"


def head(measurement: str, tags: Tags) -> str:
    """A line's beginning: the series. ValueError if a tag has no value."""
    found = [measurement]
    for key, value in tags:
        if not value:
            raise ValueError(f"the tag {key} has no value")
        text = _IN_TAG.sub(r"\\\1", _writable(value))
        if text.endswith("\\"):
            text = text[:-1] + "?"
        found.append(f"{key}={text}")
    return ",".join(found)


def written(value: Value) -> str:
    """A field's value. ValueError if InfluxDB has no such number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not INTEGER_LEAST <= value <= INTEGER_MOST:
            raise ValueError(f"{value} does not fit 64 bits")
        return f"{value}i"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number")
        return repr(value)
    return '"' + _IN_TEXT.sub(r"\\\1", _writable(value)) + '"'


def _writable(text: str) -> str:
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode("utf-8")
