"""Points: only what the tables name, nothing that collides, lines that read back as what they say."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from hypothesis import given
from hypothesis import strategies as st

from needletrail_gateway.core import points
from needletrail_gateway.core.points import MEASUREMENTS, Point, line
from needletrail_gateway.shell.influx import PointMaker

Value = str | int | float | bool


def points_of(desk: Desk) -> list[Point]:
    """Every point that the ledger gives."""
    maker = PointMaker(desk.ledger, desk.intake.rules)
    return [point for entry in desk.ledger.entries(most=100_000) for point in maker.points_of(entry)]


def clinic_day(desk: Desk) -> None:
    """Sessions of every sort, so that every measurement, tag and field occurs."""
    pen = HonestPen()
    pen.boot()
    pen.hello(oldest_seq=1)
    for number, who in enumerate(("est-01", "nobody", None, "md-01")):
        lot = ("LOT24A", "BAD", "ELSEWHERE", "LOT24A")[number]
        pen.open(None if who is None else badge(who), cartridge_tag(f"S{number}", lot))
        pen.work(1200, 2000)
        pen.rest()
        pen.work(300)
        pen.close()
    pen.open(None, None)
    pen.work(300)
    pen.boot()
    desk.take(pen.sent)


# ---- names ----


def test_what_is_emitted_is_what_the_tables_name(desk: Desk) -> None:
    clinic_day(desk)
    seen: dict[str, tuple[set[tuple[str, ...]], set[str]]] = {}
    for point in points_of(desk):
        tags, fields = seen.setdefault(point.measurement, (set(), set()))
        tags.add(tuple(key for key, _ in point.tags))
        fields.update(key for key, _ in point.fields)
    assert seen.keys() == MEASUREMENTS.keys()
    for measurement, (tag_names, field_names) in MEASUREMENTS.items():
        assert seen[measurement][0] == {tag_names}, measurement
        assert seen[measurement][1] == set(field_names), measurement


def test_a_field_has_one_type_for_ever(desk: Desk) -> None:
    """InfluxDB refuses a field that is an integer today and a float tomorrow."""
    clinic_day(desk)
    types: dict[tuple[str, str], set[type]] = {}
    for point in points_of(desk):
        for key, value in point.fields:
            types.setdefault((point.measurement, key), set()).add(type(value))
    assert all(len(found) == 1 for found in types.values()), types


def test_a_tags_value_comes_from_the_registry_alone(desk: Desk) -> None:
    """Whatever else a badge or a tag says would make a series of its own."""
    clinic_day(desk)
    values: dict[str, set[str]] = {}
    for point in points_of(desk):
        for key, value in point.tags:
            values.setdefault(key, set()).add(value)
    assert values["practitioner"] == {"est-01", "md-01", "none", points.OTHER}
    assert values["lot"] == {"LOT24A", "BAD", points.OTHER}
    assert values["clinic"] == {"harbor"}
    assert values["pen"] == {"pen-01"}
    assert values["verdict"] <= {"compliant", "review", "violation"}


def test_no_key_or_value_is_empty(desk: Desk) -> None:
    clinic_day(desk)
    for point in points_of(desk):
        assert all(value for _, value in point.tags)
        assert point.fields


# ---- times ----


def identities(found: list[Point]) -> list[tuple[object, ...]]:
    """What InfluxDB tells points apart by."""
    return [(point.measurement, point.tags, point.time_ns) for point in found]


def test_every_point_is_one_of_its_own(desk: Desk) -> None:
    clinic_day(desk)
    found = points_of(desk)
    assert len(set(identities(found))) == len(found)


@pytest.mark.parametrize("again", ["the clock was set back", "the pen was enrolled anew"])
def test_two_sessions_with_the_same_clock_do_not_collide(again: str, desk: Desk) -> None:
    first = second = HonestPen()
    if again == "the pen was enrolled anew":
        desk.ledger.enrol_anew("pen-01", b"n" * 32, NOW_UTC_MS)
        desk.restart()
        second = HonestPen(epoch=2, key=b"n" * 32)
    for serial, pen in (("S0", first), ("S1", second)):
        already_sent = len(pen.sent)
        pen.boot()
        pen.open(badge("est-01"), cartridge_tag(serial))
        pen.work(1200)
        pen.close()
        desk.take(pen.sent[already_sent:])
    found = points_of(desk)
    assert len(desk.verdicts()) == 2
    assert len(set(identities(found))) == len(found) > 100


def test_a_reading_keeps_its_millisecond(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"))
    pen.work(300)
    desk.take(pen.sent)
    found = [point for point in points_of(desk) if point.measurement == "depth"]
    assert [point.time_ns // 1_000_000 for point in found] == [
        NOW_UTC_MS + 40 + 20 * number for number in range(50)
    ]
    assert all(later.time_ns > earlier.time_ns for earlier, later in pairwise(found))


def test_without_a_clock_there_is_no_place_in_time(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot(utc_ms=None)
    pen.open(badge("est-01"))
    pen.work(1200)
    pen.close()
    desk.take(pen.sent)
    assert points_of(desk) == []
    assert desk.verdicts()["pen-01-1-1"][0] == "violation"


def test_the_same_entries_make_the_same_points(desk: Desk) -> None:
    clinic_day(desk)
    assert points_of(desk) == points_of(desk)


@pytest.mark.parametrize("after", [1, 7, 9, 11])
def test_a_start_in_the_middle_makes_the_same_points(after: int, desk: Desk) -> None:
    """The outbox's mark may stand anywhere in a session."""
    clinic_day(desk)
    entries = desk.ledger.entries(most=100_000)
    whole = PointMaker(desk.ledger, desk.intake.rules)
    for entry in entries[:after]:
        list(whole.points_of(entry))
    started = PointMaker(desk.ledger, desk.intake.rules)
    for entry in entries[after:]:
        assert list(started.points_of(entry)) == list(whole.points_of(entry)), entry.id


