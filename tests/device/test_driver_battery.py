"""Battery gauge: an estimate that does not flicker, a warning that does not flap."""

from chip_fakes import Adc, CalibratedAdc

from needletrail_device.drivers.battery import Battery, charge_percent
from needletrail_device.drivers.faults import BUS, LOW, RANGE


def gauge(cell_mv):
    adc = CalibratedAdc(cell_mv // 2)
    return adc, Battery(adc)


def measure(adc, battery, cell_mv, times=5):
    adc.mv = cell_mv // 2
    for _ in range(times):
        battery.measure()
    return battery.percent


def test_the_curve_rises_from_0_to_100():
    last = 0
    for mv in range(3000, 4400):
        percent = charge_percent(mv)
        assert last <= percent <= min(100, last + 1)
        last = percent
    assert (charge_percent(3300), charge_percent(3301), charge_percent(4180)) == (0, 0, 100)
    assert charge_percent(3750) == 30
    assert last == 100


def test_the_divider_is_undone():
    adc = CalibratedAdc(1850)
    assert Battery(adc).measure() == 3700
    assert Battery(CalibratedAdc(1233), ratio_permille=3000).measure() == 3699


def test_an_adc_without_calibration_is_read_against_its_reference():
    adc = Adc(2400)
    assert abs(Battery(adc, 2000, 3300).measure() - 2 * 3300 * 2400 // 4096) <= 4


def test_inrush_of_the_motor_is_no_change():
    adc, battery = gauge(3900)
    before = measure(adc, battery, 3900)
    assert measure(adc, battery, 3300, times=2) == before
    assert measure(adc, battery, 3300, times=1) < before


def test_noise_moves_nothing():
    adc, battery = gauge(3900)
    before = measure(adc, battery, 3900)
    for cell_mv in (3894, 3906, 3900, 3894, 3906) * 5:
        assert measure(adc, battery, cell_mv, times=1) == before


def cell_mv_of(percent):
    """The lowest even voltage of that charge."""
    for mv in range(3300, 4200, 2):
        if charge_percent(mv) == percent:
            return mv
    raise AssertionError(percent)


def test_the_figure_moves_from_3_percent_on():
    for first, second, shown in (
        (50, 52, 50),
        (50, 53, 53),
        (50, 48, 50),
        (50, 47, 47),
        (98, 100, 100),
    ):
        adc, battery = gauge(cell_mv_of(first))
        assert measure(adc, battery, cell_mv_of(first)) == first
        assert measure(adc, battery, cell_mv_of(second)) == shown
    assert measure(adc, battery, cell_mv_of(2)) == 2
    assert measure(adc, battery, cell_mv_of(0)) == 0


def test_low_is_15_percent_and_good_is_20():
    adc, battery = gauge(3800)
    for percent, fault in ((50, None), (16, None), (13, LOW), (16, LOW), (19, LOW), (22, None)):
        assert measure(adc, battery, cell_mv_of(percent)) == percent
        assert battery.fault == fault
    for percent, fault in ((15, LOW), (18, LOW), (21, None), (18, None), (15, LOW), (20, None)):
        assert measure(adc, battery, cell_mv_of(percent)) == percent
        assert battery.fault == fault


def test_the_median_is_of_the_last_five():
    adc, battery = gauge(3900)
    for percent in (20, 30, 40, 50, 60):
        measure(adc, battery, cell_mv_of(percent), times=1)
    assert battery.percent == 40
    for percent, shown in ((70, 50), (80, 60), (90, 70)):
        assert measure(adc, battery, cell_mv_of(percent), times=1) == shown


def test_low_comes_and_goes_once():
    adc, battery = gauge(3800)
    seen = []
    for cell_mv in list(range(3800, 3640, -4)) + list(range(3640, 3800, 4)):
        measure(adc, battery, cell_mv)
        if not seen or seen[-1][0] != battery.fault:
            seen.append((battery.fault, battery.percent))
    assert [fault for fault, _ in seen] == [None, LOW, None]
    assert seen[1][1] <= 15 and seen[2][1] >= 20


def test_full_and_empty_are_reached():
    adc, battery = gauge(3900)
    assert measure(adc, battery, 4150) < 100
    assert measure(adc, battery, 4180) == 100
    assert measure(adc, battery, 3310) in (0, 1, 2)
    assert measure(adc, battery, 3300) == 0


def test_a_voltage_that_no_cell_has():
    adc, battery = gauge(3900)
    for cell_mv in (0, 2798, 4402):
        measure(adc, battery, 3900)
        adc.mv = cell_mv // 2
        assert battery.measure() == -1
        assert (battery.percent, battery.fault) == (-1, RANGE)
    for cell_mv, percent in ((2800, 0), (4400, 100), (3900, charge_percent(3900))):
        adc, battery = gauge(cell_mv)
        assert battery.measure() == cell_mv
        assert battery.percent == percent
    assert measure(adc, battery, 3900, times=1) == charge_percent(3900)
    assert battery.fault is None


def test_an_adc_that_does_not_answer():
    adc = Adc(2400)
    battery = Battery(adc)
    adc.fails = True
    assert battery.measure() == -1
    assert (battery.percent, battery.fault) == (-1, BUS)
