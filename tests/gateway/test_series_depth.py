"""The lines of readings and of seconds: each value by hand, and the tapes' truth from their sums."""

from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import taped_sessions as tapes
from gateway_clinic import NOW_UTC_MS, badge, clinic, the_pen
from hypothesis import given, settings
from hypothesis import strategies as st
from series_lines import Read, read_line

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.series.depth import Trace, count_readings
from needletrail_gateway.core.series.point import UTC_MOST_MS, Point, line
from needletrail_gateway.core.series.schema import DEPTH, DEPTH_1S
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_policy
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.measure import Meter
from needletrail_protocol.readings import Readings, decode_record
from needletrail_protocol.tables import Message

SESSION_ID = "pen-01-1-7"
LIMIT_UM = 500  # and 30 of tolerance; a count of these dials is a micrometre
TYPES = {"float": float, "integer": int, "boolean": bool, "text": str}


def opened(t_ms: int = 0, strokes: int = 10, lead: tuple[int, ...] = ()) -> Message:
    """An `open` record."""
    fields = (1, t_ms, 7, 0, badge("est-01"), None, list(lead), strokes, None)
    return decode_record(messages.encode_record(messages.OPEN, fields))


def trace(started_utc_ms: int | None = NOW_UTC_MS, session_id: str = SESSION_ID, **more: Any) -> Trace:
    """A session that began at t_ms 0, or at opened(**more)'s."""
    row = {"session_id": session_id, "started_utc_ms": started_utc_ms, "limit_um": LIMIT_UM}
    return Trace("harbor", the_pen(clinic()), row, opened(**more))


class Readied(Readings):
    """Readings from a list of (t_ms, dial, strokes, contact)."""

    def __init__(self, rows: list[tuple[int, int, int, bool]]) -> None:
        self.t_ms = [row[0] for row in rows]
        self.dial = [row[1] for row in rows]
        self.strokes = [row[2] for row in rows]
        self.contact = [row[3] for row in rows]


def lines(found: list[str]) -> list[Read]:
    return [read_line(one) for one in found]


# ---- readings ----


def test_a_reading_is_a_point() -> None:
    raw, _ = trace().read(Readied([(40, 437, 12, True), (60, 2500, 12, False)]))
    assert raw == [
        line(
            Point(
                DEPTH.name,
                (("clinic", "harbor"), ("pen", "pen-01")),
                (
                    ("contact", contact),
                    ("depth_mm", depth_mm),
                    ("session", SESSION_ID),
                    ("strokes", strokes),
                ),
                (NOW_UTC_MS + t_ms) * 1_000_000 + 701,
            )
        )
        for t_ms, depth_mm, strokes, contact in ((40, 0.437, 12, True), (60, 2.5, 12, False))
    ]


def test_a_reading_is_the_dials_and_not_the_median() -> None:
    """A spike shows; that it is none of the pen's settings, the roll-up's judge knows."""
    raw, _ = trace().read(Readied([(20 * n, 900 if n == 3 else 100, 10, True) for n in range(1, 9)]))
    assert [one.fields["depth_mm"] for one in lines(raw)] == [0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]


def test_the_ends_of_the_dial_do_not_get_mixed_up() -> None:
    rows = [(20, 4095, 10, False), (40, 0, 10, True), (60, 0, 10, False), (80, 4095, 10, True)]
    raw, _ = trace().read(Readied(rows))
    assert [(one.fields["depth_mm"], one.fields["contact"]) for one in lines(raw)] == [
        (4.095, False),
        (0.0, True),
        (0.0, False),
        (4.095, True),
    ]


