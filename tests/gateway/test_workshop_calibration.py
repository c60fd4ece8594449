"""From readings to a table: noise, spikes, backlash, marks in any order, and dials that can not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needletrail_gateway.workshop.calibration import (
    UNSTEADY_COUNTS,
    CalibrationError,
    Fit,
    Mark,
    beyond_um,
    default_marks_um,
    drift_um,
    fit,
    mm,
    reading_um,
    settle,
)
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Calibration

TOLERANCE_UM = 30
DEPTHS = [0, 500, 1000, 1500, 2000, 2500]


def marks(*counts: int, depths: list[int] | None = None) -> list[Mark]:
    """The marks of a dial that reads these counts at 0, 0.5, 1 mm and so on."""
    return [Mark(um, one, 1) for um, one in zip(depths or DEPTHS, counts, strict=False)]


def refused(found: list[Mark], *said: str, tolerance_um: int = TOLERANCE_UM) -> None:
    with pytest.raises(CalibrationError) as caught:
        fit(found, tolerance_um)
    for one in said:
        assert one in str(caught.value)


STRAIGHT = marks(400, 1000, 1600, 2200, 2800, 3400)


# ---- one mark ----


@given(
    at=st.integers(50, 4000),
    noise=st.lists(st.integers(-UNSTEADY_COUNTS // 2, UNSTEADY_COUNTS // 2), min_size=40, max_size=80),
    spikes=st.lists(st.integers(0, DIAL_MAX_COUNTS), max_size=2),
    gaps=st.integers(0, 20),
)
def test_a_ring_at_rest_is_read_through_noise_and_spikes(
    at: int, noise: list[int], spikes: list[int], gaps: int
) -> None:
    mark = settle(500, [at + one for one in noise] + spikes + [-1] * gaps)
    assert abs(mark.counts - at) <= UNSTEADY_COUNTS // 2
    assert mark.spread_counts <= UNSTEADY_COUNTS


@given(
    at=st.integers(0, 3000),
    step=st.integers(1, 10),
    count=st.integers(30, 80),
)
def test_a_ring_that_turns_is_no_mark(at: int, step: int, count: int) -> None:
    with pytest.raises(CalibrationError, match="Let go of the ring"):
        settle(500, [at + step * index for index in range(count)])


def test_readings_on_both_sides_of_zero_name_the_cause() -> None:
    with pytest.raises(CalibrationError, match="zero lies within the ring's travel"):
        settle(0, [4094, 4095, 0, 1, 2] * 12)


def test_a_sensor_that_gives_little_is_named_with_the_mark() -> None:
    with pytest.raises(CalibrationError, match=r"at 0\.25 mm the sensor gave 14 readings out of 60"):
        settle(250, [1000] * 14 + [-1] * 46)


# ---- the table ----


def test_a_straight_dial_has_no_residual() -> None:
    found = fit(STRAIGHT, TOLERANCE_UM)
    assert found == Fit([(one.counts, one.um) for one in STRAIGHT], [0] * 6, 0.0, None)
    assert found.largest_residual_um == 0


@st.composite
def dials(draw: st.DrawFn) -> list[Mark]:
    """Marks of a dial that is straight but for its maker's tolerances, in any order."""
    zero = draw(st.integers(0, 400))
    counts_mm = draw(st.integers(600, 1200))
    depths = sorted(draw(st.sets(st.integers(0, 12).map(lambda n: n * 250), min_size=3)))
    off = draw(st.lists(st.integers(-15, 15), min_size=len(depths), max_size=len(depths)))
    found = [
        Mark(um, zero + 15 + um * counts_mm // 1000 + one, 1)
        for um, one in zip(depths, off, strict=True)
    ]
    found = [mark for mark in found if mark.counts <= DIAL_MAX_COUNTS]
    return draw(st.permutations(found))


@given(dials())
def test_the_table_is_one_that_the_pen_takes_and_goes_through_every_mark(found: list[Mark]) -> None:
    if len(found) < 3:
        refused(found, "too few")
        return
    table = fit(found, TOLERANCE_UM).points
    calibration = Calibration(table)
    for mark in found:
        assert calibration.depth_um(mark.counts) == mark.um
        assert drift_um(table, mark) == 0
    assert table == sorted(table)


@given(dials(), st.integers(0, 15))
def test_backlash_is_halved_between_two_approaches(found: list[Mark], play: int) -> None:
    if len(found) < 3:
        return
    up = [Mark(one.um, one.counts - play, 1) for one in found]
    down = [Mark(one.um, one.counts + play, 1) for one in found]
    try:
        got = fit(up + down, TOLERANCE_UM)
    except CalibrationError as error:
        assert "two approaches differ" in str(error)
        assert play * 1000 / 600 > TOLERANCE_UM / 2  # the coarsest of these dials
        return
    assert got.points == fit(found, TOLERANCE_UM).points
    assert got.backlash_um is not None
    assert (got.backlash_um > 0) == (play > 0)


def test_too_few_marks_are_refused() -> None:
    refused(STRAIGHT[:2], "2 marks are too few")
    refused([STRAIGHT[0]] * 5, "1 marks are too few")


def test_two_marks_set_in_the_wrong_order_are_named() -> None:
    refused(marks(400, 1600, 1000, 2200, 2800, 3400), "1.00 mm reads 1000", "0.50 mm reads 1600")


def test_a_dial_that_runs_backwards_is_told_apart() -> None:
    refused(marks(3400, 2800, 2200, 1600, 1000, 400), "runs the wrong way", "DIR")


def test_a_mark_that_was_not_set_is_named_and_its_neighbours_are_not() -> None:
    refused(marks(400, 1000, 1600, 2650, 2800, 3400), "the mark 1.50 mm lies 0.375 mm off")


def test_a_mark_that_stayed_where_it_was_is_refused() -> None:
    refused(marks(400, 1000, 1000, 2200, 2800, 3400), "counts must rise")


def test_counts_coarser_than_the_tolerance_are_refused() -> None:
    refused(marks(10, 20, 30, 40, 50, 60), "one count is 0.05 mm", "reading tolerance of 0.03 mm")


def test_play_beyond_the_tolerance_is_refused() -> None:
    up = marks(360, 960, 1560, 2160, 2760, 3360)
    down = marks(440, 1040, 1640, 2240, 2840, 3440)
    refused(up + down, "two approaches differ by 0.067 mm", "reading_tolerance_mm")


def test_a_table_that_would_go_on_beyond_any_pen_is_refused() -> None:
    refused(marks(1, 40, 80), "more than 20 mm", tolerance_um=200)
    refused(marks(1, 2000, 4000, depths=[0, 10_000, 20_001]), "between 0 and 20 mm", tolerance_um=200)


# ---- drift ----


@given(st.integers(-200, 200))
def test_a_magnet_that_turned_shows_at_every_mark(turned: int) -> None:
    table = [(one.counts, one.um) for one in STRAIGHT]
    for mark in STRAIGHT:
        moved = Mark(mark.um, mark.counts + turned, 1)
        assert drift_um(table, moved) == pytest.approx(turned * 1000 / 1200, abs=0.51)


def test_beyond_the_stops_is_where_no_ring_can_stand() -> None:
    table = [(one.counts, one.um) for one in STRAIGHT]
    assert [beyond_um(table, counts) for counts in (400, 1234, 3400)] == [0, 0, 0]
    assert beyond_um(table, 340) == -50
    assert beyond_um(table, 3460) == 50
    assert reading_um(table, 340) == -50


def test_the_marks_to_ask_for_are_those_of_the_table() -> None:
    assert default_marks_um([(1, 0), (2, 250), (3, 500)]) == [0, 250, 500]
    assert default_marks_um(None) == default_marks_um([(1, 0), (2, 500)]) == DEPTHS


def test_millimetres_are_written_as_people_do() -> None:
    assert [mm(one) for one in (0, 250, 1000, 1234)] == ["0.00 mm", "0.25 mm", "1.00 mm", "1.234 mm"]
