"""Power-on: which slot runs, how a trial is counted down, and what a damaged flash still starts."""

from struct import unpack

from pen_fakes import raises
from pen_flash import Inserted, PowerCut, firmware_files, flash_with, slot_of, state_of

import main
from needletrail_device import update

BARE = {"/here/firmware.mpy": b"bare"}
ONE, TWO = firmware_files("one"), firmware_files("two")


class Firmware:
    """What `import firmware` gives."""

    def __init__(self, place, ends):
        self._place = place
        self._ends = ends

    def main(self):
        end = self._ends.get(self._place, 0)
        if not isinstance(end, int):
            raise end
        return end


class Boots:
    """main.boot on a flash; `started` are the folders whose firmware was imported, in order."""

    def __init__(self, flash, broken=(), ends=None):
        self.flash = flash
        self.broken = broken
        self.ends = ends or {}
        self.started = []
        self.serial = 5  # of the states that these tests begin with
        self.shown = []

    def _start(self, place, here):
        assert here == HERE
        if place in self.broken:
            return None
        self.started.append(place)
        return Firmware(place, self.ends)

    def boot(self):
        own_start = main.start
        own_show = main.show
        main.start = self._start
        main.show = self.shown.append
        try:
            with Inserted(self.flash, main):
                return main.run(main.boot("/flash", "/here"))
        finally:
            main.start = own_start
            main.show = own_show

    def state(self):
        """(highest, confirmed, trial, boots left, given up), from both copies, which must agree."""
        first = self.flash.files["/flash/slots/state.a"]
        assert first == self.flash.files["/flash/slots/state.b"]
        numbers = unpack("<IIBBBB", first[:-4])
        assert numbers[0] > self.serial, "a changed state has a higher serial number"
        self.serial = numbers[0]
        return numbers[1:]


A, B, HERE = "/flash/slots/a", "/flash/slots/b", "/here"


def boots(*parts, state=None, broken=(), ends=None):
    return Boots(flash_with(*parts, state=state), broken, ends)


def test_without_slots_the_firmware_beside_main_runs():
    pen = boots()
    assert pen.boot() == 0
    assert pen.started == [HERE]
    assert list(pen.flash.files) == ["/flash/pen.json"]


def test_the_exit_code_is_the_firmware_s():
    assert boots(ends={HERE: 3}).boot() == 3


def test_the_confirmed_slot_runs_and_nothing_is_written():
    for confirmed, place in ((1, A), (2, B)):
        state = state_of(5, 2, confirmed)
        pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state)
        before = dict(pen.flash.files)
        assert pen.boot() == 0
        assert pen.started == [place]
        assert pen.flash.files == before


def test_the_bare_copy_runs_while_it_is_the_confirmed_one():
    pen = boots(slot_of(ONE, 1, "a"), state=state_of(5, 0, 0))
    pen.boot()
    assert pen.started == [HERE]


def test_a_trial_has_its_boots_and_then_the_confirmed_slot_is_back():
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 3))
    for left in (2, 1, 0):
        pen.boot()
        assert pen.state() == (1, 1, 2, left, 0)
    pen.boot()
    pen.boot()
    assert pen.started == [B, B, B, A, A]
    assert pen.state() == (1, 1, 0, 0, 2)


def test_a_trial_is_counted_before_it_runs():
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 3))
    pen.ends[B] = PowerCut()
    with raises(PowerCut):
        pen.boot()
    assert pen.state() == (1, 1, 2, 2, 0)


def test_a_trial_of_the_first_slot_goes_back_to_the_bare_copy():
    pen = boots(slot_of(ONE, 1, "a"), state=state_of(5, 0, 0, 1, 1))
    pen.boot()
    pen.boot()
    assert pen.started == [A, HERE]
    assert pen.state() == (0, 0, 0, 0, 1)


def test_the_way_back_is_to_the_confirmed_firmware_whatever_else_is_whole():
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 0, 0, 1, 0))
    pen.boot()
    assert pen.started == [HERE]


def test_a_crash_is_a_boot_that_proved_nothing():
    ends = {B: OSError(5)}
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 2), ends=ends)
    assert [pen.boot(), pen.boot(), pen.boot()] == [1, 1, 0]
    assert pen.shown == [ends[B]] * 2
    assert pen.started == [B, B, A]


def test_a_crash_of_the_confirmed_firmware_does_not_start_another():
    ends = {A: OSError(5)}
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1), ends=ends)
    assert [pen.boot(), pen.boot()] == [1, 1]
    assert pen.started == [A, A]


def test_a_keyboard_interrupt_reaches_the_person_at_the_keyboard():
    pen = boots(slot_of(ONE, 1, "a"), state=state_of(5, 1, 1), ends={A: KeyboardInterrupt()})
    with raises(KeyboardInterrupt):
        pen.boot()


