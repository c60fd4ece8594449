"""Skin contact by ADC and by touch pad: counts for the thresholds of `contact`, or a fault."""

from chip_fakes import Adc, TouchPad, allocated_bytes
from pen_fakes import raises

from needletrail_device.contact import OFF_COUNTS, ON_COUNTS
from needletrail_device.drivers.faults import BUS, RANGE, STUCK
from needletrail_device.drivers.skin import STUCK_MS, AdcSkin, TouchSkin

IDLE = 20_000
PERIOD_MS = 20


def read_for(skin, milliseconds, begin_ms=0):
    """Read every 20 ms; the last counts."""
    for t_ms in range(begin_ms, begin_ms + milliseconds, PERIOD_MS):
        counts = skin.read(t_ms)
    return counts


# ---- ADC ----


def test_an_adc_gives_its_12_bits():
    adc = Adc()
    skin = AdcSkin(adc)
    for counts in (16, 874, 1800, 2200, 2900, 4079):
        adc.counts = counts
        assert (skin.read(0), skin.fault) == (counts, None)


def test_an_adc_at_either_end_is_a_cut_or_shorted_wire():
    adc = Adc()
    skin = AdcSkin(adc)
    for counts in (0, 15, 4080, 4095):
        adc.counts = counts
        assert (skin.read(0), skin.fault) == (-1, RANGE)
    adc.counts = 900
    assert (skin.read(20), skin.fault) == (900, None)


def test_an_adc_that_does_not_answer():
    adc = Adc(900)
    skin = AdcSkin(adc)
    adc.fails = True
    assert (skin.read(0), skin.fault) == (-1, BUS)
    adc.fails = False
    assert (skin.read(20), skin.fault) == (900, None)


def test_a_contact_without_a_break_is_stuck_but_still_a_contact():
    adc = Adc(3000)
    skin = AdcSkin(adc)
    assert read_for(skin, STUCK_MS + PERIOD_MS) == 3000
    assert skin.fault is None
    assert read_for(skin, 1000, STUCK_MS + PERIOD_MS) == 3000
    assert skin.fault == STUCK
    adc.counts = 900
    assert (skin.read(STUCK_MS + 2000), skin.fault) == (900, None)


def test_a_break_or_a_fault_begins_the_time_anew():
    adc = Adc(3000)
    skin = AdcSkin(adc)
    for other in (ON_COUNTS - 1, 0):
        read_for(skin, STUCK_MS)
        adc.counts = other
        skin.read(STUCK_MS)
        adc.counts = 3000
        read_for(skin, STUCK_MS, STUCK_MS + PERIOD_MS)
        assert skin.fault is None
        adc.counts = 900
        skin.read(3 * STUCK_MS)
        adc.counts = 3000


def test_reading_an_adc_allocates_nothing():
    adc = Adc(3000)
    skin = AdcSkin(adc)
    assert allocated_bytes(lambda: skin.read(1000)) == 0


# ---- touch pad ----


