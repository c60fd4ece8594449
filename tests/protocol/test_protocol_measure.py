"""What readings mean, at the edges of each definition in protocol/README.md."""

from needletrail_protocol import messages
from needletrail_protocol.measure import Calibration, Intervals, Meter, median_of_five
from needletrail_protocol.readings import Readings, decode_record

CALIBRATIONS = (
    [(0, 0), (4095, 3000)],
    [(100, 0), (2100, 1000), (4000, 3000)],
    [(300, 250), (301, 20000)],
    [(0, 0), (4094, 1), (4095, 2)],
    [(1000, 500), (1001, 501), (1002, 900), (4095, 901)],
    [(512, 7), (1024, 1777), (1536, 1778), (2048, 2500), (3000, 2501)],
)


def raises(error, act, *arguments):
    try:
        act(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"nothing was raised for {arguments}")


# ---- calibration ----


def test_depth_at_the_points_and_between_them():
    calibration = Calibration([(100, 0), (2100, 1000), (4000, 3000)])
    assert [calibration.depth_um(counts) for counts in (100, 1100, 2100, 3050, 4000)] == [
        0,
        500,
        1000,
        2000,
        3000,
    ]


def test_depth_goes_on_beyond_the_last_point_and_stops_at_zero():
    calibration = Calibration([(100, 50), (200, 150), (300, 350)])
    assert calibration.depth_um(4095) == 350 + 2 * 3795
    assert calibration.depth_um(51) == 1
    assert [calibration.depth_um(counts) for counts in (50, 49, 0)] == [0, 0, 0]


def test_depth_never_falls():
    for points in CALIBRATIONS:
        calibration = Calibration(points)
        before = 0
        for counts in range(4096):
            um = calibration.depth_um(counts)
            assert um >= before
            before = um


def test_highest_counts_is_exact():
    for points in CALIBRATIONS:
        calibration = Calibration(points)
        depths = [calibration.depth_um(counts) for counts in range(4096)]
        limits = {-1, 0, 1, 249, 250, 251, 500, 1000, 1777, 1778, 2500, 3000, 20000, 10**9}
        for index in range(0, 4096, 97):
            limits.update((depths[index] - 1, depths[index], depths[index] + 1))
        for limit_um in limits:
            at = calibration.highest_counts(limit_um)
            # As depth never falls, these two say that `at` is the last of those within the limit.
            assert at == -1 or depths[at] <= limit_um
            assert at == 4095 or depths[at + 1] > limit_um


def test_highest_counts_against_counting_them_all():
    for points in CALIBRATIONS[1:4]:
        calibration = Calibration(points)
        depths = [calibration.depth_um(counts) for counts in range(4096)]
        for limit_um in (-1, 0, 1, 250, 999, 1000, 2500):
            within = [counts for counts in range(4096) if depths[counts] <= limit_um]
            assert calibration.highest_counts(limit_um) == (within[-1] if within else -1)


def test_no_calibration():
    for points in (
        [],
        [(0, 0)],
        [(0, 0), (0, 1)],
        [(0, 0), (1, 0)],
        [(5, 5), (4, 6)],
        [(5, 5), (6, 4)],
        [(-1, 0), (5, 5)],
        [(0, -1), (5, 5)],
        [(0, 0), (4096, 5)],
    ):
        raises(ValueError, Calibration, points)


# ---- median ----


def test_the_median_of_any_five():
    five = range(5)
    for a in five:
        for b in five:
            for c in five:
                for d in five:
                    for e in five:
                        assert median_of_five(a, b, c, d, e) == sorted((a, b, c, d, e))[2]


# ---- intervals ----


def intervals(bridge_ms, least_ms, events, end_ms):
    them = Intervals(bridge_ms, least_ms, True)
    for t_ms, is_so in events:
        them.feed(t_ms, is_so)
    them.finish(end_ms)
    return them


def test_a_shorter_gap_is_bridged_and_one_of_the_bridge_is_not():
    for gap_ms, spans in ((299, [(0, 1299)]), (300, [(0, 500), (800, 1300)])):
        events = [(0, True), (500, False), (500 + gap_ms, True)]
        them = intervals(300, 500, events, 1000 + gap_ms)
        assert them.spans == spans
        assert them.count == len(spans)
        assert them.total_ms == sum([to - start for start, to in spans])


def test_a_stretch_counts_from_its_least_length():
    for length_ms, count in ((499, 0), (500, 1)):
        them = intervals(300, 500, [(0, True), (length_ms, False)], 5000)
        assert (them.count, them.total_ms, them.longest_ms) == (
            count,
            count * length_ms,
            count * length_ms,
        )