def test_the_sessions_beginning_is_not_the_boots() -> None:
    raw, seconds = trace(NOW_UTC_MS, t_ms=5_000).read(Readied([(5_040, 1, 10, True)]))
    assert [one.time_ns // 1_000_000 for one in lines(raw)] == [NOW_UTC_MS + 40]
    assert seconds == []


def test_a_late_session_has_a_turn() -> None:
    one = trace(session_id="pen-01-301-50007")
    raw, _ = one.read(Readied([(0, 1, 10, True)]))
    for found in lines([*raw, *one.finish()]):
        assert found.tags == {"clinic": "harbor", "pen": "pen-01", "turn": "3-5"}
        assert found.time_ns == NOW_UTC_MS * 1_000_000 + 701
        assert found.fields["session"] == "pen-01-301-50007"


@pytest.mark.parametrize("started_utc_ms", [None, 0, UTC_MOST_MS - 10])
def test_what_has_no_place_in_time_has_no_points(started_utc_ms: int | None) -> None:
    one = trace(started_utc_ms)
    readings = Readied([(0, 1, 10, True), (20, 1, 12, True)])
    assert one.read(readings) == ([], [])
    assert one.count(readings) == []
    assert one.finish() == []


def test_a_session_in_1970s_first_moments_has_points() -> None:
    """A tape may say so. UTC 0 itself is no moment: a clock that was never set stands there."""
    raw, _ = trace(10).read(Readied([(20, 1, 10, True), (40, 1, 10, True)]))
    assert [one.time_ns // 1_000_000 for one in lines(raw)] == [30, 50]
    assert trace(-30).read(Readied([(30, 1, 10, True), (60, 1, 10, True)])) == ([], [])


# ---- seconds ----


def test_a_second_by_hand() -> None:
    """From 0.5 s after a second's beginning: motor on at once, skin from 0.6 s, deep from 1.2 s on."""
    one = trace(NOW_UTC_MS + 500, strokes=10)
    rows = []
    for number in range(1, 101):  # t_ms 20 to 2000: 0.52 s to 2.5 s
        t_ms = 20 * number
        dial = 400 + number if t_ms < 700 else 700
        rows.append((t_ms, dial, 10 + 3 * number, t_ms >= 100))
    _, first = one.read(Readied(rows[:60]))
    _, second = one.read(Readied(rows[60:]))
    found = lines([*first, *second, *one.finish()])
    assert [(len(first), len(second)), len(found)] == [(1, 1), 3]
    assert {one.measurement for one in found} == {DEPTH_1S.name}
    assert [one.time_ns for one in found] == [
        (NOW_UTC_MS + 1000 * second) * 1_000_000 + 701 for second in range(3)
    ]
    assert found[0].tags == {"clinic": "harbor", "pen": "pen-01"}
    # 24 readings, t_ms 20 to 480; work from 100 to the next second's first reading at 500.
    assert found[0].fields == {
        "lowest_mm": 0.401,
        "mean_mm": 0.412,  # of 401 to 424, which is 412.5, and the even neighbour
        "highest_mm": 0.424,
        "limit_mm": 0.5,
        "strokes": 72,
        "samples": 24,
        "contact_samples": 20,
        "work_ms": 400,
        "over_limit_ms": 0,
        "session": SESSION_ID,
    }
    # 50 readings, t_ms 500 to 1480; the median is beyond at the third deep one, at 740, until 1500.
    shallow = [400 + number for number in range(25, 35)]
    assert found[1].fields == {
        "lowest_mm": 0.425,
        "mean_mm": round((sum(shallow) + 40 * 700) / 50) / 1000,
        "highest_mm": 0.7,
        "limit_mm": 0.5,
        "strokes": 150,
        "samples": 50,
        "contact_samples": 50,
        "work_ms": 1000,
        "over_limit_ms": 760,
        "session": SESSION_ID,
    }
    # 26 readings, t_ms 1500 to 2000: nothing is known after the last one.
    assert found[2].fields == found[1].fields | {
        "lowest_mm": 0.7,
        "mean_mm": 0.7,
        "strokes": 78,
        "samples": 26,
        "contact_samples": 26,
        "work_ms": 500,
        "over_limit_ms": 500,
    }


def test_work_before_a_hole_is_of_its_own_second() -> None:
    """A reading holds for 100 ms; that the next one comes much later does not move it."""
    one = trace()
    rows = [(20 * number, 300, 10 + number, True) for number in range(1, 50)]
    _, told = one.read(Readied([*rows, (9_000, 300, 60, True), (9_020, 300, 62, True)]))
    last = one.finish()
    found = lines([*told, *last])
    assert [one.time_ns // 10**9 - NOW_UTC_MS // 1000 for one in found] == [0, 9]
    assert [one.fields["work_ms"] for one in found] == [980 - 20 + 100, 20]
    assert [one.fields["strokes"] for one in found] == [49, 3]


def test_a_second_is_told_when_it_is_over_and_once() -> None:
    one = trace()
    assert one.read(Readied([(960, 1, 10, True), (980, 1, 10, True)]))[1] == []
    assert one.count(Readied([(999, 1, 10, True)])) == []
    [told] = one.count(Readied([(1_000, 1, 10, True)]))
    assert read_line(told).fields["samples"] == 3
    [last] = one.finish()
    assert read_line(last).fields["samples"] == 1


def test_a_reading_at_a_seconds_beginning_is_the_next_seconds() -> None:
    """Also as the last one of its record."""
    one = trace()
    [told] = one.read(Readied([(980, 1, 10, True), (1_000, 1, 10, True)]))[1]
    assert read_line(told).fields["samples"] == 1
    assert one.read(Readied([(1_999, 1, 10, True), (2_000, 1, 10, True)]))[1] != []
    [last] = one.finish()
    assert read_line(last).time_ns // 10**9 == NOW_UTC_MS // 1000 + 2


def test_a_session_without_readings_has_no_second() -> None:
    assert trace().finish() == []


def test_every_field_is_the_schemas_and_of_its_kind() -> None:
    one = trace()
    raw, _ = one.read(Readied([(0, 1, 10, True), (20, 2, 11, False)]))
    for measurement, found in ((DEPTH, raw), (DEPTH_1S, one.finish())):
        for said in lines(found):
            assert said.measurement == measurement.name
            assert {name: type(value) for name, value in said.fields.items()} == {
                field.name: TYPES[field.kind] for field in measurement.fields
            }
            assert said.tags.keys() == {tag.name for tag in measurement.tags} - {"turn"}


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 20, 20, 20, 90, 101, 700, 5_000]),
            st.sampled_from([0, 300, 500, 530, 531, 900]),
            st.sampled_from([0, 0, 1, 2]),
            st.booleans(),
        ),
        min_size=1,
        max_size=80,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(0, 999),
)
def test_the_seconds_add_up_to_what_the_judge_counts(
    steps: list[tuple[int, int, int, bool]], sizes: list[int], offset_ms: int
) -> None:
    """In whatever batches the readings come; and the batches make no difference."""
    t_ms, strokes, rows = 0, 10, []
    for step_ms, dial, stroke, contact in steps:
        t_ms += step_ms
        strokes += stroke
        rows.append((t_ms, dial, strokes, contact))
    meter = Meter([], 10, LIMIT_UM + 30, True)
    for row in rows:
        meter.step(*row)
    meter.finish()
    whole, parts = (trace(NOW_UTC_MS + offset_ms) for _ in range(2))
    at_once = [*whole.count(Readied(rows)), *whole.finish()]
    told: list[str] = []
    raw: list[str] = []
    at = turn = 0
    while at < len(rows):
        size = sizes[turn % len(sizes)]
        turn += 1
        some, seconds = parts.read(Readied(rows[at : at + size]))
        raw += some
        told += seconds
        at += size
    told += parts.finish()
    assert told == at_once
    found = lines(told)
    assert sum(int(one.fields["work_ms"]) for one in found) == meter.work.total_ms
    assert sum(int(one.fields["over_limit_ms"]) for one in found) == meter.over.total_ms
    assert sum(int(one.fields["strokes"]) for one in found) == meter.strokes - meter.first_strokes
    assert sum(int(one.fields["samples"]) for one in found) == len(rows) == len(raw)
    assert sum(int(one.fields["contact_samples"]) for one in found) == sum(row[3] for row in rows)
    assert len({one.place for one in found}) == len(found)
    assert len({read_line(one).place for one in raw}) == len(raw)
    counted = count_readings(NOW_UTC_MS + offset_ms, [row[0] for row in rows])
    assert sum(counted.values()) == len(found) + len(raw)


