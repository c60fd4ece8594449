"""Tachometer: every stroke once, whatever bounces or wraps; nothing that falls."""

from chip_fakes import Counter, Ticks, allocated_bytes

from needletrail_device.drivers.faults import RANGE
from needletrail_device.drivers.tachometer import WINDOW_MS, CounterTachometer, PinTachometer

PERIOD_US = 5000  # 200 strokes/s


def run_edges(tachometer, ticks, edges_us):
    for edge_us in edges_us:
        ticks.us = edge_us
        tachometer.edge(None)


def train(strokes, begin_us=0, bounces_us=()):
    """Times of edges, each followed by its bounces."""
    edges = []
    for index in range(strokes):
        at_us = begin_us + index * PERIOD_US
        edges.append(at_us)
        edges.extend([at_us + bounce_us for bounce_us in bounces_us])
    return edges


def test_200_strokes_a_second():
    ticks = Ticks()
    tachometer = PinTachometer(ticks)
    run_edges(tachometer, ticks, train(200))
    assert tachometer.count(1000) == 200
    assert tachometer.fault is None


def test_bouncing_edges_count_once():
    ticks = Ticks()
    tachometer = PinTachometer(ticks)
    run_edges(tachometer, ticks, train(1000, bounces_us=(1, 40, 180, 700, 1999)))
    assert tachometer.count(5000) == 1000


def test_an_edge_counts_from_min_us_on():
    ticks = Ticks()
    tachometer = PinTachometer(ticks, 2000)
    run_edges(tachometer, ticks, (0, 1999, 2000, 3999, 4000))
    assert tachometer.count(20) == 3


def test_without_a_least_distance_every_edge_counts():
    ticks = Ticks()
    tachometer = PinTachometer(ticks, 0)
    run_edges(tachometer, ticks, (0, 0, 0, 7))
    assert tachometer.count(20) == 4


def test_microseconds_that_wrap_lose_no_stroke():
    begin_us = (1 << 30) - 100 * PERIOD_US - 1234
    ticks = Ticks(begin_us - PERIOD_US)
    tachometer = PinTachometer(ticks)
    run_edges(tachometer, ticks, train(200, begin_us, bounces_us=(300,)))
    assert tachometer.count(1000) == 200


def test_noise_of_a_pin_is_a_fault_and_still_counts():
    ticks = Ticks()
    tachometer = PinTachometer(ticks)
    before = tachometer.count(0)
    run_edges(tachometer, ticks, range(0, WINDOW_MS * 1000, 100))  # 10 kHz
    after = tachometer.count(WINDOW_MS)
    assert tachometer.fault == RANGE
    assert after - before == WINDOW_MS // 2
    run_edges(tachometer, ticks, train(100, WINDOW_MS * 1000))
    assert tachometer.count(2 * WINDOW_MS) == after + 100
    assert tachometer.fault is None


def test_a_hardware_counter_counts_from_power_on():
    counter = Counter(pulses=12345)
    tachometer = CounterTachometer(counter)
    assert tachometer.count(0) == 0
    counter.pulse(4)
    assert tachometer.count(20) == 4


def test_counters_that_wrap():
    # 16 bits; esp32.PCNT, which begins again at 0 when it reaches its max; one that does not wrap
    for counter_modulus, modulus in ((0x10000, 0x10000), (32000, 32000), (0, 0x10000)):
        counter = Counter(counter_modulus)
        tachometer = CounterTachometer(counter, modulus)
        last = strokes = 0
        for index in range(50_000):
            counter.pulse(4)
            strokes += 4
            total = tachometer.count(index * 20)
            assert total - last == 4
            last = total
        assert last == strokes == 200_000
        assert tachometer.fault is None


def test_a_counter_may_wrap_unseen_for_half_its_range():
    counter = Counter(0x10000, 60_000)
    tachometer = CounterTachometer(counter)
    counter.pulse(32_768)
    assert tachometer.count(1_000_000) == 32_768


def test_exactly_400_strokes_a_second_are_no_fault():
    counter = Counter()
    tachometer = CounterTachometer(counter)
    tachometer.count(0)
    counter.pulse(2000)
    tachometer.count(5000)
    assert tachometer.fault is None
    counter.pulse(2001)
    tachometer.count(10_000)
    assert tachometer.fault == RANGE


def test_strokes_before_the_first_question_are_no_rate():
    counter = Counter()
    tachometer = CounterTachometer(counter)
    counter.pulse(1000)
    assert tachometer.count(20) == 1000
    counter.pulse(WINDOW_MS // 5)
    assert tachometer.count(20 + WINDOW_MS) == 1000 + WINDOW_MS // 5
    assert tachometer.fault is None


def test_a_counter_that_was_set_anew_adds_nothing_and_is_a_fault_for_a_while():
    counter = Counter()
    tachometer = CounterTachometer(counter)
    counter.pulse(1000)
    assert tachometer.count(0) == 1000
    counter.reset()
    assert tachometer.count(20) == 1000
    assert tachometer.fault == RANGE
    counter.pulse(50)
    assert tachometer.count(20 + WINDOW_MS - 1) == 1050
    assert tachometer.fault == RANGE
    assert tachometer.count(20 + WINDOW_MS) == 1050
    assert tachometer.fault is None


def test_counting_allocates_nothing():
    ticks = Ticks()
    by_pin = PinTachometer(ticks)
    counter = Counter(0x10000)
    by_counter = CounterTachometer(counter)

    def count():
        ticks.us += PERIOD_US
        by_pin.edge(None)
        counter.pulse(1)
        by_pin.count(ticks.us // 1000)
        by_counter.count(ticks.us // 1000)

    assert allocated_bytes(count, 300) == 0
    assert by_pin.count(2000) == by_counter.count(2000) >= 1
