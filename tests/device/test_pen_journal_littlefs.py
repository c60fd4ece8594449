"""The journal on a real littlefs: power cuts, flash that fails, flash that is full.

The same as in `make torture`, a sample of it; on MicroPython with the interpreter's own littlefs.
"""

# This file also runs on MicroPython, which lacks what these rules ask for.

import sys

from pen_fakes import raises

sys.path.append(__file__.rsplit("/", 1)[0] + "/..")  # MicroPython has this folder only

from torture import cuts, filesystem, flash, verdict, workload

from needletrail_device.folder import Folder
from needletrail_device.journal import SEGMENT_MAX_BYTES, Journal
from needletrail_device.recovery import recover

SEED = 11
CUTS_A_STORY = 40
PAIRS_A_STORY = 1


def every_kind_of_story():
    return (0, 3, 6, 1, 4, 8)


def boot(medium, segment_max_bytes=SEGMENT_MAX_BYTES, is_new=False):
    folder = filesystem.Mounted(medium, filesystem.ESP32, is_new)
    journal = Journal(folder, segment_max_bytes)
    recover(journal)
    journal.boot += 1
    journal.save()
    return journal


def new_flash(blocks=16):
    return flash.Flash(flash.empty_image(blocks))


def alert(seq, size=0):
    return workload.record(6, (seq, seq * 10, 1, "C" * (1 + size % 32)))


def large(seq):
    """A record of some 800 bytes that belongs to no session."""
    return b"\x82\x06%d " % seq + bytes(800)


# ---- cuts ----


def test_cuts_anywhere():
    dice = workload.Dice(SEED)
    for number in every_kind_of_story():
        story = cuts.story_of(SEED, number)
        cutter = cuts.Cutter(story, SEED)
        places = [cuts.some_place(story.log, dice) for _ in range(CUTS_A_STORY)]
        for place in sorted(places):
            cuts.judge(story, cutter, place)  # raises Finding


def test_cuts_in_the_boot_after_a_cut():
    for number in every_kind_of_story():
        findings = []
        counts = cuts.run_pairs(SEED, number, 0, PAIRS_A_STORY, findings)
        assert findings == []
        assert sum(counts) == PAIRS_A_STORY * cuts.SECONDS_A_FIRST


def test_a_journal_that_forgets_is_found():
    story = cuts.story_of(SEED, 0)
    index = max([note[1] for note in story.notes.saves]) - 1
    place = (index + 2, 0, flash.CLEAN)
    cuts.judge(story, cuts.Cutter(story, SEED), place)
    story.notes.saves.append((0, 0, (99, 1, 0)))  # as if it had been told to remember this
    with raises(verdict.Finding):
        cuts.judge(story, cuts.Cutter(story, SEED), place)
    story = cuts.story_of(SEED, 0)
    story.notes.appends.append((0, 0, 99, large(99)))
    with raises(verdict.Finding):
        cuts.judge(story, cuts.Cutter(story, SEED), place)


# ---- flash that fails ----


def fail_at(number):
    """A pen's day with one operation of its flash that fails. Returns what was appended, and found."""
    medium = new_flash()
    journal = boot(medium, 400, True)
    medium.done = 0
    medium.fails_at = number
    appended = []
    errors = 0
    for turn in range(12):
        for _ in range(3):
            payload = alert(journal.next_seq, turn)
            try:
                seq = journal.append(payload)
            except OSError:
                errors += 1
                seq = journal.append(payload)  # the same one again, under the same number
            assert payload == alert(seq, turn)
            assert journal.read(seq) == (seq, payload)
            appended.append((seq, payload))
        if turn % 3 == 2:
            try:
                journal.acknowledge(journal.next_seq - 5)
            except OSError:
                errors += 1
                journal.acknowledge(journal.next_seq - 5)
            assert journal.oldest_seq() <= journal.durable_seq + 1
    found = verdict.read_all(journal)
    is_hit = medium.done > number
    medium.fails_at = -1
    again = boot(medium, 400)
    assert verdict.read_all(again) == found, number
    assert again.next_seq == journal.next_seq
    assert again.boot == journal.boot + 1
    return appended, found, errors, is_hit