def test_points_are_counted_by_day() -> None:
    """Two seconds before midnight to one after it; a time twice is one point."""
    midnight_ms = 1_782_950_400_000  # 2026-07-02T00:00:00Z
    times = [0, 500, 500, 1_000, 1_999, 2_000, 2_400, 3_000]
    assert count_readings(midnight_ms - 2_000, times) == {
        ("depth", date(2026, 7, 1)): 4,
        ("depth_1s", date(2026, 7, 1)): 2,
        ("depth", date(2026, 7, 2)): 3,
        ("depth_1s", date(2026, 7, 2)): 2,
    }
    assert count_readings(None, times) == {}
    assert count_readings(-400, times) == {
        ("depth", date(1970, 1, 1)): 6,
        ("depth_1s", date(1970, 1, 1)): 3,
    }


# ---- the tapes' truth ----


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Read], list[Read]]]:
    """{tape: its readings' points, its seconds' points}, from the ledger's records."""
    return told_of_tapes(tmp_path_factory.mktemp("tapes") / "ledger.sqlite", read_policy("default"))


def told_of_tapes(path: Path, policy: Policy) -> dict[str, tuple[list[Read], list[Read]]]:
    """Play all tapes but the long one, and tell the readings of each session."""
    names = [name for name in tapes.NAMES if name != "14-ten-minutes"]
    desk = tapes.desk_with(path, policy, names)
    found = {}
    for name, row in zip(names, desk.ledger.sessions(), strict=True):
        found[name] = told(desk.ledger, row)
    desk.ledger.close()
    return found