def test_the_points_of_a_session_agree_with_its_verdict(desk: Desk) -> None:
    clinic_day(desk)
    found = points_of(desk)
    by_session = {
        dict(point.fields)["session"]: dict(point.fields)
        for point in found
        if point.measurement == "session"
    }
    for session, fields in by_session.items():
        said = desk.statement(str(session))
        assert fields["peak_mm"] == said["peak_mm"]
        assert fields["passes"] == said["passes"]
        depths = [
            dict(point.fields)
            for point in found
            if point.measurement == "depth" and dict(point.fields)["session"] == session
        ]
        assert len(depths) == said["samples"]
        assert max(float(d["depth_mm"]) for d in depths if d["working"]) == said["peak_mm"]


# ---- line protocol ----


def read_line(text: str) -> tuple[str, dict[str, str], dict[str, Value], int]:
    """A line read by the rules of InfluxDB's line protocol, character by character."""
    characters = iter(text)

    def until(stops: str) -> Iterator[str]:
        for character in characters:
            if character == "\\":
                following = next(characters)
                yield following if following in ",= " else "\\" + following
            elif character in stops:
                ends.append(character)
                return
            else:
                yield character

    ends: list[str] = []
    measurement = "".join(until(", "))
    tags = {}
    while ends[-1] == ",":
        key = "".join(until("="))
        tags[key] = "".join(until(", "))
    fields: dict[str, Value] = {}
    rest = "".join(characters)
    body, _, time_text = rest.rpartition(" ")
    while body:
        key, _, body = body.partition("=")
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"', body, re.DOTALL)
        if quoted:
            fields[key] = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
            body = body[quoted.end() + 1 :]
            continue
        text_value, _, body = body.partition(",")
        if text_value in ("true", "false"):
            fields[key] = text_value == "true"
        elif text_value.endswith("i"):
            fields[key] = int(text_value[:-1])
        else:
            fields[key] = float(text_value)
    return measurement, tags, fields, int(time_text)


NAME = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=1, max_size=8)
# What a tag can hold: identifiers, badge ids and GS1 lots, none of which has a backslash or a blank.
TAG = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), min_size=1
)
FIELD = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)


@given(
    tags=st.dictionaries(NAME, TAG, max_size=4),
    fields=st.dictionaries(NAME, FIELD, min_size=1, max_size=4),
    time_ns=st.integers(0, 2**63 - 1),
)
def test_a_line_reads_back_as_the_point(
    tags: dict[str, str], fields: dict[str, Value], time_ns: int
) -> None:
    point = Point("depth", tuple(tags.items()), tuple(fields.items()), time_ns)
    assert read_line(line(point)) == ("depth", tags, fields, time_ns)


def test_every_line_of_a_day_reads_back(desk: Desk) -> None:
    clinic_day(desk)
    for point in points_of(desk):
        text = line(point)
        assert "\n" not in text
        assert read_line(text) == (
            point.measurement,
            dict(point.tags),
            dict(point.fields),
            point.time_ns,
        )


def test_a_pen_that_left_keeps_its_points(desk: Desk) -> None:
    """Sessions of a pen that is no longer registered are still a part of the record."""
    clinic_day(desk)
    before = [point for point in points_of(desk) if point.measurement == "depth"]
    registry = desk.intake.rules.registry.model_copy(update={"pen": []})
    registry = type(registry).model_validate(registry.model_dump())
    desk.ledger.import_registry(registry, {}, NOW_UTC_MS)
    desk.restart()
    after = [point for point in points_of(desk) if point.measurement == "depth"]
    assert after == before