def test_any_operation_of_flash_may_fail_once():
    failures = 0
    number = 0
    while True:
        appended, found, errors, is_hit = fail_at(number)
        if not is_hit:
            break
        assert [seq for seq, _ in appended] == list(range(1, len(appended) + 1)), number
        assert found == appended[found[0][0] - 1 :], number
        failures += errors
        number += 1 if filesystem.IS_MICROPYTHON is False else 3
    assert number > 100
    assert failures > 10


class FailingFolder:
    """A folder of which one call raises OSError, before or after it has done its work."""

    def __init__(self, folder, fails_at, is_after):
        self._folder = folder
        self._fails_at = fails_at
        self._is_after = is_after
        self.calls = 0

    def _call(self, function, *arguments):
        self.calls += 1
        fails = self.calls - 1 == self._fails_at
        if fails and not self._is_after:
            raise OSError(5)
        result = function(*arguments)
        if fails:
            raise OSError(5)
        return result

    def names(self):
        return self._call(self._folder.names)

    def open(self, name, mode):
        return self._call(self._folder.open, name, mode)

    def sync(self, file):
        return self._call(self._folder.sync, file)

    def write(self, name, data):
        return self._call(self._folder.write, name, data)

    def remove(self, name):
        return self._call(self._folder.remove, name)

    def free_bytes(self):
        return self._call(self._folder.free_bytes)


def twice(function, *arguments):
    """Call; if the folder fails, call again."""
    try:
        return function(*arguments)
    except OSError:
        return function(*arguments)


def day_with_a_failing_call(fails_at, is_after):
    medium = new_flash()
    appended = []
    folder = FailingFolder(filesystem.Mounted(medium, filesystem.ESP32, True), fails_at, is_after)
    for number in range(1, 4):
        journal = Journal(folder, 200)
        assert twice(recover, journal) is None
        twice(journal.measure)
        journal.boot += 1
        twice(journal.save)
        assert journal.boot == number
        for _ in range(10):
            payload = alert(journal.next_seq, number)
            seq = twice(journal.append, payload)
            appended.append((seq, payload))
            assert twice(journal.read, seq) == (seq, payload), (fails_at, is_after)
        twice(journal.acknowledge, journal.next_seq - 3)
        assert twice(journal.read, journal.next_seq - 2) == appended[-2]
        twice(journal.close)
    assert [seq for seq, _ in appended] == list(range(1, 31)), (fails_at, is_after)
    journal = boot(medium, 200)
    assert journal.next_seq == 31, (fails_at, is_after)
    assert journal.durable_seq == 28
    assert verdict.read_all(journal)[-2:] == appended[-2:]
    return folder.calls


def test_any_call_of_the_folder_may_fail_once():
    for is_after in (False, True):
        number = 0
        while number < day_with_a_failing_call(number, is_after):
            number += 1
        assert number > 100


def test_a_copy_of_the_state_that_cannot_be_read():
    medium = new_flash()
    journal = boot(medium, 400, True)
    journal.append(alert(1))
    for number in range(4):
        folder = filesystem.Mounted(medium, filesystem.ESP32)
        journal = Journal(FailingFolder(folder, number, False), 400)
        if number < 2:  # one of two: the other one tells
            recover(journal)
            assert (journal.boot, journal.next_seq) == (1, 2)
        else:
            with raises(OSError):
                recover(journal)
            recover(journal)
            assert (journal.boot, journal.next_seq) == (1, 2)


# ---- flash that is full ----