def told(ledger: Ledger, row: dict[str, Any]) -> tuple[list[Read], list[Read]]:
    """One session's points."""
    pen = ledger.registry_at(row["registry_entry"]).find_pen(row["pen"])
    assert pen is not None
    records = [
        decode_record(open_envelope(entry.body)[1])
        for entry in ledger.session_entries(row["session_id"])
        if entry.kind == "record"
    ]
    one = Trace("harbor", pen, row, records[0])
    raw: list[str] = []
    seconds: list[str] = []
    for record in records:
        if record.kind == messages.SAMPLES:
            some, more = one.read(Readings(record))
            raw += some
            seconds += more
    return lines(raw), lines([*seconds, *one.finish()])


def test_each_reading_of_a_tape_is_a_point(
    taped: dict[str, tuple[list[Read], list[Read]]],
) -> None:
    pen = tapes.registry().pen[0]
    assert len(taped) == 14
    for name, (raw, _) in taped.items():
        start_ns = tapes.start_utc_ms(name) * 1_000_000
        rows = tapes.readings(name)
        assert len(raw) == (tapes.truth(name)["session_samples"] or len(rows))
        session = raw[0].time_ns % 1_000_000
        assert [(one.time_ns - start_ns - session) / 1_000_000 for one in raw] == [r[0] for r in rows]
        assert [(one.fields["strokes"], one.fields["contact"]) for one in raw] == [r[2:] for r in rows]
        calibration = pen.counts_to_depth()
        assert [one.fields["depth_mm"] for one in raw] == [
            calibration.depth_um(row[1]) / 1000 for row in rows
        ]


def test_the_seconds_of_a_tape_add_up_to_its_truth(
    taped: dict[str, tuple[list[Read], list[Read]]],
) -> None:
    for name, (_, seconds) in taped.items():
        truth = tapes.truth(name)
        total: defaultdict[str, int] = defaultdict(int)
        for one in seconds:
            for field, value in one.fields.items():
                if isinstance(value, int):
                    total[field] += value
        assert total["strokes"] == truth["strokes"], name
        assert total["samples"] == (truth["session_samples"] or total["samples"]), name
        lasted_ms = sum(to_ms - from_ms for from_ms, to_ms in truth["pass_intervals_ms"])
        assert total["work_ms"] == pytest.approx(lasted_ms, abs=250 * truth["passes"]), name
        assert total["over_limit_ms"] == pytest.approx(
            truth["breach_ms"], abs=120 * truth["passes"] + 120
        ), name
        assert all(one.fields["limit_mm"] == truth["scope_mm"] for one in seconds), name
        assert max(float(one.fields["highest_mm"]) for one in seconds) >= truth["peak_mm"] - 0.03


def test_each_second_says_what_its_readings_say(
    taped: dict[str, tuple[list[Read], list[Read]]],
) -> None:
    for raw, seconds in taped.values():
        of_second: defaultdict[int, list[Read]] = defaultdict(list)
        for one in raw:
            of_second[one.time_ns // 10**9].append(one)
        assert [one.time_ns // 10**9 for one in seconds] == list(of_second)
        for one in seconds:
            found = of_second[one.time_ns // 10**9]
            depths = [float(reading.fields["depth_mm"]) for reading in found]
            assert one.fields["samples"] == len(found)
            assert one.fields["lowest_mm"] == min(depths)
            assert one.fields["highest_mm"] == max(depths)
            assert one.fields["mean_mm"] == pytest.approx(sum(depths) / len(depths), abs=0.000_501)
            assert one.fields["contact_samples"] == sum(bool(r.fields["contact"]) for r in found)
            assert one.time_ns % 1_000_000 == found[0].time_ns % 1_000_000