def test_a_trial_that_can_not_be_imported_is_given_up_at_once():
    state = state_of(5, 1, 1, 2, 3)
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state, broken=(B,))
    pen.boot()
    assert pen.started == [A]
    assert pen.state() == (1, 1, 0, 0, 2)


def test_a_damaged_trial_is_given_up_at_once():
    for path in TWO:
        pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 3))
        name = B + "/" + path
        data = pen.flash.files[name]
        pen.flash.files[name] = data[:-1] + bytes((data[-1] ^ 1,))
        pen.boot()
        assert pen.started == [A]
        assert pen.state() == (1, 1, 0, 0, 2)


def test_a_damaged_confirmed_slot_never_runs():
    whole = slot_of(TWO, 2, "b")
    for damage in ("flip", "cut", "gone"):
        for path in whole:
            pen = boots(slot_of(ONE, 1, "a"), whole, BARE, state=state_of(5, 2, 2))
            data = pen.flash.files[path]
            if damage == "flip" and path.endswith("manifest"):
                data = data.replace(b"  ", b" 0", 1)
            if damage == "gone":
                del pen.flash.files[path]
            else:
                data = data[:-1] if damage == "cut" else bytes((data[0] ^ 1,)) + data[1:]
                pen.flash.files[path] = data
            pen.boot()
            is_harmless = path.endswith("manifest") and damage == "cut"  # only its last line feed
            assert pen.started == [B if is_harmless else A], (damage, path)


def test_with_both_slots_damaged_the_bare_copy_runs():
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 2, 2))
    for place in (A, B):
        pen.flash.files[place + "/firmware.mpy"] = b""
    pen.boot()
    assert pen.started == [HERE]


def test_a_slot_without_a_list_of_files_never_runs():
    for text in (
        b"",
        b"2 0.1.0\n",
        b"2 0.1.0\nword\n",
        b"2 0.1.0\none two three\n",
        b"\xff\n\xff \xff\n",
    ):
        pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 2, 2))
        pen.flash.files[B + "/manifest"] = text
        pen.boot()
        assert pen.started == [A]


def test_with_nothing_that_can_be_imported_the_code_is_1():
    pen = boots(slot_of(ONE, 1, "a"), state=state_of(5, 1, 1), broken=(A, HERE))
    assert pen.boot() == 1
    assert pen.started == []


def test_without_a_state_a_whole_slot_runs():
    pen = boots(slot_of(TWO, 2, "b"))
    pen.boot()
    assert pen.started == [B]
    pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
    pen.boot()
    assert pen.started == [A]


def test_every_bit_flip_in_one_copy_of_the_state_is_harmless():
    for name in ("/flash/slots/state.a", "/flash/slots/state.b"):
        for bit in range(16 * 8):
            pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 3))
            data = bytearray(pen.flash.files[name])
            data[bit // 8] ^= 1 << bit % 8
            pen.flash.files[name] = bytes(data)
            pen.boot()
            assert pen.started == [B]
            assert pen.state() == (1, 1, 2, 2, 0)


def test_the_newer_copy_of_the_state_counts():
    for older, newer in (("a", "b"), ("b", "a")):
        pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
        pen.flash.files["/flash/slots/state." + older] = state_of(7, 1, 1)
        pen.flash.files["/flash/slots/state." + newer] = state_of(8, 2, 2)
        pen.boot()
        assert pen.started == [B]


def test_the_only_good_copy_is_never_the_one_that_is_written_first():
    for good, torn in (("a", "b"), ("b", "a")):
        for steps in range(40):
            pen = boots(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
            pen.flash.files["/flash/slots/state." + good] = state_of(5, 1, 1, 2, 3)
            pen.flash.files["/flash/slots/state." + torn] = b"torn"
            pen.flash.survives = "half"
            pen.flash.steps_left = steps
            try:
                pen.boot()
            except PowerCut:
                pen.flash.power_on()
                pen.boot()
            assert set(pen.started) == {B}


def test_main_and_update_read_and_write_one_state():
    flash = flash_with(slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 7, 1, 2, 3))
    with Inserted(flash, main, update):
        updater = update.Updater("/flash", B, "bench-1")
        assert updater.running == 2
        assert updater.version == 2
        assert updater.trial_boots_left == 3
        assert updater.highest == 7
        updater.confirm()
        assert main.load("/flash/slots/") == ((6, 7, 2, 0, 0, 0), 1)
        main.save("/flash/slots/", 1, 7, 9, 1, 2, 5, 0)
        updater = update.Updater("/flash", B, "bench-1")
    assert (updater.trial_boots_left, updater.highest) == (5, 9)