def test_a_gap_that_is_fed_again_and_again_is_one_gap():
    events = [(0, True)] + [(t_ms, False) for t_ms in range(600, 899, 20)]
    for again_ms, spans in ((899, [(0, 1500)]), (900, [(0, 600), (900, 1500)])):
        them = Intervals(300, 500, True)
        for t_ms, is_so in events:
            them.feed(t_ms, is_so)
        them.feed(again_ms, True)
        them.finish(1500)
        assert them.spans == spans


def test_a_bridged_gap_at_the_end_does_not_count():
    assert intervals(300, 500, [(0, True), (600, False)], 700).spans == [(0, 600)]


def test_short_stretches_add_up_over_bridged_gaps():
    events = [(t_ms, t_ms % 200 == 0) for t_ms in range(0, 700, 100)]
    assert intervals(300, 500, events, 650).spans == [(0, 650)]


def test_without_a_bridge_each_gap_ends():
    them = intervals(0, 200, [(0, True), (200, False), (201, True), (400, False)], 400)
    assert them.spans == [(0, 200)]


def test_an_open_stretch_is_known_once_long_enough():
    them = Intervals(300, 500, False)
    them.feed(0, True)
    assert [them.open_ms(t_ms) for t_ms in (0, 499, 500, 700)] == [0, 0, 500, 700]
    them.feed(700, False)
    assert them.open_ms(900) == 700
    them.feed(1000, False)
    assert (them.open_ms(1000), them.count, them.spans) == (0, 1, None)


def test_nothing_fed_is_nothing():
    them = intervals(300, 0, [], 100)
    assert (them.count, them.total_ms, them.spans) == (0, 0, [])
    assert intervals(300, 0, [(0, False), (50, False)], 100).count == 0


# ---- the meter ----


def metered(readings, over_counts=1000, lead=(), strokes=0, keep_spans=True):
    """A finished meter; `readings` are (t_ms, counts, strokes, contact)."""
    meter = Meter(list(lead), strokes, over_counts, keep_spans)
    for reading in readings:
        meter.step(*reading)
    meter.finish()
    return meter


def work(from_ms, to_ms, counts=500, step_ms=20, contact=True):
    """Readings with a stroke at each, so that each is working."""
    return [(t, counts, t + 1, contact) for t in range(from_ms, to_ms + 1, step_ms)]


def idle(from_ms, to_ms, strokes, counts=500, step_ms=20, contact=False):
    return [(t, counts, strokes, contact) for t in range(from_ms, to_ms + 1, step_ms)]


