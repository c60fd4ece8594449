"""The journal: what was appended is there after any cut, and no number is used twice."""

# This file also runs on MicroPython, which lacks what these rules ask for.

from pen_fakes import MemoryFolder, badge_record, raises

from needletrail_device import frames
from needletrail_device.journal import STATE_FILES, Journal
from needletrail_device.recovery import recover
from needletrail_protocol import messages
from needletrail_protocol.readings import decode_record

SEGMENT = 200


def boot(folder, segment_max_bytes=SEGMENT):
    """A journal as main would have it, with the state saved."""
    journal = Journal(folder, segment_max_bytes)
    lost = recover(journal)
    journal.boot += 1
    journal.save()
    return journal, lost


def write(journal, count):
    payloads = []
    for _ in range(count):
        payload = alert_shown(journal.next_seq)
        assert journal.append(payload) == journal.next_seq - 1
        payloads.append(payload)
    return payloads


def alert_shown(seq):
    """A record that belongs to no open session."""
    return messages.encode_record(messages.ALERT_SHOWN, (seq, seq * 10, 1, "CODE_%d" % seq))


def read_all(journal, seq=1):
    found = []
    while seq < journal.next_seq:
        record = journal.read(seq)
        if record is None:
            break
        found.append(record)
        seq = record[0] + 1
    return found


def segments(folder):
    return sorted([name for name in folder.files if name.endswith(".log")])


def open_record(seq, session, t_ms):
    fields = (seq, t_ms, session, messages.OPENED_BY_MOTOR, None, None, [], 0, None)
    return messages.encode_record(messages.OPEN, fields)


def samples_record(seq, session, times_ms):
    count = len(times_ms)
    return messages.encode_samples(
        seq, session, count, 20, times_ms, [500] * count, 0, [0] * count, [False] * count
    )


# ---- frames ----


def test_a_frame_is_read_back():
    for length in (1, 2, 4096):
        data = frames.frame(7, bytes(length))
        folder = MemoryFolder({"f": data})
        reader = frames.Reader(folder.open("f", "rb"), len(data))
        assert reader.next(1) == (7, bytes(length))
        assert reader.next(1) is None
        assert not reader.is_torn
        assert reader.damaged_bytes == 0
    for length in (0, 4097):
        with raises(ValueError):
            frames.frame(1, bytes(length))


def test_any_flipped_bit_costs_one_record_at_the_most():
    data = b"".join([frames.frame(seq, b"payload %d" % seq) for seq in (1, 2, 3)])
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit >> 3] ^= 1 << (bit & 7)
        folder = MemoryFolder({"f": altered})
        reader = frames.Reader(folder.open("f", "rb"), len(data))
        found = []
        record = reader.next(1)
        while record is not None:
            found.append(record)
            record = reader.next(record[0] + 1)
        assert len(found) == 2, bit
        for seq, payload in found:
            assert payload == b"payload %d" % seq


def test_what_looks_like_a_frame_inside_a_damaged_one_is_none():
    short = frames.frame(9, b"x" * 30)
    for inner, found in (
        (frames.frame(9, b"x" * 3000)[:40], [(2, b"two")]),  # longer than the file
        (short[:-1] + b"y", [(2, b"two")]),  # of another payload
        (frames.frame(1, b"old"), [(2, b"two")]),  # of a record that was read already
    ):
        data = bytearray(frames.frame(1, b"one") + frames.frame(2, b"-" + inner + b"-"))
        data[len(frames.frame(1, b"one"))] ^= 1
        data += frames.frame(2, b"two")
        folder = MemoryFolder({"f": data})
        reader = frames.Reader(folder.open("f", "rb"), len(data))
        assert reader.next(1) == (1, b"one")
        assert reader.next(2) == found[0]
        assert reader.next(3) is None
        assert reader.damaged_bytes == 0
        data[-1] ^= 1
        reader = frames.Reader(MemoryFolder({"f": data}).open("f", "rb"), len(data))
        assert reader.next(2) is None
        assert reader.damaged_bytes > 0


# ---- writing and reading ----


def test_records_are_read_while_they_are_written():
    journal, _ = boot(MemoryFolder())
    assert journal.read(1) is None
    payloads = []
    for seq in range(1, 40):
        payloads += write(journal, 1)
        assert journal.read(seq) == (seq, payloads[-1])
    assert read_all(journal) == list(enumerate(payloads, 1))
    assert journal.read(17) == (17, payloads[16])
    assert journal.read(3) == (3, payloads[2])


def test_reading_falls_behind_and_catches_up():
    journal, _ = boot(MemoryFolder())
    payloads = write(journal, 3)
    assert journal.read(1) == (1, payloads[0])
    payloads += write(journal, 30)
    assert read_all(journal, 2) == list(enumerate(payloads, 1))[1:]


