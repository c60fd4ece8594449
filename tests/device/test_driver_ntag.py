"""Cartridge and badge through a PN532: what is read, who is gone, and nothing that was never there."""

import gc

from pen_fakes import BADGE_1, BADGE_2
from pn532_fake import ACK, BankCard, Bench, Foreign, Ntag, Phone, data_of, frame_of, ndef_area, pattern

from needletrail_device.drivers import ntag
from needletrail_device.drivers.ntag import Tags
from needletrail_device.drivers.pn532 import Pn532
from needletrail_device.drivers.pn532_i2c import I2cLink
from needletrail_device.drivers.pn532_spi import SpiLink
from needletrail_device.drivers.tlv import FOUND, MALFORMED, MORE, Message
from needletrail_protocol.ndef import MESSAGE_MAX_LENGTH

PARTS = (Tags, Pn532, I2cLink, SpiLink)
UID_1 = b"\x04\x11\x22\x33\x44\x55\x66"
UID_2 = b"\x04\xa1\xa2\xa3\xa4\xa5\xa6"
UID_3 = b"\x05\x01\x02\x03\x04\x05\x06"
LOCK_213 = b"\x01\x03\xa0\x0c\x34"  # NTAG 8.5.6: as an NTAG213 is delivered
SHORT = b"\xd1\x01\x0dU\x04one.example/c"


def bench(is_spi=False, step_ms=10):
    return Bench(PARTS, is_spi, step_ms)


def read(tag, is_spi=False):
    """The events of putting a tag on for three seconds."""
    pen = bench(is_spi)
    pen.chip.put(tag)
    pen.run(3000)
    assert pen.faults == []
    return pen.heard()


# ---- what is read ----


def test_every_kind_of_tag_with_short_and_long_messages_on_both_buses():
    longest = {213: 140, 215: 492, 216: 868}  # data area less block head, and terminator or not
    for kind, most in longest.items():
        for count in (1, 11, 12, 13, 16, 29, 100, most - 1, most):
            message = pattern(count, kind + count)
            for is_spi in (False, True):
                tag = Ntag(kind, UID_1, ndef_area(message))
                assert read(tag, is_spi) == [("cartridge", message)], (kind, count, is_spi)


def test_no_more_is_read_than_the_message_needs():
    for count, pieces in ((14, 1), (15, 2), (30, 2), (31, 3)):
        pen = bench()
        pen.chip.put(Ntag(216, UID_1, ndef_area(pattern(count))))
        pen.run(1000)
        pages = [command[3] for command in pen.chip.commands if command[0] == 0x40]
        assert pages == [0] + [4 + 4 * piece for piece in range(pieces)] + [0]


def test_blocks_before_the_message_are_skipped():
    reserved = b"\x02\x03\xe2\x04\x0f"  # memory control, far behind
    other = b"\xfd\x05secre" + b"\x00\x00" + b"\x77\xff\x01\x04" + bytes(260)
    for kind, before in ((213, LOCK_213), (213, b"\x00" * 7 + LOCK_213), (215, other), (216, other)):
        area = ndef_area(SHORT, before)
        assert read(Ntag(kind, UID_1, area)) == [("cartridge", SHORT)], (kind, before)
    for area in (b"\x02\x03\x29\x01\x34", LOCK_213):  # just behind the message; in a 215's data area
        assert read(Ntag(215, UID_1, ndef_area(SHORT, area))) == [("cartridge", SHORT)]
    assert read(Ntag(215, UID_1, ndef_area(bytes(140), LOCK_213))) == [("cartridge", b"")]
    pages_of_128 = b"\x02\x03\x84\x08\x07"  # page 8, byte 4: address 1028, behind all
    long = pattern(600)
    assert read(Ntag(216, UID_1, ndef_area(long, pages_of_128))) == [("cartridge", long)]
    assert read(Ntag(213, UID_1, ndef_area(SHORT, reserved))) == [("cartridge", SHORT)]


