"""The batch: what goes in comes out of the record, in as many records as the grid needs."""

from needletrail_device.samples import ANEW_READINGS, READINGS_MAX, Batch
from needletrail_protocol.readings import Readings, decode_record


def readings_of(payload):
    record = decode_record(payload)
    return record, Readings(record)


def test_a_full_batch():
    batch = Batch(20)
    batch.begin(5)
    for index in range(READINGS_MAX):
        assert batch.fits(1000 + 20 * index)
        batch.add(1000 + 20 * index, 400 + index, 10 * index + 7, index % 3 == 0)
    assert not batch.fits(1000 + 20 * READINGS_MAX)
    assert batch.last_ms() == 1000 + 20 * (READINGS_MAX - 1)
    record, readings = readings_of(batch.take(9, 4))
    assert (record.seq, record.session, record.strokes_base) == (9, 4, 5)
    assert readings.t_ms == [1000 + 20 * index for index in range(READINGS_MAX)]
    assert readings.dial == [400 + index for index in range(READINGS_MAX)]
    assert readings.strokes == [10 * index + 7 for index in range(READINGS_MAX)]
    assert readings.contact == [index % 3 == 0 for index in range(READINGS_MAX)]
    assert batch.count == 0


def test_the_next_batch_counts_strokes_from_the_last_one():
    batch = Batch(20)
    batch.begin(100)
    batch.add(0, 1, 103, True)
    batch.take(1, 1)
    batch.add(20, 1, 104, True)
    record, readings = readings_of(batch.take(2, 1))
    assert record.strokes_base == 103
    assert readings.strokes == [104]
    batch.begin(200)
    batch.add(0, 1, 200, True)
    assert readings_of(batch.take(3, 2))[0].strokes_base == 200


def test_jitter_fits_up_to_seven_milliseconds_and_survives():
    for stray_ms in range(-10, 11):
        batch = Batch(20)
        batch.begin(0)
        batch.add(500, 1, 0, False)
        assert batch.fits(520 + stray_ms) == (-7 <= stray_ms <= 7)
        if batch.fits(520 + stray_ms):
            batch.add(520 + stray_ms, 1, 0, False)
            assert readings_of(batch.take(1, 1))[1].t_ms == [500, 520 + stray_ms]


def test_a_hole_does_not_fit():
    batch = Batch(20)
    batch.begin(0)
    batch.add(500, 1, 0, False)
    assert not batch.fits(540)


def test_large_times_and_counters():
    batch = Batch(20)
    t_ms = (1 << 40) - 100
    batch.begin((1 << 32) - 10)
    batch.add(t_ms, 4095, (1 << 32) - 1, True)
    readings = readings_of(batch.take(1, 1))[1]
    assert readings.t_ms == [t_ms]
    assert readings.strokes == [(1 << 32) - 1]


def test_what_no_record_can_say_is_refused_and_changes_nothing():
    batch = Batch(20)
    batch.strokes = 100
    assert batch.refusal(1000, 4095, 100) is None
    for t_ms, counts, strokes, part in (
        (1000, 0, 100, "clock"),
        (999, 0, 100, "clock"),
        (1 << 40, 0, 100, "clock"),
        (1020, 4096, 100, "dial"),
        (1020, -1, 100, "dial"),
        (1020, 0, 99, "strokes"),
        (1020, 0, 121, "strokes"),
        (1 << 39, 0, 1 << 31, "strokes"),
    ):
        assert batch.refusal(t_ms, counts, strokes) == part
    assert batch.strokes == 100
    assert batch.refusal(1020, 0, 120) is None
    assert batch.strokes == 120


def test_the_largest_of_everything_is_no_refusal_and_fits_a_record():
    batch = Batch(20)
    batch.strokes = (1 << 32) - 5
    t_ms = (1 << 40) - 1
    assert batch.refusal(t_ms - 20, 4095, (1 << 32) - 5) is None
    assert batch.refusal(t_ms, 0, (1 << 32) - 1) is None
    assert batch.refusal(t_ms + 1, 0, (1 << 32) - 1) == "clock"
    beyond = Batch(20)
    beyond.strokes = (1 << 32) - 1
    assert beyond.refusal(0, 0, (1 << 32) - 1) is None
    assert beyond.refusal(20, 0, 1 << 32) == "strokes"
    batch.begin((1 << 32) - 5)
    batch.add(t_ms - 20, 4095, (1 << 32) - 5, False)
    batch.add(t_ms, 0, (1 << 32) - 1, True)
    assert readings_of(batch.take(1, 1))[1].t_ms == [t_ms - 20, t_ms]


def test_the_first_reading_may_come_long_after_the_counter_was_read():
    batch = Batch(20)
    assert batch.refusal(0, 0, 5000) is None
    assert batch.strokes == 5000


def test_a_counter_that_begins_anew_counts_on():
    for raw in (0, 800_000):
        batch = Batch(20)
        batch.strokes = 1000
        assert batch.refusal(0, 1, 1000) is None
        for index in range(ANEW_READINGS):
            assert batch.refusal(20 + 20 * index, 1, raw + index) == "strokes"
        last = raw + ANEW_READINGS - 1
        assert batch.refusal(200, 1, last + 2) is None
        assert batch.strokes == 1002


def test_a_glitch_of_the_counter_is_left_out():
    batch = Batch(20)
    for index in range(40):
        strokes = 3 if index % 4 == 3 else 10 * index
        expected = "strokes" if index % 4 == 3 else None
        assert batch.refusal(1000 + 20 * index, 1, strokes) == expected
    assert batch.strokes == 380


def test_whatever_is_not_refused_can_be_written():
    state = 1
    batch = Batch(20)
    t_ms = strokes = kept = 0
    batch.begin(0)
    for _ in range(3000):
        state = state * 1103515245 + 12345 & 0x3FFFFFFF
        t_ms += (state >> 7) % 45 - 4
        strokes += (state >> 14) % 9 - 1
        counts = (state >> 3) % 4300 - 100
        if batch.refusal(t_ms, counts, strokes) is not None:
            continue
        if not batch.fits(t_ms):
            kept += len(readings_of(batch.take(1, 1))[1].t_ms)
        batch.add(t_ms, counts, batch.strokes, state & 64 == 0)
    assert kept > 1000
