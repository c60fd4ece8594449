"""The batch: what goes in comes out of the record, in as many records as the grid needs."""

from needletrail_device.samples import READINGS_MAX, Batch
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