def test_a_message_without_a_terminator_and_one_of_no_bytes():
    assert read(Ntag(213, UID_1, b"\x03\x02ab")) == [("cartridge", b"ab")]
    assert read(Ntag(213, UID_1, b"\x03\x00\xfe")) == [("cartridge", b"")]
    assert read(Ntag(216, UID_1, b"\x03\xff\x00\x02ab")) == [("cartridge", b"ab")]


def test_what_is_malformed_is_a_cartridge_that_says_nothing():
    for area in (
        b"\xfe" + ndef_area(SHORT),  # a terminator first
        b"",  # nothing but null blocks
        b"\x03\x8f" + bytes(143),  # 143 bytes where 142 are left
        b"\x03\xff\x03\x79" + bytes(20),  # 889 bytes
        b"\x03\xff\xff\xff" + bytes(20),
        b"\xfd\xff\x00\x90" + bytes(20),  # a block that goes beyond the end
        b"\x01\x02\xa0\x0c" + ndef_area(SHORT),  # a lock control block of two bytes
        b"\x02\x04\xa0\x0c\x34\x00" + ndef_area(SHORT),
        b"\x01\x03\x20\x0c\x34" + ndef_area(SHORT),  # lock bytes within the message
        b"\x02\x03\x28\x01\x34" + ndef_area(SHORT),  # reserved: its last byte
        b"\x02\x03\x15\x01\x34" + ndef_area(SHORT),  # the byte just behind the control block
        b"\x02\x03\x00\x01\x34" + ndef_area(SHORT),  # in page 0
        bytes(142) + b"\x03\x01",  # it begins with the last byte
        bytes(143) + b"\x03",
    ):
        assert read(Ntag(213, UID_1, area)) == [("cartridge", b"")], area


def test_a_capability_container_that_is_none():
    for container in (
        b"\x00\x00\x00\x00",  # as a blank Ultralight has it
        b"\xe2\x10\x12\x00",
        b"\xe1\x20\x12\x00",  # version 2
        b"\xe1\x10\x12\x10",  # no access for reading
        b"\xe1\x10\x00\x00",  # no data area
    ):
        tag = Ntag(213, UID_1, ndef_area(SHORT))
        tag.memory[12:16] = container
        assert read(tag) == [("cartridge", b"")], container
    tag = Ntag(213, UID_1, ndef_area(SHORT))
    tag.memory[13] = 0x1F  # a later minor version
    tag.memory[15] = 0x0F  # no access for writing: what a finished tag should have
    assert read(tag) == [("cartridge", SHORT)]


def test_a_container_that_promises_more_than_any_ntag_has():
    tag = Ntag(216, UID_1, ndef_area(pattern(868)))
    tag.memory[14] = 0xFF
    assert read(tag) == [("cartridge", pattern(868))]
    tag = Ntag(216, UID_1, b"\x03\xff\x03\x78" + bytes(868))
    tag.memory[14] = 0xFF
    assert read(tag) == [("cartridge", b"")]  # 888 bytes do not fit behind their own head


def test_a_protected_tag_and_a_foreign_one_say_nothing_after_some_tries():
    tag = Ntag(213, UID_1, ndef_area(SHORT))
    tag.protected_page = 5
    assert read(tag) == [("cartridge", b"")]
    assert read(Foreign(b"\x01\x02\x03\x04")) == [("cartridge", b"")]


def test_a_phone_is_no_tag_of_ours():
    assert read(Phone()) == []
    assert read(BankCard(213, UID_3, ndef_area(SHORT))) == []
    pen = bench()
    pen.chip.put(Phone())
    pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    pen.run(2000)
    assert pen.heard() == [("cartridge", SHORT)]
    pen = bench()
    pen.chip.put(Phone())
    pen.chip.put(Ntag(213, b"\x0f" + UID_2[1:], ndef_area(BADGE_1)))  # listed behind the phone
    pen.run(2000)
    assert pen.heard() == [("badge", BADGE_1)]


# ---- blocks, byte by byte ----


def feed(area, size):
    """(what came last, the value, how many pieces were taken)."""
    message = Message(size)
    area += bytes(-len(area) % 16)
    for at in range(0, len(area), 16):
        state = message.feed(area, at)
        if state != MORE:
            break
    return state, bytes(message.value), at // 16 + 1


