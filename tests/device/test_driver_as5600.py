"""AS5600: a count only while the magnet is good; everything else is a fault and no count."""

from chip_fakes import EIO, ENODEV, I2C, As5600, OtherChip, allocated_bytes

from needletrail_device.drivers.as5600 import Dial
from needletrail_device.drivers.faults import BUS, MAGNET_MISSING, MAGNET_STRONG, MAGNET_WEAK


def ready(angle=1000):
    chip = As5600(angle)
    bus = I2C(chip)
    dial = Dial(bus)
    assert dial.configure()
    return chip, bus, dial


def test_the_angle_is_read():
    chip, _, dial = ready()
    for angle in (0, 1, 255, 256, 1000, 2047, 2048, 4095):
        chip.angle = angle
        assert dial.read() == angle
        assert dial.fault is None


def test_counts_begin_at_zero_counts():
    chip = As5600()
    dial = Dial(I2C(chip), 4000)
    assert dial.configure()
    for angle, counts in ((4000, 0), (4095, 95), (0, 96), (3999, 4095)):
        chip.angle = angle
        assert dial.read() == counts


def test_a_bad_magnet_gives_no_angle():
    for magnet, fault in (
        (As5600.ABSENT, MAGNET_MISSING),
        (0, MAGNET_MISSING),
        (As5600.WEAK, MAGNET_WEAK),
        (As5600.STRONG, MAGNET_STRONG),
    ):
        chip, _, dial = ready()
        chip.magnet = magnet
        assert dial.read() == -1
        assert dial.fault == fault


def test_bits_of_status_without_a_name_mean_nothing():
    chip, _, dial = ready()
    for blank in (0, 0x47, 0xC7):
        chip.blank_status = blank
        assert dial.read() == 1000


def test_after_a_fault_a_count_needs_good_status_before_and_after_it():
    chip, _, dial = ready()
    for magnet in (As5600.ABSENT, As5600.WEAK, As5600.STRONG):
        chip.magnet = magnet
        assert dial.read() == -1
        fault = dial.fault
        chip.magnet = As5600.GOOD
        assert (dial.read(), dial.fault) == (-1, fault)
        assert (dial.read(), dial.fault) == (1000, None)


def test_a_magnet_that_goes_between_angle_and_status_gives_no_angle():
    chip, bus, dial = ready()

    class Vanishing:
        def readfrom_mem_into(self, address, register, buffer):
            bus.readfrom_mem_into(address, register, buffer)
            chip.magnet = As5600.ABSENT

    dial._bus = Vanishing()
    assert dial.read() == -1
    assert dial.fault == MAGNET_MISSING


def test_a_ring_that_turns_never_reads_as_two_halves():
    chip, _, dial = ready()
    chip.turns_by = 3
    for _ in range(3000):
        before = chip.angle
        assert (dial.read() - before) & 0xFFF <= 3 * 3


def test_no_answer_is_a_fault_of_the_bus():
    for nack in (ENODEV, EIO):
        chip, bus, dial = ready()
        bus.nack = nack
        chip.is_silent = True
        assert (dial.read(), dial.fault) == (-1, BUS)
        assert dial.gain() == -1
        assert not dial.configure()
        chip.is_silent = False
        assert dial.configure()
        assert (dial.read(), dial.fault) == (1000, None)


def test_a_bus_that_hangs_is_a_fault_and_ends_by_itself():
    _, bus, dial = ready()
    bus.is_stuck = True
    assert (dial.read(), dial.fault) == (-1, BUS)
    bus.is_stuck = False
    assert (dial.read(), dial.fault) == (-1, BUS)
    assert (dial.read(), dial.fault) == (1000, None)


def test_each_transfer_may_fail():
    for ahead in (1, 2):
        chip, bus, dial = ready()
        assert dial.read() == 1000
        chip.angle = 2000
        bus.fails_at = bus.transfers + ahead
        assert (dial.read(), dial.fault) == (-1, BUS)
    for ahead in (1, 2, 3, 4):
        chip = As5600()
        bus = I2C(chip)
        bus.fails_at = ahead
        dial = Dial(bus)
        assert not dial.configure()
        assert dial.fault == BUS


def test_before_configure_there_is_no_angle():
    dial = Dial(I2C(As5600(77)))
    assert dial.fault == BUS
    assert dial.read() == -1


def test_configure_touches_only_its_bits():
    chip = As5600()
    chip.burnt = b"\xff\x7f"
    chip.power_up()
    assert Dial(I2C(chip)).configure()
    assert bytes(chip.conf) == b"\xc0\x70"  # WD, FTH, SF, HYST, PM: 0; PWMF, OUTS, blank: as they were


def test_configure_says_if_the_magnet_is_bad():
    chip = As5600()
    chip.magnet = As5600.WEAK
    dial = Dial(I2C(chip))
    assert not dial.configure()
    assert dial.fault == MAGNET_WEAK


def test_a_chip_that_does_not_keep_its_configuration_is_a_fault():
    for burnt in (b"\x20\x00", b"\x00\x03"):  # watchdog, LPM3: an angle as old as 100 ms
        chip = As5600()
        chip.burnt = burnt
        chip.power_up()
        chip.is_read_only = True
        dial = Dial(I2C(chip))
        assert not dial.configure()
        assert (dial.read(), dial.fault) == (-1, BUS)


def test_another_chip_gives_no_angle():
    for byte in (0x00, 0x30, 0x38, 0xFF):
        dial = Dial(I2C(OtherChip(As5600.ADDRESS, byte)))
        dial.configure()
        assert dial.read() == -1
        assert dial.read() == -1
        assert dial.fault is not None
    assert dial.fault == BUS  # 0xFF: too weak and too strong at once


def test_gain_is_for_who_mounts_the_magnet():
    chip, _, dial = ready()
    assert dial.gain() == 60
    chip.magnet = As5600.WEAK
    assert dial.gain() == 128


def test_reading_allocates_nothing():
    chip, _, dial = ready()
    assert allocated_bytes(dial.read) == 0
    chip.magnet = As5600.WEAK
    assert allocated_bytes(dial.read) == 0