def test_everything_survives_power_off_and_a_clean_end_is_written_on():
    folder = MemoryFolder()
    payloads = []
    for number in range(1, 5):
        journal, _ = boot(folder, 1000)
        assert journal.boot == number
        assert journal.next_seq == len(payloads) + 1
        payloads += write(journal, 5)
        assert len(segments(folder)) == 1
        assert read_all(journal) == list(enumerate(payloads, 1))
    journal, _ = boot(folder, 1000)
    payloads += write(journal, 40)
    assert len(segments(folder)) == 2
    assert max([len(folder.files[name]) for name in segments(folder)]) <= 1000
    assert read_all(journal) == list(enumerate(payloads, 1))
    journal, _ = boot(folder)
    assert read_all(journal) == list(enumerate(payloads, 1))


def test_reading_goes_back_after_the_end_was_seen():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    payloads = write(journal, 12)
    for ready in (journal, boot(folder)[0]):
        assert ready.read(13) is None
        assert ready.read(2) == (2, payloads[1])
        assert ready.read(13) is None
        assert ready.read(12) == (12, payloads[11])


def test_a_boot_reads_the_newest_segment_only():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    write(journal, 100)
    journal.session = 1
    journal.append(samples_record(101, 1, [500]))
    assert len(segments(folder)) > 5
    opened = []

    class Watched(MemoryFolder):
        def open(self, name, mode):
            if name.endswith(".log") and mode == "rb":
                opened.append(name)
            return MemoryFolder.open(self, name, mode)

    boot(Watched(folder.files))
    assert opened == segments(folder)[-1:]


def test_covered_segments_go_and_nothing_else():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    payloads = write(journal, 40)
    before = len(segments(folder))
    oldest = 1
    for seq in range(1, 41):
        journal.acknowledge(seq)
        assert journal.durable_seq == seq
        assert oldest <= journal.oldest_seq() <= seq + 1
        oldest = journal.oldest_seq()
        assert read_all(journal, seq + 1) == list(enumerate(payloads, 1))[seq:]
    assert len(segments(folder)) == 1 < before
    journal.acknowledge(12)
    assert journal.durable_seq == 40
    with raises(ValueError):
        journal.acknowledge(41)


def test_numbers_survive_the_loss_of_all_segments():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    write(journal, 10)
    journal.session = 3
    journal.acknowledge(10)
    journal.close()
    for name in segments(folder):
        folder.remove(name)
    journal, _ = boot(folder)
    assert (journal.boot, journal.session, journal.durable_seq) == (2, 3, 10)
    assert journal.next_seq == journal.oldest_seq() == 11


def test_either_copy_of_the_state_will_do_and_a_torn_one_is_no_copy():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    write(journal, 10)
    journal.session = 3
    journal.close()
    for name in segments(folder):
        folder.remove(name)
    for torn in STATE_FILES:
        for length in range(len(folder.files[torn])):
            copy = MemoryFolder(folder.files)
            copy.files[torn] = copy.files[torn][:length]
            journal, _ = boot(copy)
            assert (journal.boot, journal.session, journal.next_seq) == (2, 3, 11)


def test_a_bit_flipped_in_either_copy_of_the_state_costs_nothing():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    write(journal, 10)
    journal.session = 3
    journal.acknowledge(10)
    journal.close()
    for name in STATE_FILES:
        for bit in range(8 * len(folder.files[name])):
            copy = MemoryFolder(folder.files)
            altered = bytearray(copy.files[name])
            altered[bit >> 3] ^= 1 << (bit & 7)
            copy.files[name] = bytes(altered)
            journal = Journal(copy, SEGMENT)
            recover(journal)
            assert (journal.boot, journal.session, journal.durable_seq) == (1, 3, 10), bit
            assert journal.next_seq == 11


def test_a_write_that_fails_is_made_again_under_its_number():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    payloads = write(journal, 1)
    for _ in range(3):
        folder.is_full = True
        with raises(OSError):
            write(journal, 1)
        folder.is_full = False
        assert journal.next_seq == len(payloads) + 1
        assert journal.read(journal.next_seq) is None
        payloads += write(journal, 2)
        assert read_all(journal) == list(enumerate(payloads, 1))
        assert read_all(boot(folder)[0]) == list(enumerate(payloads, 1))


