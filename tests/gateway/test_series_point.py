"""A point's time and its line: nothing collides, and what is written reads back as what was meant."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_lines import Value, read_line

from needletrail_gateway.core.series.point import (
    UTC_MOST_MS,
    Name,
    Point,
    entry_ns,
    has_place,
    head,
    line,
    written,
)

U32 = st.integers(0, 2**32 - 1)
UTC_MS = st.integers(1, UTC_MOST_MS)
PENS = st.sampled_from(["pen-01", "pen-02", "p", "pen-01-1"])


# ---- time ----


def test_the_milliseconds_are_the_moment_and_the_rest_the_session() -> None:
    name = Name.of("pen-01-3-142")
    assert name == Name("pen-01", 3, 142)
    assert name.time_ns(1_782_896_400_000) == 1_782_896_400_000_014_203
    assert name.turn() == ()


@pytest.mark.parametrize(
    ("session_id", "turn"),
    [
        ("pen-01-99-9999", ()),
        ("pen-01-100-1", (("turn", "1-0"),)),
        ("pen-01-1-10000", (("turn", "0-1"),)),
        ("pen-01-4294967295-4294967295", (("turn", "42949672-429496"),)),
    ],
)
def test_only_what_does_not_fit_the_time_is_a_tag(
    session_id: str, turn: tuple[tuple[str, str], ...]
) -> None:
    assert Name.of(session_id).turn() == turn


def test_an_entrys_time_is_its_commit_and_its_number() -> None:
    assert entry_ns(1_782_896_400_000, 12_345_678) == 1_782_896_400_000_345_678


@given(st.data())
def test_two_readings_are_two_points(data: st.DataObject) -> None:
    """Also in sessions that differ by whole turns, and in milliseconds that lie beside each other."""
    one = (data.draw(PENS), data.draw(U32), data.draw(U32), data.draw(UTC_MS))

    def near(value: int, steps: tuple[int, ...], most: int) -> st.SearchStrategy[int]:
        return st.sampled_from([v for step in steps if 0 <= (v := value + step) <= most])

    other = (
        data.draw(PENS),
        data.draw(U32 | near(one[1], (0, 1, -1, 100, -100, 10_000, 1 << 20), 2**32 - 1)),
        data.draw(U32 | near(one[2], (0, 1, -1, 100, -10_000, 10_000, 1_000_000), 2**32 - 1)),
        data.draw(UTC_MS | near(one[3], (0, 1, -1), UTC_MOST_MS)),
    )
    places = []
    for pen, epoch, session, utc_ms in (one, other):
        name = Name.of(f"{pen}-{epoch}-{session}")
        assert (name.pen, name.epoch, name.session) == (pen, epoch, session)
        places.append((pen, name.turn(), name.time_ns(utc_ms)))
        assert name.time_ns(utc_ms) <= 2**63 - 2
    assert (places[0] == places[1]) == (one == other)


@pytest.mark.parametrize(
    ("utc_ms", "is_so"),
    [
        (None, False),
        (0, False),
        (-1, False),
        (1, True),
        (UTC_MOST_MS, True),
        (UTC_MOST_MS + 1, False),
    ],
)
def test_a_place_in_time_is_one_that_influxdb_has(utc_ms: int | None, is_so: bool) -> None:
    assert has_place(utc_ms) is is_so


def test_the_last_moment_is_one_of_influxdbs() -> None:
    """Its MaxTime is 9223372036854775806 ns (InfluxDB 1.x, models/time.go)."""
    assert Name.of("pen-99-9999").time_ns(UTC_MOST_MS) <= 9_223_372_036_854_775_806
    assert Name.of("pen-99-9999").time_ns(UTC_MOST_MS + 1) > 9_223_372_036_854_775_806


# ---- lines ----


def test_a_line_as_it_is_published() -> None:
    """The example of InfluxDB's own description of the line protocol, with our numbers."""
    point = Point(
        "stock",
        (("clinic", "harbor"), ("item", "a b,c=d")),
        (("left", 3), ("days", 2.5), ("low", True), ("title", 'say "no" \\ more')),
        1_465_839_830_100_400_200,
    )
    assert line(point) == (
        r"stock,clinic=harbor,item=a\ b\,c\=d "
        r'left=3i,days=2.5,low=true,title="say \"no\" \\ more" 1465839830100400200'
    )


NAME = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=1, max_size=8)
PRINTABLE = st.characters(exclude_categories=("Cc", "Cs"))
TAG = st.text(PRINTABLE, min_size=1).filter(lambda text: not text.endswith("\\"))
FIELD = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(PRINTABLE)
)


@given(
    tags=st.dictionaries(NAME, TAG, max_size=4),
    fields=st.dictionaries(NAME, FIELD, min_size=1, max_size=4),
    time_ns=st.integers(0, 2**63 - 1),
)
def test_a_line_reads_back_as_the_point(
    tags: dict[str, str], fields: dict[str, Value], time_ns: int
) -> None:
    found = read_line(line(Point("depth", tuple(tags.items()), tuple(fields.items()), time_ns)))
    assert (found.measurement, found.tags, found.fields, found.time_ns) == (
        "depth",
        tags,
        fields,
        time_ns,
    )
    assert [type(value) for value in found.fields.values()] == [type(one) for one in fields.values()]


@given(st.text(), st.text(min_size=1))
def test_whatever_a_text_holds_it_is_one_line_of_utf_8(text: str, tag: str) -> None:
    found = line(Point("depth", (("lot", tag),), (("why", text),), 1))
    assert len(found.encode().splitlines()) == 1
    assert read_line(found).fields.keys() == {"why"}
    assert read_line(found).time_ns == 1


def test_what_a_line_can_not_hold_stands_as_something_else() -> None:
    assert written("two\nlines\tand \x00 more \ud800") == '"two lines and   more ?"'
    assert head("depth", (("lot", "A\\"),)) == "depth,lot=A?"
    assert head("depth", (("lot", "A\\\\B"),)) == "depth,lot=A\\\\B"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**63, -(2**63) - 1])
def test_what_is_no_number_of_influxdbs_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"no number|64 bits"):
        line(Point("depth", (), (("depth_mm", value),), 1))


def test_a_tag_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="lot has no value"):
        head("lot", (("clinic", "harbor"), ("lot", "")))