def test_a_message_at_every_place_of_the_data_area():
    for size in (144, 496, 872):
        for before in range(0, size - 3, 7):
            for count in (1, 2, 15, 200, 254, 255, 256, 868):
                message = pattern(count, before + 1)
                area = ndef_area(message, bytes(before))
                fits = len(area) - 1 <= size
                state, value, pieces = feed(area, size)
                assert state == (FOUND if fits else MALFORMED), (size, before, count)
                if fits:
                    assert value == message
                    assert pieces == (len(area) - 2) // 16 + 1


def test_what_is_allocated_is_bounded_by_the_largest_tag():
    for length in range(0x300, 0x10000, 0x101):
        area = b"\x03\xff" + bytes((length >> 8, length & 0xFF)) + bytes(12)
        message = Message(2040)
        state = message.feed(area, 0)
        assert (state == MORE) == (length <= MESSAGE_MAX_LENGTH)
        assert len(message.value) <= MESSAGE_MAX_LENGTH


def test_what_can_not_be_is_refused_at_once():
    assert feed(b"\x03\x8f" + bytes(142), 144) == (MALFORMED, b"", 1)
    assert feed(b"\xfd\xff\x01\x00" + bytes(140), 144) == (MALFORMED, b"", 1)


def test_control_blocks_cut_the_area_short_once():
    """From byte 112 of the data area on: reserved. Two blocks say so, then a third: from byte 96 on."""
    twice = b"\x01\x03\x80\x0c\x34" + b"\x02\x03\x80\x10\x34"
    third = b"\x02\x03\x70\x10\x34"
    for before, end in ((twice, 112), (twice + third, 96), (third + twice, 96)):
        longest = pattern(end - len(before) - 2)
        assert feed(ndef_area(longest, before), 144)[:2] == (FOUND, longest)
        assert feed(ndef_area(longest + b"x", before), 144)[0] == MALFORMED
    state, _, pieces = feed(b"\x02\x03\x00\x01\x34" + bytes(300), 144)
    assert (state, pieces) == (MALFORMED, 1)


def test_any_bytes_at_all_end_within_the_data_area():
    for seed in range(300):
        area = bytearray(pattern(880, seed))
        for at in range(0, 880, 3):
            area[at] &= seed % 8
        state, value, pieces = feed(bytes(area), 872)
        assert state in (FOUND, MALFORMED)
        assert pieces <= 55
        assert bytes(area).find(value) >= 0 or state == MALFORMED


# ---- who comes and goes ----


def test_a_cartridge_is_told_once_and_its_removal_within_600_ms():
    for is_spi in (False, True):
        for later_ms in range(0, 160, 10):
            pen = bench(is_spi)
            pen.run(500)
            tag = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
            put_ms = pen.clock.now_ms
            pen.run(3000 + later_ms)
            assert pen.heard() == [("cartridge", SHORT)]
            assert pen.events[0][0] - put_ms <= 500
            pen.chip.take(tag)
            gone_ms = pen.clock.now_ms
            pen.run(3000)
            assert pen.heard() == [("cartridge", SHORT), ("removed", b"")]
            assert 200 <= pen.events[1][0] - gone_ms <= 600
            assert pen.faults == []


def test_two_missed_polls_are_no_removal():
    for misses in (1, 2, 3):
        pen = bench()
        tag = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
        pen.run(1000)
        missed = []

        def deaf(is_wake_up, missed=missed, misses=misses, tag=tag):
            if len(missed) >= 3 * misses:  # a listing asks three times
                return Ntag.request(tag, is_wake_up)
            missed.append(1)
            return False

        tag.request = deaf
        pen.run(2000)
        if misses < ntag.MISSES_MAX:
            assert pen.heard() == [("cartridge", SHORT)]
        else:
            assert pen.heard() == [("cartridge", SHORT), ("removed", b""), ("cartridge", SHORT)]