def test_what_a_failed_write_left_is_void_when_its_number_was_given_again():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    first = write(journal, 1)
    (name,) = segments(folder)
    other = messages.encode_record(messages.ALERT_SHOWN, (2, 20, 1, "LEFT"))
    folder.files[name] += frames.frame(2, other)  # it came there although an error was reported
    journal.out_bytes = 0
    assert journal.read(2) is None
    second = write(journal, 1)
    assert read_all(journal) == [(1, first[0]), (2, second[0])]
    assert read_all(boot(folder)[0]) == [(1, first[0]), (2, second[0])]
    folder.remove(segments(folder)[1])
    assert read_all(boot(folder)[0]) == [(1, first[0]), (2, other)]  # never given again: it counts


def test_a_file_shorter_than_it_should_be_ends_there():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    payloads = write(journal, 2)
    assert journal.read(2) == (2, payloads[1])
    (name,) = segments(folder)
    before = folder.files[name]
    write(journal, 1)
    folder.files[name] = before
    assert journal.read(3) is None


# ---- room ----


class Measured(MemoryFolder):
    """A folder that says what is free."""

    def __init__(self, capacity_bytes):
        MemoryFolder.__init__(self)
        self.capacity_bytes = capacity_bytes
        self.asked = 0

    def free_bytes(self):
        self.asked += 1
        used = sum([len(self.files[name]) for name in self.files if name.endswith(".log")])
        return self.capacity_bytes - used


def test_a_journal_that_was_never_measured_has_room():
    journal, _ = boot(MemoryFolder())
    write(journal, 100)
    assert journal.may_arm()
    assert not journal.is_warning()
    assert journal.fill_percent() == 0


def test_the_journal_warns_and_then_refuses_and_recovers():
    folder = Measured(10_000)
    journal = Journal(folder, SEGMENT, 1000)
    recover(journal)
    journal.measure()
    warned = refused = 0
    while journal.free_bytes > 0:
        write(journal, 1)
        if journal.is_warning() and not warned:
            warned = sum([len(folder.files[name]) for name in segments(folder)])
            assert journal.fill_percent() >= 80
            assert journal.may_arm()
        if not journal.may_arm() and not refused:
            refused = sum([len(folder.files[name]) for name in segments(folder)])
            assert journal.is_warning()
    assert 7000 < warned < 8100 < refused < 9000  # the newest segment counts as if it were full
    assert folder.asked == 1  # and each segment was counted since
    journal.acknowledge(journal.next_seq // 2)
    assert journal.may_arm()
    assert not journal.is_warning()
    assert folder.asked == 1
    journal.acknowledge(journal.next_seq - 1)
    assert folder.asked == 2  # little is left to look at
    assert journal.free_bytes == folder.free_bytes()
    assert journal.fill_percent() < 3


def test_a_small_board_warns_as_soon_as_it_refuses():
    folder = Measured(2000)
    journal = Journal(folder, SEGMENT, 1500)
    recover(journal)
    journal.measure()
    assert not journal.is_warning()
    while journal.may_arm():
        write(journal, 1)
    assert journal.fill_percent() < 80
    assert journal.is_warning()


def test_a_segment_that_another_has_removed_is_no_error():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    write(journal, 40)
    gone = segments(folder)[0]

    class Failing(MemoryFolder):
        def remove(self, name):
            self.files.pop(name, None)
            raise OSError(2 if name == gone else 5)

    journal.folder = Failing(folder.files)
    with raises(OSError):
        journal.acknowledge(40)
    assert segments(journal.folder) == segments(folder)[2:]  # the second went, too, and said otherwise
    journal.folder = MemoryFolder(folder.files)
    assert journal.oldest_seq() == int(segments(folder)[1][:8], 16)
    journal.acknowledge(40)
    assert len(journal.firsts) == 1


# ---- power cuts ----


def test_a_cut_at_every_byte_of_the_last_frame():
    folder = MemoryFolder()
    journal, _ = boot(folder, 100_000)
    payloads = write(journal, 3)
    (name,) = segments(folder)
    whole = folder.files[name]
    begin = len(whole) - len(frames.frame(3, payloads[2]))
    for length in range(begin, len(whole) + 1):
        copy = MemoryFolder(folder.files)
        copy.files[name] = whole[:length]
        journal, _ = boot(copy)
        kept = 3 if length == len(whole) else 2
        assert journal.next_seq == kept + 1, length
        assert read_all(journal) == list(enumerate(payloads[:kept], 1)), length
        added = write(journal, 2)  # never behind the torn end, and found again
        expected = list(enumerate(payloads[:kept] + added, 1))
        assert read_all(journal) == expected, length
        assert read_all(boot(copy)[0]) == expected, length


def test_a_cut_at_every_byte_of_the_only_frame():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    payloads = write(journal, 1)
    (name,) = segments(folder)
    whole = folder.files[name]
    for length in range(len(whole)):
        copy = MemoryFolder(folder.files)
        copy.files[name] = whole[:length]
        journal, _ = boot(copy)
        assert (journal.next_seq, journal.oldest_seq()) == (1, 1)
        assert read_all(journal) == []
        assert write(journal, 1) == payloads
        assert read_all(journal) == [(1, payloads[0])]


def test_a_damaged_end_may_have_been_sent_so_its_number_is_left_out():
    folder = MemoryFolder()
    journal, _ = boot(folder, 100_000)
    payloads = write(journal, 3)
    (name,) = segments(folder)
    whole = folder.files[name]
    begin = len(whole) - len(frames.frame(3, payloads[2]))
    for at in range(begin, len(whole)):
        copy = MemoryFolder(folder.files)
        copy.files[name] = whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]
        journal, _ = boot(copy)
        assert journal.next_seq > 3, at
        seq = journal.next_seq
        added = write(journal, 1)[0]
        assert read_all(journal) == [(1, payloads[0]), (2, payloads[1]), (seq, added)]
        assert boot(copy)[0].next_seq == seq + 1