def test_a_full_flash_refuses_and_goes_on_when_there_is_room():
    for blocks in (16, 21):
        medium = new_flash(blocks)
        journal = boot(medium, 4000, True)
        appended = []
        while True:
            try:
                appended.append((journal.append(large(journal.next_seq)), large(journal.next_seq - 1)))
            except OSError as error:
                assert error.args[0] == 28
                break
        held = len(appended)
        assert held >= (blocks - 6) * 4  # all but littlefs' own and one that it writes to
        for _ in range(3):
            with raises(OSError):
                journal.append(large(held + 1))
        assert journal.next_seq == held + 1
        assert verdict.read_all(journal) == appended
        journal.acknowledge(held // 2)  # the state is saved and files go, although nothing is free
        while journal.next_seq <= held + 5:
            appended.append((journal.append(large(journal.next_seq)), large(journal.next_seq - 1)))
        assert verdict.read_all(journal) == appended[journal.oldest_seq() - 1 :]
        again = boot(medium, 4000)
        assert verdict.read_all(again) == appended[again.oldest_seq() - 1 :]


def test_a_boot_with_a_full_flash_can_send_and_then_close_the_session():
    medium = new_flash()
    journal = boot(medium, 4000, True)
    journal.append(workload.record(2, (1, 10, 7, 1, None, None, [], 0)))
    with raises(OSError):
        while True:
            journal.append(workload.record(4, (journal.next_seq, 20, 7, bytes(800))))
    held = journal.next_seq - 1
    journal = Journal(filesystem.Mounted(medium, filesystem.ESP32), 4000)
    with raises(OSError):
        recover(journal)
    assert len(verdict.read_all(journal)) == held
    journal.acknowledge(held)
    assert recover(journal) == 7
    assert journal.read(held + 1)[0] == held + 1
    assert journal.next_seq == held + 2


def test_a_session_that_began_when_it_might_fits():
    medium = new_flash(64)
    folder = filesystem.Mounted(medium, filesystem.ESP32, True)
    journal = Journal(folder, 4000, 20 * 4096)
    recover(journal)
    journal.save()
    journal.measure()
    sessions = 0
    while journal.may_arm():
        sessions += 1
        for _ in range(60):  # 48,900 bytes, in 15 blocks
            journal.append(large(journal.next_seq))
    assert sessions > 2
    assert journal.is_warning()
    assert len(verdict.read_all(journal)) == sessions * 60
    journal.acknowledge(journal.next_seq - 1)
    assert journal.may_arm()
    assert not journal.is_warning()
    assert journal.free_bytes == folder.free_bytes()


# ---- the board's own folder ----


def test_the_journal_in_the_boards_own_folder():
    if filesystem.IS_MICROPYTHON:
        import vfs

        mounted = filesystem.Mounted(new_flash(32), filesystem.ESP32, True)
        vfs.mount(mounted._fs, "/pen")
        path = "/pen"
    else:
        import tempfile

        path = tempfile.mkdtemp()
    room = 0
    for number in range(1, 4):
        folder = Folder(path + "/epoch-2")
        journal = Journal(folder, 4000)
        recover(journal)
        journal.boot += 1
        journal.save()
        journal.measure()
        assert journal.boot == number
        assert 0 < journal.free_bytes == folder.free_bytes()
        if filesystem.IS_MICROPYTHON:
            assert journal.free_bytes % 4096 == 0
            assert journal.free_bytes <= 26 * 4096 - room  # of 32: the file system's own, and ours
        for _ in range(10):
            seq = journal.append(large(journal.next_seq))
            assert journal.read(seq) == (seq, large(seq))
        room += 8192
        journal.close()
    assert journal.next_seq == 31
    journal.acknowledge(30)
    assert len(folder.names()) == 3
    folder.write("one", b"1")
    folder.write("other", b"2")
    folder.rename("one", "other")
    assert folder.read("other") == b"1"
    assert folder.read("one") is None
    for name in folder.names():
        folder.remove(name)
    assert folder.names() == []
    if filesystem.IS_MICROPYTHON:
        vfs.umount("/pen")
