"""INA219: what current says about the motor, and when it contradicts the strokes."""

from chip_fakes import EIO, I2C, Ina219, OtherChip, allocated_bytes
from pen_fakes import raises

from needletrail_device.drivers.faults import BUS, DISAGREES, RANGE, STUCK
from needletrail_device.drivers.ina219 import MotorCurrent


def ready(shunt_mohm=None):
    chip = Ina219()
    bus = I2C(chip)
    motor = MotorCurrent(bus, shunt_mohm) if shunt_mohm else MotorCurrent(bus)
    assert motor.configure()
    return chip, bus, motor


def measure(chip, motor, ma, shunt_mohm=100):
    chip.shunt_uv = ma * shunt_mohm
    chip.convert()
    return motor.read()


class Stage:
    """A motor over time: each step 20 ms, with one conversion."""

    def __init__(self):
        self.chip, self.bus, self.motor = ready()
        self.t_ms = 0

    def run(self, steps, ma, is_turning, is_converting=True):
        self.chip.shunt_uv = ma * 100
        for _ in range(steps):
            self.t_ms += 20
            if is_converting:
                self.chip.convert()
            self.last = self.motor.opinion(self.t_ms, is_turning)
        return self.motor.fault


def test_configuration_and_calibration_are_the_data_sheets():
    chip, _, _ = ready()
    configuration = chip.registers[chip.CONFIGURATION]
    assert configuration >> 13 & 1 == 0  # BRNG: 16 V
    assert configuration >> 11 & 3 == 2  # PG: /4, 160 mV
    assert configuration >> 7 & 15 == 0b0011  # BADC: 12 bits, 532 us
    assert configuration >> 3 & 15 == 0b1100  # SADC: 16 samples, 8.51 ms
    assert configuration & 7 == 7  # MODE: shunt and bus, continuous
    assert chip.registers[chip.CALIBRATION] == 4096  # 0.04096 / (100 uA * 0.1 ohm)


def test_the_current_is_measured_with_any_shunt():
    for shunt_mohm in (7, 50, 100, 220):
        chip, _, motor = ready(shunt_mohm)
        for ma in (0, 40, 250, 700):
            wanted = measure(chip, motor, ma, shunt_mohm)
            assert abs(wanted - ma) <= 1 + ma // 100, (shunt_mohm, ma, wanted)
            assert motor.fault is None


def test_a_shunt_that_no_calibration_fits_is_refused():
    with raises(ValueError):
        MotorCurrent(I2C(), 6)


def test_beyond_its_range_the_current_stays_at_the_end():
    chip, _, motor = ready()
    assert measure(chip, motor, 1600) == 1600
    assert measure(chip, motor, 3000) == 1600


def test_the_sign_of_the_current():
    chip, _, motor = ready()
    for ma in (-1, -39):  # offset, kick
        assert (measure(chip, motor, ma), motor.fault) == (0, None)
    for ma in (-40, -1600):  # the shunt the other way round
        assert (measure(chip, motor, ma), motor.fault) == (-1, RANGE)


def test_an_overflow_is_no_current():
    chip, _, motor = ready()
    chip.registers[chip.CALIBRATION] = 0xFFFE
    assert measure(chip, motor, 1500) == -1
    assert motor.fault == RANGE


def test_an_old_conversion_is_no_current():
    chip, _, motor = ready()
    assert (motor.read(), motor.fault) == (-1, None)
    assert measure(chip, motor, 200) == 200
    assert (motor.read(), motor.fault) == (-1, None)


def test_voltage_at_the_motor():
    chip, bus, motor = ready()
    chip.bus_mv = 3712
    chip.convert()
    assert motor.bus_mv() == 3712
    bus.is_stuck = True
    assert motor.bus_mv() == -1


def test_agreement_is_no_fault():
    stage = Stage()
    assert stage.run(100, 0, False) is None
    assert stage.run(100, 200, True) is None
    assert stage.last == 200


def test_current_without_strokes_disagrees_after_500_ms():
    stage = Stage()
    assert stage.run(26, 200, False) is None  # the first of them is where it begins
    assert stage.run(1, 200, False) == DISAGREES
    assert stage.last == 200
    assert stage.run(1, 200, True) is None


def test_strokes_without_current_disagree_after_500_ms():
    stage = Stage()
    assert stage.run(26, 5, True) is None
    assert stage.run(1, 5, True) == DISAGREES
    assert stage.run(1, 5, False) is None


def test_the_times_and_currents_are_exact():
    for ma, is_turning in ((40, False), (39, True)):
        chip, _, motor = ready()
        chip.shunt_uv = ma * 100
        for t_ms, fault in ((0, None), (1, None), (500, None), (501, DISAGREES)):
            chip.convert()
            assert motor.opinion(t_ms, is_turning) == ma
            assert motor.fault == fault


def test_a_motor_that_starts_or_runs_out_is_no_fault():
    stage = Stage()
    for _ in range(10):
        assert stage.run(20, 200, False) is None
        assert stage.run(20, 200, True) is None
        assert stage.run(20, 0, True) is None
        assert stage.run(20, 0, False) is None


def test_readings_between_conversions_change_nothing():
    stage = Stage()
    stage.run(27, 200, False)
    assert stage.run(5, 200, False, is_converting=False) == DISAGREES
    stage = Stage()
    stage.run(5, 200, True)
    assert stage.run(25, 200, True, is_converting=False) is None


def test_a_chip_that_does_not_convert_is_stuck():
    stage = Stage()
    stage.run(5, 200, True)
    assert stage.run(26, 200, True, is_converting=False) == STUCK
    assert stage.last == -1
    assert stage.run(1, 200, True) is None


def test_a_chip_that_never_converts_is_stuck_after_500_ms():
    _, _, motor = ready()
    for t_ms, fault in ((9000, None), (9500, None), (9501, STUCK)):
        assert motor.opinion(t_ms, False) == -1
        assert motor.fault == fault


def test_a_chip_that_lost_its_power_disagrees_until_it_is_configured():
    stage = Stage()
    stage.run(5, 200, True)
    stage.chip.power_up()
    assert stage.run(30, 200, True) == DISAGREES
    assert stage.motor.configure()
    assert stage.run(5, 200, True) is None


def test_no_answer_is_a_fault_of_the_bus():
    stage = Stage()
    stage.chip.is_silent = True
    assert stage.run(60, 200, True) == BUS
    assert stage.last == -1
    assert not stage.motor.configure()
    stage.chip.is_silent = False
    assert stage.motor.configure()
    assert stage.run(1, 200, True, is_converting=False) is None
    assert stage.run(1, 200, True) is None


def test_each_transfer_may_fail():
    for ahead in (1, 2, 3):
        chip, bus, motor = ready()
        chip.convert()
        bus.fails_at = bus.transfers + ahead
        assert (motor.read(), motor.fault) == (-1, BUS)
    for ahead in (1, 2, 3, 4):
        bus = I2C(Ina219())
        bus.nack = EIO
        bus.fails_at = ahead
        motor = MotorCurrent(bus)
        assert not motor.configure()
        assert motor.fault == BUS


def test_another_chip_is_refused():
    for byte in (0, 0xFF):
        motor = MotorCurrent(I2C(OtherChip(Ina219.ADDRESS, byte)))
        assert not motor.configure()
        assert motor.fault == BUS


def test_an_opinion_allocates_nothing():
    stage = Stage()

    def opine():
        stage.t_ms += 20
        stage.chip.registers[2] |= 2
        stage.motor.opinion(stage.t_ms, True)

    assert allocated_bytes(opine) == 0
    assert stage.motor.fault == DISAGREES
