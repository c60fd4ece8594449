"""A session's figures, counted all at once, are the `Meter`'s, whatever the readings."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needletrail_gateway.replay.columns import Columns
from needletrail_gateway.replay.meter import ArrayMeter, Work
from needletrail_protocol.measure import Meter

LIMIT = 1000
Session = tuple[list[int], int, list[int], list[int], list[int], list[bool]]


STEPS_MS = [20] * 12 + [0, 1, 19, 21, 40, 60, 99, 100, 101, 180, 199, 200, 201, 300, 999]


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """Lead, strokes before, and the four columns: stretches of one kind, ragged at their edges."""
    lead = draw(st.lists(st.integers(0, 4095), max_size=4))
    before = draw(st.integers(0, 50))
    rng = Random(draw(st.integers(0, 1 << 32)))
    times: list[int] = []
    dial: list[int] = []
    strokes: list[int] = []
    contact: list[bool] = []
    t_ms, count = draw(st.integers(0, 5000)), before
    for _ in range(draw(st.integers(1, 12))):
        is_contact, has_motor = rng.random() < 0.7, rng.random() < 0.7
        depth = rng.choice([0, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 3, 4095])
        noise = rng.choice([0, 0, 1, 5])
        is_wild = rng.random() < 0.3
        if rng.random() < 0.1:
            count = rng.choice([0, before, count // 2])  # the counter began anew
        for _ in range(rng.randint(1, 30)):
            t_ms += rng.choice(STEPS_MS) if is_wild else 20
            if has_motor:
                count += rng.randint(0, 3) if is_wild else 2
            times.append(t_ms)
            dial.append(min(max(depth + rng.randint(-noise, noise), 0), 4095))
            strokes.append(count)
            contact.append(rng.random() < 0.5 if is_wild else is_contact)
    return lead, before, times, dial, strokes, contact


def figures(meter: Meter) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: getattr(meter, name)
        for name in (
            "samples",
            "strokes",
            "first_strokes",
            "peak_counts",
            "counts",
            "longest_hole_ms",
            "t_ms",
        )
    }
    for name in ("passes", "breaches", "over", "work"):
        stretches = getattr(meter, name)
        found[name] = (stretches.count, stretches.total_ms, stretches.longest_ms, stretches.spans)
    return found | {
        "breach_ms": meter.breach_ms(),
        "passes so far": meter.pass_count(),
        "worked": meter.has_worked(),
    }


def arrays(session: Session) -> tuple[Any, ...]:
    _, _, times, dial, strokes, contact = session
    return (
        np.array(times, np.int64),
        np.array(dial, np.int16),
        np.array(strokes, np.int64),
        np.array(contact, np.bool_),
        len(times),
    )


def stepped(session: Session, over_counts: int) -> Meter:
    lead, before, times, dial, strokes, contact = session
    meter = Meter(lead, before, over_counts, True)
    meter.steps(times, dial, strokes, contact, len(times))
    return meter


def at_once(session: Session, over_counts: int) -> ArrayMeter:
    meter = ArrayMeter(session[0], session[1], over_counts)
    meter.steps(*arrays(session))
    return meter


OVERS = st.sampled_from([-1, 0, LIMIT - 2, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 2, 4094, 4095])


@settings(max_examples=1000, deadline=None)
@given(sessions(), OVERS)
def test_a_whole_session_has_the_meters_figures(session: Session, over_counts: int) -> None:
    ours, theirs = at_once(session, over_counts), stepped(session, over_counts)
    ours.finish()
    theirs.finish()
    assert figures(ours) == figures(theirs)


@settings(max_examples=300, deadline=None)
@given(sessions(), OVERS)
def test_what_is_known_so_far_is_what_the_meter_knows(session: Session, over_counts: int) -> None:
    """In the middle of a session nothing has ended yet; what the judge asks is the same."""
    ours, theirs = at_once(session, over_counts), stepped(session, over_counts)
    for ask in (Meter.breach_ms, Meter.pass_count, Meter.has_worked):
        assert ask(ours) == ask(theirs)
    for name in ("peak_counts", "counts", "samples", "strokes", "longest_hole_ms", "t_ms"):
        assert getattr(ours, name) == getattr(theirs, name)


@settings(max_examples=200, deadline=None)
@given(sessions(), st.lists(OVERS, min_size=2, max_size=4))
def test_work_is_counted_once_for_all_limits(session: Session, limits: list[int]) -> None:
    times, dial, strokes, contact, count = arrays(session)
    work = Work(Columns(times, dial, strokes, contact, np.array([0, count])), session[0], session[1])
    for over_counts in limits:
        theirs = stepped(session, over_counts)
        theirs.finish()
        over = work.over(over_counts)
        assert over.total_ms == theirs.over.total_ms
        assert over.of_at_least(200).spans == theirs.breaches.spans


@settings(max_examples=200, deadline=None)
@given(sessions(), st.integers(1, 40))
def test_work_so_far_is_known_at_each_reading(session: Session, every: int) -> None:
    lead, before, *four = session
    meter = Meter(lead, before, LIMIT, True)
    count = len(four[0])
    ends = [*range(every, count, every), count]
    worked_ms, at = [], 0
    for end in ends:
        meter.steps(*(column[at:end] for column in four), end - at)
        worked_ms.append(meter.work.total_ms + meter.work.open_ms(meter.t_ms))
        at = end
    times, dial, strokes, contact, _ = arrays(session)
    work = Work(Columns(times, dial, strokes, contact, np.array([0, count])), lead, before)
    assert work.worked_ms(np.array(ends) - 1).tolist() == worked_ms


def test_a_session_without_readings_is_no_session() -> None:
    empty = Columns(*arrays(([], 0, [], [], [], []))[:4], np.array([0]))
    with pytest.raises(ValueError, match="without readings"):
        Work(empty, [], 0)