def test_a_cartridge_put_in_again_is_told_again():
    pen = bench()
    tag = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    pen.run(1000)
    pen.chip.take(tag)
    pen.run(1000)
    pen.chip.put(tag)
    pen.run(1000)
    assert pen.heard() == [("cartridge", SHORT), ("removed", b""), ("cartridge", SHORT)]


def test_a_cartridge_changed_quickly_is_a_removal_and_an_arrival():
    for away_ms in range(0, 400, 30):
        pen = bench()
        tag = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
        pen.run(1000)
        pen.chip.take(tag)
        pen.run(away_ms)
        pen.chip.put(Ntag(213, UID_2, ndef_area(b"other")))
        pen.run(2000)
        assert pen.heard() == [("cartridge", SHORT), ("removed", b""), ("cartridge", b"other")]


def test_a_badge_held_for_long_is_one_event_and_another_after_it_was_away():
    pen = bench()
    badge = pen.chip.put(Ntag(213, UID_2, ndef_area(BADGE_1)))
    pen.run(5000)
    assert pen.heard() == [("badge", BADGE_1)]
    pen.chip.take(badge)
    pen.run(1000)
    assert pen.heard() == [("badge", BADGE_1)]
    pen.chip.put(badge)
    pen.run(1000)
    assert pen.heard() == [("badge", BADGE_1), ("badge", BADGE_1)]


def test_a_badge_beside_the_cartridge_whichever_the_chip_names_first():
    for uid_cartridge, uid_badge in ((UID_1, UID_2), (UID_2, UID_1)):
        for is_spi in (False, True):
            pen = bench(is_spi)
            pen.chip.put(Ntag(213, uid_cartridge, ndef_area(SHORT, LOCK_213)))
            pen.run(1000)
            for content in (BADGE_1, BADGE_2):
                badge = pen.chip.put(Ntag(213, uid_badge, ndef_area(content)))
                pen.run(1000)
                pen.chip.take(badge)
                pen.run(1000)
            wanted = [("cartridge", SHORT), ("badge", BADGE_1), ("badge", BADGE_2)]
            assert pen.heard() == wanted


def test_cartridge_and_badge_that_come_in_one_poll_are_both_read():
    for uid_cartridge, uid_badge in ((UID_1, UID_2), (UID_2, UID_1)):
        pen = bench()
        pen.chip.put(Ntag(216, uid_cartridge, ndef_area(pattern(300))))
        pen.chip.put(Ntag(213, uid_badge, ndef_area(BADGE_1)))
        pen.run(3000)
        assert sorted(pen.heard()) == [("badge", BADGE_1), ("cartridge", pattern(300))]


def test_a_chip_that_lists_one_of_two_does_not_lose_the_cartridge():
    pen = bench()
    cartridge = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    pen.run(1000)
    pen.chip.lists_one = True
    badge = pen.chip.put(Ntag(213, UID_2, ndef_area(BADGE_1)))
    pen.chip.strongest = badge
    pen.run(3000)
    assert pen.heard() == [("cartridge", SHORT), ("badge", BADGE_1)]
    pen.chip.take(cartridge)
    gone_ms = pen.clock.now_ms
    pen.run(2000)
    assert pen.heard()[2:] == [("removed", b"")]
    assert pen.events[2][0] - gone_ms <= 700


def test_a_foreign_cartridge_that_is_not_listed_is_gone_without_being_asked_for():
    pen = bench()
    pen.chip.put(Foreign(b"\x01\x02\x03\x04"))
    pen.run(3000)
    pen.chip.lists_one = True
    pen.chip.strongest = pen.chip.put(Ntag(213, UID_2, ndef_area(BADGE_1)))
    pen.run(3000)
    assert pen.heard() == [("cartridge", b""), ("badge", BADGE_1), ("removed", b"")]


