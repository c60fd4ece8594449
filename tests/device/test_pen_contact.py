"""Skin contact: thresholds and 60 ms, at whatever rate the sensor is read."""

from needletrail_device.contact import Contact

ON, BETWEEN, OFF = 2200, 2000, 1800


def flags(readings, period_ms=20):
    contact = Contact()
    return [contact.step(index * period_ms, adc) for index, adc in enumerate(readings)]


def test_on_at_the_reading_at_which_it_was_held_60_ms():
    assert flags([0, ON, ON, ON, ON, ON]) == [False, False, False, False, True, True]


def test_thresholds_are_inclusive():
    assert flags([ON - 1] * 6) == [False] * 6
    assert flags([ON] * 4)[-1]
    assert flags([ON] * 4 + [OFF + 1] * 6) == [False] * 3 + [True] * 7
    assert flags([ON] * 4 + [OFF] * 4) == [False] * 3 + [True] * 4 + [False]


def test_one_reading_between_the_thresholds_starts_the_time_anew():
    assert flags([ON, ON, ON, BETWEEN, ON, ON, ON, ON])[-2:] == [False, True]


def test_on_and_off_are_delayed_alike():
    seen = flags([0] * 5 + [4000] * 30 + [0] * 10)
    assert seen.count(True) == 30
    assert seen.index(True) == 5 + 3


def test_a_period_that_does_not_divide_60_ms():
    assert flags([ON] * 4, 25) == [False, False, False, True]


def test_a_hole_is_no_holding():
    contact = Contact()
    assert not contact.step(0, ON)
    assert not contact.step(101, ON)
    assert not contact.step(141, ON)
    assert contact.step(161, ON)
    contact = Contact()
    assert not contact.step(0, ON)
    assert contact.step(100, ON)