def test_damage_in_the_middle_costs_one_record_and_the_reader_goes_on():
    folder = MemoryFolder()
    journal, _ = boot(folder, 100_000)
    payloads = write(journal, 5)
    (name,) = segments(folder)
    data = bytearray(folder.files[name])
    data[len(frames.frame(1, payloads[0])) + frames.HEADER + 2] ^= 1
    folder.files[name] = bytes(data)
    journal, _ = boot(folder)
    assert journal.next_seq == 6
    assert journal.read(2) == (3, payloads[2])
    assert [seq for seq, _ in read_all(journal)] == [1, 3, 4, 5]


# ---- a session found open ----


def test_no_open_session_no_close():
    folder = MemoryFolder()
    journal, lost = boot(folder)
    assert lost is None
    write(journal, 2)
    assert boot(folder)[1] is None


def test_a_session_found_open_is_closed_with_its_last_reading():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    journal.append(open_record(1, 4, 1000))
    journal.append(samples_record(2, 4, [1000, 1020, 1043]))
    write(journal, 1)
    journal, lost = boot(folder)
    assert lost == 4
    assert journal.session == 4
    record = decode_record(journal.read(4)[1])
    assert (record.kind, record.cause) == (messages.CLOSE, messages.CLOSED_BY_POWER_LOSS)
    assert (record.session, record.t_ms) == (4, 1043)
    journal, lost = boot(folder)
    assert lost is None
    assert journal.next_seq == 5


def test_a_session_found_open_without_a_reading():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    journal.append(samples_record(1, 3, [500]))
    journal.append(open_record(2, 4, 1000))
    journal.append(badge_record(3, 4))
    journal, lost = boot(folder)
    assert lost == 4
    assert decode_record(journal.read(4)[1]).t_ms == 30


def test_a_session_found_open_whose_records_are_all_committed_and_gone():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    journal.append(open_record(1, 4, 1000))
    journal.append(samples_record(2, 4, [1000, 1020]))
    journal.session = journal.open_session = 4
    journal.open_t_ms = 1020
    write(journal, 40)
    journal.acknowledge(journal.next_seq - 1)
    assert journal.oldest_seq() > 2
    journal, lost = boot(folder)
    assert lost == 4
    record = decode_record(journal.read(journal.next_seq - 1)[1])
    assert (record.session, record.t_ms) == (4, 1020)


def test_a_closed_session_stays_closed():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    journal.append(open_record(1, 4, 1000))
    journal.session = journal.open_session = 4
    journal.save()
    fields = (2, 1000, 4, messages.CLOSED_BY_REMOVAL, 0, None, 0)
    journal.append(messages.encode_record(messages.CLOSE, fields))
    journal, lost = boot(folder)
    assert lost is None
    assert (journal.session, journal.open_session) == (4, 0)


def test_a_badge_after_the_state_was_saved_leaves_its_time():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    journal.append(open_record(1, 4, 1000))
    journal.session = journal.open_session = 4
    journal.open_t_ms = 1000
    journal.save()
    journal.append(badge_record(2, 4))
    journal, lost = boot(folder)
    assert lost == 4
    assert decode_record(journal.read(3)[1]).t_ms == 1000


def test_a_state_and_a_record_of_another_firmware_are_left_alone():
    folder = MemoryFolder()
    journal, _ = boot(folder)
    write(journal, 2)
    journal.append(b"\x82\x02\x03")  # an `open` with a field of an unknown form
    for name in STATE_FILES:
        whole = folder.files[name]
        for payload in (b"\xff", b"\x01", b"\x81\x01"):
            folder.files[name] = frames.frame(99, payload)
            again = Journal(MemoryFolder(folder.files))
            assert recover(again) is None
            assert (again.boot, again.next_seq) == (1, 4)
        folder.files[name] = whole