def test_a_listing_that_says_more_than_it_holds_is_believed_as_far_as_it_goes():
    whole = b"\x01\x00\x44\x00\x07" + UID_1
    pen = bench()
    pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    told = [("cartridge", SHORT)]
    gone = [("cartridge", SHORT), ("removed", b"")]
    for listing, heard in (
        (b"\x02" + whole, told),
        (b"\xff" + whole + b"\x02\x00\x44\x00", told),
        (b"\x02" + whole + b"\x02\x00\x44\x00\x07" + UID_1[:-1], told),
        (b"\x03" + whole + b"\x02\x00\x44\x00\xff" + UID_1 + bytes(12), told),
        (b"\x03" + whole + whole + b"\x02\x00\x44\x00\x07" + UID_1[:-1], told),
        (b"\x04" + whole + whole + whole, told),  # to the end of what can be received
        (b"", gone),
        (b"\x01", gone),
        (b"\x01" + whole[:-1], gone),
        (b"\x02" + bytes(4), gone),
    ):

        def change(number, is_to_host, frame, listing=listing):
            is_listing = is_to_host and data_of(frame)[:2] == b"\xd5\x4b"
            return frame_of(b"\xd5\x4b" + listing) if is_listing else frame

        pen.chip.mangle = change
        pen.run(2000)
        assert pen.heard() == heard
        assert pen.faults == []


def test_a_second_cartridge_waits_for_the_first_to_go():
    pen = bench()
    first = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    pen.run(1000)
    pen.chip.put(Ntag(213, UID_2, ndef_area(b"spare")))
    pen.run(3000)
    assert pen.heard() == [("cartridge", SHORT)]
    pen.chip.take(first)
    pen.run(2000)
    assert pen.heard()[1:] == [("removed", b""), ("cartridge", b"spare")]


def test_a_tag_that_can_not_be_read_does_not_keep_a_badge_waiting():
    pen = bench()
    tag = pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    tag.protected_page = 0
    pen.chip.put(Ntag(213, UID_2, ndef_area(BADGE_1)))
    pen.run(900)
    assert pen.heard() == [("badge", BADGE_1)]
    pen.run(3000)
    assert pen.heard() == [("badge", BADGE_1), ("cartridge", b"")]


def test_events_wait_until_they_are_taken():
    pen = bench()
    pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    reader = pen.reader
    for now_ms in range(0, 5000, 10):
        pen.clock.now_ms = now_ms
        reader.step(now_ms)
    listings = [command for command in pen.chip.commands if command[:2] == b"\x4a\x02"]
    assert len(listings) == 1
    assert reader.take_event() == ("cartridge", SHORT)
    assert reader.take_event() is None


def test_the_field_is_off_between_polls():
    pen = bench()
    pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
    pen.run(1000)
    steps = on = 0
    while steps < 300:
        pen.step()
        steps += 1
        on += pen.chip.is_on
    assert 0 < on < 200


# ---- a tag that goes while it is read ----


def test_gone_at_every_exchange_of_the_reading():
    """All of the message, or no event at all; and the next tag is read as if nothing had been."""
    message = pattern(61)
    ends = set()
    for exchanges in range(60):
        pen = bench(exchanges % 2 == 1)
        tag = Ntag(213, UID_1, ndef_area(message))
        tag.exchanges_left = exchanges
        pen.chip.put(tag)
        pen.run(2000)
        ends.add(len(pen.events))
        assert pen.heard() in ([], [("cartridge", message), ("removed", b"")]), exchanges
        pen.events = []
        pen.chip.put(Ntag(213, UID_2, ndef_area(SHORT)))
        pen.run(1000)
        assert pen.heard() == [("cartridge", SHORT)]
        assert pen.faults == []
    assert ends == {0, 2}


def test_a_badge_gone_at_every_exchange_leaves_the_cartridge_alone():
    ends = set()
    for exchanges in range(40):
        pen = bench()
        pen.chip.put(Ntag(213, UID_1, ndef_area(SHORT)))
        pen.run(1000)
        badge = Ntag(213, UID_2, ndef_area(BADGE_1))
        badge.exchanges_left = exchanges
        pen.chip.put(badge)
        pen.run(3000)
        ends.add(len(pen.events))
        assert pen.heard() in (
            [("cartridge", SHORT)],
            [("cartridge", SHORT), ("badge", BADGE_1)],
        ), exchanges
    assert ends == {1, 2}