def test_a_pass_takes_500_ms_of_work():
    assert metered(work(0, 499, step_ms=499 // 7)).pass_count() == 0
    for last_ms, count in ((499, 0), (500, 1)):
        readings = work(0, 450, step_ms=50)
        readings.append((last_ms, 500, last_ms + 1, True))
        assert metered(readings).pass_count() == count
        readings.append((last_ms + 20, 500, last_ms + 1, False))
        # Working until the reading that says otherwise.
        assert metered(readings).passes.spans == [(0, last_ms + 20)]


def test_a_pass_is_counted_while_it_lasts():
    meter = Meter([], 0, 1000, False)
    counts = []
    for reading in work(0, 1000, step_ms=100):
        meter.step(*reading)
        counts.append(meter.pass_count())
    assert counts == [0] * 5 + [1] * 6


def test_a_gap_under_300_ms_is_bridged():
    for gap_ms, passes in ((299, 1), (300, 2)):
        back_ms = 600 + gap_ms
        readings = work(0, 580)
        readings += [(t, 500, 581, False) for t in range(600, back_ms, 20)]
        readings += [(t, 500, t + 1, True) for t in range(back_ms, back_ms + 601, 20)]
        assert metered(readings).pass_count() == passes


def test_the_motor_holds_for_100_ms_after_a_stroke():
    for after_ms, is_on in ((100, True), (101, False)):
        meter = Meter([], 0, 1000, False)
        meter.step(0, 500, 1, True)
        meter.step(50, 500, 1, True)
        meter.step(after_ms, 500, 1, True)
        assert (meter.is_motor_on, meter.is_working) == (is_on, is_on)


def test_the_first_stroke_is_counted_from_before_the_session():
    assert metered([(0, 500, 7, True)], strokes=6).has_worked()
    assert not metered([(0, 500, 7, True)], strokes=7).has_worked()


def test_motor_without_contact_and_contact_without_motor_are_no_work():
    for readings in (work(0, 1000, contact=False), idle(0, 1000, 0, contact=True)):
        meter = metered(readings)
        assert not meter.has_worked()
        assert (meter.peak_counts, meter.pass_count(), meter.work.total_ms) == (-1, 0, 0)


def test_a_dial_turned_in_the_air_is_nothing():
    turned = work(0, 600) + idle(620, 1200, 601, counts=4000)
    # The median is still up in the first two readings after it; they are working.
    assert metered(turned + work(1220, 1900)).peak_counts == 4000
    assert metered(turned + idle(1220, 1300, 601) + work(1320, 1900)).peak_counts == 500


def test_a_breach_takes_200_ms_on_end():
    for length_ms, breach_ms in ((199, 0), (200, 200)):
        readings = [(t, 1001, t + 1, True) for t in (0, 50, 100, 150)]
        readings.append((length_ms, 1001, 300, False))
        meter = metered(readings)
        assert meter.breach_ms() == breach_ms
        assert meter.breaches.spans == ([(0, 200)] if breach_ms else [])


def test_a_breach_is_seen_when_it_has_lasted_200_ms():
    meter = Meter([], 0, 1000, False)
    seen = []
    for t_ms in (0, 50, 100, 150, 199, 200, 250):
        meter.step(t_ms, 1001, t_ms + 1, True)
        seen.append((meter.is_over, meter.is_breach, meter.breach_ms()))
    assert seen == [(True, False, 0)] * 5 + [(True, True, 200), (True, True, 250)]


def test_a_breach_is_beyond_the_limit_not_at_it():
    assert metered(work(0, 1000, counts=1000)).breach_ms() == 0
    assert metered(work(0, 1000, counts=1001)).breach_ms() == 1000


def test_a_moment_within_the_limit_ends_a_breach():
    deep = [(t, 1500, t + 1, True) for t in range(0, 181, 20)]
    back = [(t, 900, t + 1, True) for t in range(200, 261, 20)]
    again = [(t, 1500, t + 1, True) for t in range(280, 441, 20)]
    meter = metered(deep + back + again)
    # Medians follow their readings by two: over from 0 to 240 and from 320 to 440.
    assert meter.breaches.spans == [(0, 240)]
    assert meter.pass_count() == 0


def test_the_limit_may_change_while_it_runs():
    meter = Meter([], 0, 2000, False)
    for reading in work(0, 400, counts=1500):
        meter.step(*reading)
    assert meter.breach_ms() == 0
    meter.over_counts = 1000
    for reading in work(420, 800, counts=1500):
        meter.step(*reading)
    assert meter.breach_ms() == 380


def test_a_spike_of_one_or_two_readings_is_no_depth_but_three_are():
    for length, peak in ((1, 500), (2, 500), (3, 4000), (4, 4000)):
        readings = work(0, 1000)
        for at in range(20, 20 + length):
            t_ms, _, strokes, contact = readings[at]
            readings[at] = (t_ms, 4000, strokes, contact)
        assert metered(readings).peak_counts == peak


def test_two_spikes_among_five_readings_are_no_depth():
    readings = work(0, 1000)
    for at in (20, 22, 25, 27):
        t_ms, _, strokes, contact = readings[at]
        readings[at] = (t_ms, 4000, strokes, contact)
    assert metered(readings).peak_counts == 500


def test_the_lead_makes_the_first_medians_exact():
    everything = [500, 510, 4000, 4000, 520, 530, 4000, 540, 4000, 4000, 550]
    for start in range(4, len(everything)):
        meter = Meter(everything[start - 4 : start], 0, 1000, False)
        medians = []
        for at in range(start, len(everything)):
            meter.step(at * 20, everything[at], at, True)
            medians.append(meter.counts)
        assert medians == [
            sorted(everything[at - 4 : at + 1])[2] for at in range(start, len(everything))
        ]


def test_without_a_lead_the_dial_stood_where_it_is_first_read():
    meter = Meter([], 0, 1000, False)
    medians = []
    for at, counts in enumerate((700, 800, 800, 900)):
        meter.step(at * 20, counts, 0, False)
        medians.append(meter.counts)
    assert medians == [700, 700, 700, 800]


def test_a_short_lead_stands_for_what_came_before_it():
    meter = Meter([600, 800], 0, 1000, False)
    medians = []
    for at, counts in enumerate((800, 800, 900)):
        meter.step(at * 20, counts, 0, False)
        medians.append(meter.counts)
    assert medians == [600, 800, 800]


def test_a_reading_holds_for_100_ms_and_no_longer():
    for hole_ms, holes in ((100, 0), (101, 101)):
        first, second = work(0, 600), work(600 + hole_ms, 1200 + hole_ms)
        meter = metered(first + second)
        assert meter.longest_hole_ms == holes
        assert meter.pass_count() == 1
        assert meter.work.total_ms == 1300
    meter = metered(work(0, 600) + work(1000, 1600))
    # Known to be working until 700; 300 ms later it is a new pass.
    assert meter.passes.spans == [(0, 700), (1000, 1600)]
    assert meter.longest_hole_ms == 400
    assert metered(work(0, 600) + work(999, 1599)).passes.spans == [(0, 1599)]


def test_a_hole_ends_a_breach():
    meter = metered(work(0, 160, counts=1500) + work(261, 421, counts=1500))
    assert meter.breaches.spans == [(0, 260)]
    meter = metered(work(0, 80, counts=1500) + work(181, 261, counts=1500))
    assert meter.breaches.spans == []


def test_strokes_made_in_a_hole_mean_a_running_motor_after_it_only():
    meter = metered([(0, 500, 1, True), (1000, 500, 50, True), (1050, 500, 50, True)])
    assert meter.work.total_ms == 100 + 50


def test_a_session_without_readings_is_nothing():
    meter = metered([])
    assert (meter.samples, meter.pass_count(), meter.breach_ms()) == (0, 0, 0)
    assert not meter.has_worked()
    assert not meter.passes.spans


def session():
    """Eight seconds of a session with everything in it, from a fixed little random sequence."""
    state = 12345
    readings = []
    strokes = 100
    t_ms = 5000
    for index in range(400):
        state = (state * 1103515245 + 12345) % 2147483648
        noise = state >> 16
        t_ms += 20 + noise % 7 + (350 if index in (150, 151, 290) else 0)
        is_running = index % 100 < 80
        strokes += noise % 3 if is_running else 0
        counts = 800 + noise % 11 + (600 if 220 <= index < 260 else 0)
        counts = 4095 if noise % 29 == 0 else counts
        readings.append((t_ms, counts, strokes, index % 60 >= 12))
    return readings


def summary(meter):
    return (
        meter.samples,
        meter.counts,
        meter.peak_counts,
        meter.strokes,
        meter.longest_hole_ms,
        meter.passes.spans,
        meter.breaches.spans,
        meter.work.total_ms,
        meter.pass_count(),
        meter.breach_ms(),
    )


def test_any_split_into_records_counts_the_same():
    readings = session()
    expected = summary(metered(readings, strokes=100))
    assert expected[8] >= 3 and expected[9] >= 200  # there is something to get wrong
    for size in (1, 2, 7, 50, 199, 200):
        meter = Meter([], 100, 1000, True)
        before = 100
        for at in range(0, len(readings), size):
            part = readings[at : at + size]
            times, dial, strokes, contact = [[row[column] for row in part] for column in range(4)]
            payload = messages.encode_samples(
                1, 1, len(part), 20, times, dial, before, strokes, contact
            )
            before = strokes[-1]
            unpacked = Readings(decode_record(payload))
            for index in range(len(part)):
                meter.step(
                    unpacked.t_ms[index],
                    unpacked.dial[index],
                    unpacked.strokes[index],
                    unpacked.contact[index],
                )
        meter.finish()
        assert summary(meter) == expected


def test_counting_so_far_is_what_finishing_here_would_give():
    readings = session()
    meter = Meter([], 100, 1000, False)
    for length, reading in enumerate(readings, 1):
        meter.step(*reading)
        if length % 37 == 0:
            finished = metered(readings[:length], strokes=100)
            assert meter.pass_count() == finished.pass_count()
            assert meter.breach_ms() == finished.breach_ms()


def test_spans_are_kept_only_on_request():
    meter = metered(work(0, 1000), keep_spans=False)
    assert (meter.passes.spans, meter.pass_count()) == (None, 1)


def test_the_ends_of_a_calibration_lie_on_its_own_first_and_last_piece():
    calibration = Calibration([(400, 0), (900, 1000), (2900, 2000)])
    assert calibration.ends(0) == (400, 2900)
    assert calibration.ends(100) == (350, 3100)
    for spare_um in (1, 7, 30):
        least, most = calibration.ends(spare_um)
        assert calibration.depth_um(most) == 2000 + spare_um
        assert least == 400 - (spare_um + 1) // 2
