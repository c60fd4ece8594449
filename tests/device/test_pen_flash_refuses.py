"""Flash that fails while it is read or cleared: nothing is guessed or lost, and it is tried again."""

from pen_fakes import MemoryFolder, badge_record, raises

from needletrail_device.journal import STATE_FILES, Journal
from needletrail_device.recovery import recover

EIO, ENOENT = 5, 2


class Failing(MemoryFolder):
    """`refused` holds names that can not be opened, or removed; `error` is what is said then."""

    def __init__(self, files=None):
        MemoryFolder.__init__(self, files)
        self.refused = ()
        self.error = EIO

    def open(self, name, mode):
        if name in self.refused:
            raise OSError(self.error)
        return MemoryFolder.open(self, name, mode)

    def remove(self, name):
        if name in self.refused:
            raise OSError(self.error)
        MemoryFolder.remove(self, name)


def filled(folder, records=30):
    journal = Journal(folder, 200)
    journal.boot = 7
    journal.save()
    for _ in range(records):
        journal.append(badge_record(journal.next_seq))
    return journal


def test_a_boot_does_not_guess_its_number_from_a_state_that_can_not_be_read():
    folder = Failing()
    filled(folder).close()
    for refused in STATE_FILES:
        folder.refused = (refused,)
        journal = Journal(folder, 200)
        recover(journal)
        assert journal.boot == 7, "the other copy will do"
    folder.refused = STATE_FILES
    with raises(OSError) as caught:
        recover(Journal(folder, 200))
    assert caught.error.args[0] == EIO, "a boot number would be used twice"
    folder.refused = ()
    journal = Journal(folder, 200)
    recover(journal)
    assert (journal.boot, journal.next_seq) == (7, 31)


def test_a_segment_that_can_not_be_removed_is_removed_later():
    folder = Failing()
    journal = filled(folder)
    names = [name for name in sorted(folder.files) if name.endswith(".log")]
    assert len(names) > 3
    folder.refused = (names[1],)
    with raises(OSError):
        journal.acknowledge(29)
    assert names[0] not in folder.files and names[1] in folder.files
    assert journal.durable_seq == 29
    folder.refused = ()
    journal.acknowledge(29)
    assert [name for name in folder.files if name.endswith(".log")] == names[-1:]


def test_a_segment_that_went_although_an_error_was_reported_is_gone():
    folder = Failing()
    journal = filled(folder)
    names = [name for name in sorted(folder.files) if name.endswith(".log")]
    folder.refused, folder.error = (names[0],), ENOENT
    journal.acknowledge(29)
    assert journal.oldest_seq() > 1