def test_two_half_readings_are_never_one():
    """The first tag goes at every exchange, another comes at once. Also if the other answers in the
    first one's place, which no tag can: it would have to be active without having been selected."""
    first, second = pattern(90, 5), pattern(90, 6)
    for is_impossible in (False, True):
        for exchanges in range(40):
            pen = bench()
            one = Ntag(213, UID_1, ndef_area(first))
            two = Ntag(213, UID_2, ndef_area(second))

            def change(pen=pen, two=two, is_impossible=is_impossible):
                pen.chip.put(two)
                if is_impossible:
                    two.state = 2

            one.exchanges_left = exchanges
            one.when_gone = change
            pen.chip.put(one)
            pen.run(3000)
            heard = pen.heard()
            assert heard[-1] == ("cartridge", second), (is_impossible, exchanges)
            assert heard[:-1] in ([], [("cartridge", first), ("removed", b"")])


def test_an_answer_with_a_status_or_of_another_length_is_no_page():
    """The first pages, the message and the first pages again: three answers, each spoilt in turn."""
    for spoil in (
        lambda data: data[:2] + b"\x02" + data[3:],  # UM 7.1: CRC error, with what came
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: data[:2],
    ):
        for wrong in range(3):
            pen = bench()
            pages = []

            def change(number, is_to_host, frame, pages=pages, wrong=wrong, spoil=spoil):
                data = data_of(frame)
                if data is ACK or data[:2] != b"\xd5\x41":
                    return frame
                pages.append(number)
                return frame_of(spoil(data)) if len(pages) == wrong + 1 else frame

            pen.chip.mangle = change
            pen.chip.put(Ntag(213, UID_1, ndef_area(b"short")))
            pen.run(1500)
            assert pen.heard() == [("cartridge", b"short")]
            assert len(pages) == 3 + wrong + 1
            assert pen.faults == []


def test_a_tag_at_the_edge_of_the_field_is_read_when_it_comes_nearer():
    pen = bench()
    tag = Ntag(213, UID_1, ndef_area(SHORT))
    exchange = tag.exchange
    tag.exchange = lambda _: None
    pen.chip.put(tag)
    pen.run(1000)
    assert pen.heard() == []
    tag.exchange = exchange
    pen.run(500)
    assert pen.heard() == [("cartridge", SHORT)]


# ---- what it costs ----


class Canned:
    """A link whose chip always sees the same two tags and allocates nothing."""

    def __init__(self):
        self.answers = {}
        for code, data in (
            (0x14, b""),
            (0x32, b""),
            (0x12, b""),
            (0x4A, b"\x02\x01\x00\x44\x00\x07" + UID_1 + b"\x02\x00\x44\x00\x07" + UID_2),
            (0x40, b"\x00" + bytes(Ntag(213, UID_1).memory[:16])),
        ):
            self.answers[code] = frame_of(bytes((0xD5, code + 1)) + data)
        self.frame = ACK
        self.code = 0
        self.commands = 0

    def send(self, frame):
        if len(frame) > 6:
            self.code = frame[6]
            self.frame = ACK
            self.commands += 1

    def receive(self, view):
        for at in range(len(self.frame)):
            view[1 + at] = self.frame[at]
        self.frame = self.answers[self.code]
        return True


def test_polls_that_change_nothing_allocate_nothing():
    link = Canned()
    reader = Tags(Pn532(link))
    for now_ms in range(0, 5000, 10):
        reader.step(now_ms)
    # The second tag answers with the first one's pages: it is given up after some tries.
    assert reader.take_event() == ("cartridge", b"")
    assert reader.take_event() is None
    for now_ms in range(5000, 10000, 10):
        reader.step(now_ms)
    commands = link.commands
    gc.collect()
    gc.disable()
    before = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0  # CPython cannot tell
    for now_ms in range(10000, 20000, 10):
        reader.step(now_ms)
    after = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
    gc.enable()
    assert after == before, after - before
    assert 160 <= link.commands - commands <= 168  # a listing and field off, every 120 ms
    assert reader.take_event() is None and reader.fault is None