def test_a_touch_crosses_both_thresholds_and_air_does_not():
    for permille, least, most in (
        (-100, 0, 0),
        (0, 0, 0),
        (100, 0, OFF_COUNTS),
        (135, 1795, OFF_COUNTS),
        (150, 1995, 2005),
        (166, ON_COUNTS, 2220),
        (299, 3900, 4095),
        (1200, 4095, 4095),
    ):
        skin = TouchSkin(TouchPad(IDLE + IDLE * permille // 1000), IDLE, 150)
        counts = skin.read(0)
        assert least <= counts <= most, (permille, counts)
        assert skin.fault is None


def test_a_touch_is_15_percent_if_nobody_says():
    assert TouchSkin(TouchPad(IDLE * 115 // 100), IDLE).read(0) == 2000


def test_a_pen_switched_on_at_the_skin_has_contact():
    skin = TouchSkin(TouchPad(IDLE * 2), IDLE)
    assert skin.read(0) >= ON_COUNTS


def test_slow_drift_in_air_is_followed_up_and_down():
    for drift in (-1500, 1500):
        pad = TouchPad(IDLE)
        skin = TouchSkin(pad, IDLE)
        for minute in range(15):
            pad.raw = IDLE + drift * (minute + 1) // 15
            read_for(skin, 60_000, minute * 60_000)
        pad.raw = (IDLE + drift) * 1166 // 1000
        assert ON_COUNTS - 60 <= skin.read(900_000) <= ON_COUNTS + 60


def test_drift_is_followed_with_a_time_constant_of_1024_readings():
    pad = TouchPad(IDLE)
    skin = TouchSkin(pad, IDLE)
    pad.raw = IDLE - 1000
    for _ in range(1024):
        assert skin.read(0) == 0
    pad.raw = (IDLE - 632) * 1150 // 1000  # 1 - 1/e of the way
    assert 1990 <= skin.read(0) <= 2010


def test_a_contact_is_not_taken_for_drift():
    pad = TouchPad(IDLE)
    skin = TouchSkin(pad, IDLE)
    pad.raw = IDLE * 1170 // 1000
    first = skin.read(0)
    assert read_for(skin, 60_000) == first >= ON_COUNTS


def test_drift_ends_at_an_eighth():
    pad = TouchPad(IDLE)
    skin = TouchSkin(pad, IDLE)
    for minute in range(60):  # always just not enough for a contact
        pad.raw = IDLE * (1000 + 7 * minute) // 1000
        read_for(skin, 60_000, minute * 60_000)
    pad.raw = IDLE * 1125 // 1000 * 1150 // 1000
    assert 1990 <= skin.read(3_600_000) <= 2010
    pad.raw = IDLE * 7 // 10
    read_for(skin, 1_000_000, 3_600_000)
    pad.raw = IDLE * 875 // 1000 * 1150 // 1000
    assert 1990 <= skin.read(4_600_000) <= 2010


def test_a_pad_where_it_can_not_be():
    pad = TouchPad(IDLE)
    skin = TouchSkin(pad, IDLE)
    for raw in (0, IDLE // 2 - 1, IDLE * 8 + 1, 4_194_303):
        pad.raw = raw
        assert (skin.read(0), skin.fault) == (-1, RANGE)
    for raw, counts in ((IDLE // 2, 0), (IDLE, 0), (IDLE * 8, 4095)):
        pad.raw = raw
        assert (TouchSkin(pad, IDLE).read(20), skin.read(20) >= 0, skin.fault) == (counts, True, None)


def test_a_pad_that_does_not_answer():
    pad = TouchPad(IDLE)
    skin = TouchSkin(pad, IDLE)
    pad.fails = True
    assert (skin.read(0), skin.fault) == (-1, BUS)
    pad.fails = False
    assert (skin.read(20), skin.fault) == (0, None)


def test_a_pad_touched_without_a_break_is_stuck():
    skin = TouchSkin(TouchPad(IDLE * 2), IDLE)
    assert read_for(skin, STUCK_MS + 1000) == 4095
    assert skin.fault == STUCK


def test_a_calibration_that_can_not_be_is_refused():
    for idle_raw, permille in ((999, 150), ((1 << 17) + 1, 150), (IDLE, 9), (IDLE, 1001)):
        with raises(ValueError):
            TouchSkin(TouchPad(IDLE), idle_raw, permille)


def test_reading_a_pad_stays_within_30_bits():
    """The largest numbers that the ranges allow: products of small ints of a 32-bit MicroPython."""
    for idle_raw, permille in ((1 << 17, 1000), (1000, 10)):
        pad = TouchPad(idle_raw)
        skin = TouchSkin(pad, idle_raw, permille)
        skin._idle_256 = skin._idle_most_256
        idle = skin._idle_256 >> 8
        middle = idle * permille // 1000
        largest = max(idle * permille, (middle * 2 - 1) * 2000, (idle_raw * 8) << 8)
        assert largest < 1 << 30
        pad.raw = idle + middle * 2 - 1
        assert 3600 <= skin.read(0) <= 4095


def test_reading_a_pad_allocates_nothing():
    pad = TouchPad(IDLE)
    skin = TouchSkin(pad, IDLE)
    assert allocated_bytes(lambda: skin.read(1000)) == 0
    pad.raw = IDLE * 1200 // 1000
    assert allocated_bytes(lambda: skin.read(1000)) == 0
