"""Commands to a PN532 on a bad day: damaged, cut, swallowed and late frames, and no chip at all."""

# ruff: noqa: ARG005, B905, RUF007
# This file also runs on MicroPython, which lacks what these rules ask for.

from pen_fakes import BADGE_1, raises
from pn532_fake import (
    ACK,
    ERROR,
    NACK,
    Bench,
    Chip,
    Clock,
    I2cBus,
    Ntag,
    SpiBus,
    data_of,
    frame_of,
    ndef_area,
    pattern,
)

from needletrail_device.drivers.ntag import BACK_OFF_MAX_MS, Tags
from needletrail_device.drivers.pn532 import (
    ACK_MS,
    BUSY,
    DONE,
    FAILED,
    NFC_BUS,
    NFC_FRAMES,
    NFC_SILENT,
    RESPONSE_MS,
    TRIES,
    Pn532,
)
from needletrail_device.drivers.pn532_i2c import I2cLink
from needletrail_device.drivers.pn532_spi import SpiLink

PARTS = (Tags, Pn532, I2cLink, SpiLink)
UID_1 = b"\x04\x11\x22\x33\x44\x55\x66"
UID_2 = b"\x04\xa1\xa2\xa3\xa4\xa5\xa6"
SAM = b"\x14\x01\x00\x00"
MESSAGE = pattern(29)
CARTRIDGE = [("cartridge", MESSAGE)]
REMOVED = [("cartridge", MESSAGE), ("removed", b"")]


def bench(is_spi=False, step_ms=10):
    return Bench(PARTS, is_spi, step_ms)


class Wire:
    """One chip and its driver, and every frame that passed: (is_to_host, frame)."""

    def __init__(self, is_spi=False):
        self.clock = Clock()
        self.chip = Chip(self.clock)
        self.bus = SpiBus(self.chip) if is_spi else I2cBus(self.chip)
        link = SpiLink(self.bus, self.bus.select) if is_spi else I2cLink(self.bus)
        self.driver = Pn532(link)
        self.seen = []
        self.change = None  # called like Chip.mangle
        self.chip.mangle = self._see

    def _see(self, number, is_to_host, frame):
        self.seen.append((is_to_host, frame))
        return self.change(number, is_to_host, frame) if self.change else frame

    def run(self, command, limit_ms=5000):
        """The outcome of a command."""
        self.driver.begin(self.clock.now_ms, command)
        for _ in range(limit_ms // 10):
            self.clock.now_ms += 10
            outcome = self.driver.step(self.clock.now_ms)
            if outcome != BUSY:
                return outcome
        return BUSY

    def answer(self):
        driver = self.driver
        return bytes(driver.data[driver.at : driver.at + driver.count])

    def set_up(self):
        """Past the first command, which wakes the chip."""
        assert self.run(SAM) == DONE
        self.seen = []


# ---- frames ----


def test_the_frames_of_the_first_commands_are_those_of_the_manual():
    for is_spi in (False, True):
        wire = Wire(is_spi)
        assert wire.run(SAM) == DONE
        assert wire.answer() == b""
        # The abort before it woke the chip and was lost.
        assert wire.seen == [
            (False, b"\x00\x00\xff\x05\xfb\xd4\x14\x01\x00\x00\x17\x00"),
            (True, b"\x00\x00\xff\x00\xff\x00"),
            (True, b"\x00\x00\xff\x02\xfe\xd5\x15\x16\x00"),
        ]
        wire.seen = []
        assert wire.run(b"\x32\x05\xff\x01\x02") == DONE
        assert wire.seen[0] == (False, b"\x00\x00\xff\x06\xfa\xd4\x32\x05\xff\x01\x02\xf3\x00")
        wire.chip.put(Ntag(213, UID_1))
        assert wire.run(b"\x4a\x01\x00") == DONE
        assert wire.answer() == b"\x01\x01\x00\x44\x00\x07" + UID_1


def test_the_longest_command_and_the_longest_answer():
    wire = Wire()
    wire.set_up()
    assert wire.run(b"\x32\x05\xff\x01\x02") == DONE
    longest = b"\x4a\x01\x00\x88\x01\x02\x03\x88\x04\x05\x06\x07\x08\x09\x0a"
    assert wire.run(longest) == DONE
    assert wire.answer() == b"\x00"
    assert wire.chip.commands[-1] == longest
    answer = b"\x02" + pattern(30)  # two targets with identifiers of 10 bytes

    def two(number, is_to_host, frame):
        is_answer = is_to_host and frame != ACK
        return frame_of(b"\xd5\x15" + answer) if is_answer else frame

    wire.change = two
    assert wire.run(SAM) == DONE
    assert wire.answer() == answer


def test_a_preamble_may_be_longer_or_missing():
    for before in (b"", b"\x00", b"\x00\x00"):
        wire = Wire()
        wire.set_up()

        def stretch(number, is_to_host, frame, before=before):
            return before + frame[1:] if is_to_host and len(frame) > 6 else frame

        wire.change = stretch
        assert wire.run(SAM) == DONE
        assert len(wire.seen) == 3


def test_answers_that_are_none():
    """Each is asked for once more, and then the command is given up, three times."""
    good = frame_of(b"\xd5\x15")
    for name, frame in (
        ("length", b"\x00\x00\xff\x02\xfd\xd5\x15\x16\x00"),
        ("checksum", b"\x00\x00\xff\x02\xfe\xd5\x15\x17\x00"),
        ("identifier", frame_of(b"\xd4\x15")),
        ("command", frame_of(b"\xd5\x17")),
        ("no data", b"\x00\x00\xff\x00\x00\x00\x00"),
        ("one byte", frame_of(b"\xd5")),
        ("extended", b"\x00\x00\xff\xff\xff\x00\x02\xfe\xd5\x15\x16\x00"),
        ("longer than any", b"\x00\x00\xff\xf0\x10" + bytes(250)),
        ("an acknowledgement", ACK),
        ("no start", b"\x00" * 12),
        ("late start", b"\x00" * 4 + good),
        ("nothing", b""),
    ):
        wire = Wire()
        wire.set_up()

        def replace(number, is_to_host, sent, frame=frame):
            return frame if is_to_host and sent == good else sent

        wire.change = replace
        assert wire.run(SAM) == FAILED, name
        assert wire.driver.why == NFC_FRAMES, name
        to_chip = [frame for is_to_host, frame in wire.seen if not is_to_host]
        one = [frame_of(b"\xd4" + SAM), NACK]
        assert to_chip == one + ([ACK] + one) * (TRIES - 1), name
        # And after trouble, the next command begins with an abort.
        wire.change = None
        wire.seen = []
        assert wire.run(SAM) == DONE
        assert wire.seen[0] == (False, ACK)


def test_a_damaged_answer_is_asked_for_once_more_and_the_command_is_not_repeated():
    wire = Wire(True)
    wire.set_up()
    damaged = []

    def damage(number, is_to_host, frame):
        if is_to_host and frame != ACK and not damaged:
            damaged.append(1)
            return frame[:-2] + b"\x00\x00"
        return frame

    wire.change = damage
    assert wire.run(SAM) == DONE
    assert [frame for is_to_host, frame in wire.seen if not is_to_host][1:] == [NACK]
    assert len(wire.chip.commands) == 2  # set_up's, and this


def test_no_nack_before_the_acknowledgement():
    """The chip would send the answer to the command before."""
    wire = Wire()
    wire.set_up()

    def damage(number, is_to_host, frame):
        return b"\x00\x00\xff\x00\xfe\x00" if frame == ACK and is_to_host else frame

    wire.change = damage
    assert wire.run(SAM) == FAILED
    assert (False, NACK) not in wire.seen


def test_an_error_frame_is_no_damage_and_no_answer():
    wire = Wire()
    wire.set_up()
    assert wire.run(b"\x99") == FAILED
    assert wire.driver.why == NFC_FRAMES
    assert (True, ERROR) in wire.seen
    assert (False, NACK) not in wire.seen


def test_the_fakes_own_frames():
    assert data_of(frame_of(b"\xd4\x02")) == b"\xd4\x02"
    assert data_of(b"\x00\x00\xff\x02\xfe\xd4\x02\x2a\x00") == b"\xd4\x02"  # UM 7.2.2
    assert data_of(ACK) is ACK
    assert data_of(NACK) is NACK
    for at in range(1, 9):
        damaged = bytearray(frame_of(b"\xd4\x02"))
        damaged[at] ^= 0x10
        assert data_of(bytes(damaged)) is None or at == 8, at
        assert data_of(frame_of(b"\xd4\x02")[:at]) is None or at == 8


# ---- time ----


def test_a_chip_that_says_nothing_is_given_up_in_time():
    for stage, limit_ms in (("command", ACK_MS), ("answer", RESPONSE_MS)):
        wire = Wire()
        wire.set_up()

        def swallow(number, is_to_host, frame, stage=stage):
            is_it = (not is_to_host) if stage == "command" else is_to_host and frame != ACK
            return None if is_it else frame

        wire.change = swallow
        begin_ms = wire.clock.now_ms
        assert wire.run(SAM) == FAILED, stage
        assert wire.driver.why == NFC_SILENT
        took_ms = wire.clock.now_ms - begin_ms
        assert TRIES * limit_ms <= took_ms <= TRIES * (limit_ms + 50)


def test_a_caller_that_comes_late_looks_before_it_judges():
    wire = Wire()
    wire.set_up()
    wire.driver.begin(wire.clock.now_ms, SAM)
    outcomes = []
    for _ in range(3):
        wire.clock.now_ms += 5000  # the main task was elsewhere
        outcomes.append(wire.driver.step(wire.clock.now_ms))
    assert outcomes == [BUSY, BUSY, DONE]


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one():
    """The chip answers a reading so late that it is aborted; the next reading gets its own answer."""
    for is_abort_lost in (False, True):
        for late_ms in range(RESPONSE_MS - 20, RESPONSE_MS + 100, 10):
            pen = bench()
            message = pattern(120)
            pen.chip.put(Ntag(213, UID_1, ndef_area(message)))
            late = []

            def see(number, is_to_host, frame, pen=pen, late=late, late_ms=late_ms, lost=is_abort_lost):
                pen.chip.extra_ms = 0
                if frame == frame_of(b"\xd4\x40\x01\x30\x08") and not late:
                    late.append(number)
                    pen.chip.extra_ms = late_ms
                elif frame == ACK and is_to_host and late and number == late[0] + 1:
                    pen.chip.extra_ms = late_ms
                elif frame == ACK and not is_to_host and lost:
                    return None
                return frame

            pen.chip.mangle = see
            pen.run(3000)
            assert pen.heard() == [("cartridge", message)], late_ms
            assert pen.faults == []
            assert late


# ---- one bad frame ----


def calm_frames(is_spi):
    """The lengths of the frames from power-on until the poll after the reading, when none is bad."""
    pen = bench(is_spi)
    lengths = []

    def count(number, is_to_host, frame):
        lengths.append(len(frame))
        return frame

    pen.chip.mangle = count
    pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
    pen.run(700)
    assert pen.heard() == CARTRIDGE
    return lengths


def run_with(is_spi, mangle):
    """A tag is put on, a frame goes wrong: the message is right, it is told once, no fault."""
    pen = bench(is_spi)
    pen.chip.mangle = mangle
    tag = pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
    while not pen.events and pen.clock.now_ms < 3000:
        pen.step()
    pen.run(300)
    assert pen.heard() == CARTRIDGE
    pen.chip.take(tag)
    pen.run(1300)
    assert pen.heard() == REMOVED
    assert pen.faults == []


def test_each_byte_of_each_frame_of_a_conversation_is_damaged():
    for is_spi in (False, True):
        for wrong, count in enumerate(calm_frames(is_spi)):
            for at in range(count):
                bits = 0xFF if (wrong + at) % 5 == 0 else 1 << (wrong + at) % 8

                def damage(number, is_to_host, frame, wrong=wrong, at=at, bits=bits):
                    if number != wrong:
                        return frame
                    return frame[:at] + bytes((frame[at] ^ bits,)) + frame[at + 1 :]

                run_with(is_spi, damage)


def test_each_frame_of_a_conversation_is_cut_short_at_each_byte():
    for wrong, count in enumerate(calm_frames(False)):
        for left in range(count):

            def cut(number, is_to_host, frame, wrong=wrong, left=left):
                return frame[:left] if number == wrong else frame

            run_with(left % 2 == 1, cut)


def test_each_frame_of_a_conversation_is_swallowed_alone_or_with_the_next():
    for is_spi in (False, True):
        for wrong in range(len(calm_frames(is_spi))):
            for more in (1, 2):

                def swallow(number, is_to_host, frame, wrong=wrong, more=more):
                    return None if wrong <= number < wrong + more else frame

                run_with(is_spi, swallow)


def test_the_ready_bit_is_wrong_once():
    for is_spi in (False, True):
        for wrong in range(80):
            pen = bench(is_spi)
            looked = []

            def status(value, looked=looked, wrong=wrong):
                looked.append(1)
                return value ^ 1 if len(looked) == wrong + 1 else value

            pen.bus.mangle_status = status
            pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
            pen.run(2000)
            assert pen.heard() == CARTRIDGE, wrong
            assert pen.faults == []
            assert len(looked) > wrong


def test_the_bus_fails_once():
    for wrong in range(150):
        pen = bench()
        calls = []
        call = pen.bus._call

        def fail(address, count, calls=calls, wrong=wrong, call=call):
            calls.append(1)
            if len(calls) == wrong + 1:
                raise OSError(5)
            call(address, count)

        pen.bus._call = fail
        pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
        pen.run(2000)
        assert pen.heard() == CARTRIDGE, wrong
        assert pen.faults == []


# ---- no chip ----


def test_a_chip_that_is_not_there_is_a_fault_and_a_chip_that_comes_is_none():
    for is_spi, floating, why in (
        (False, 0, NFC_BUS),
        (True, 0x00, NFC_SILENT),
        (True, 0xFF, NFC_FRAMES),
    ):
        pen = bench(is_spi)
        pen.chip.is_absent = True
        pen.bus.floating = floating
        pen.run(30000)
        assert [fault for _, fault in pen.faults] == [why]
        assert pen.faults[0][0] <= 1000
        assert pen.events == []
        pen.chip.is_absent = False
        pen.chip.reset()
        pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
        back_ms = pen.clock.now_ms
        pen.run(BACK_OFF_MAX_MS + 1000)
        assert [fault for _, fault in pen.faults] == [why, None]
        assert pen.faults[1][0] - back_ms <= BACK_OFF_MAX_MS + 1000
        assert pen.heard() == CARTRIDGE


def test_the_pauses_grow_and_are_bounded():
    pen = bench()
    pen.chip.is_absent = True
    busy_ms = []
    for _ in range(6000):
        pen.step()
        if pen.bus.traffic.transfers:
            busy_ms.append(pen.clock.now_ms)
    pauses = [after - before for before, after in zip(busy_ms, busy_ms[1:]) if after - before > 100]
    assert pauses == sorted(pauses)
    assert 500 <= pauses[0] <= 600
    assert BACK_OFF_MAX_MS <= pauses[-1] <= BACK_OFF_MAX_MS + 100
    assert len(busy_ms) < 300  # of 6000 steps


def test_the_pauses_begin_anew_after_a_recovery():
    pen = bench()
    for _ in range(2):
        pen.chip.is_absent = True
        pen.run(20000)
        pen.chip.is_absent = False
        pen.chip.reset()
        pen.run(10000)
    pen.chip.is_absent = True
    while pen.reader.fault is None:
        pen.step()
    pen.chip.is_absent = False
    pen.chip.reset()
    pen.run(1000)
    assert [fault for _, fault in pen.faults] == [NFC_BUS, None] * 3


def test_a_cartridge_is_not_gone_because_the_chip_is():
    for stays in (True, False):
        pen = bench()
        tag = pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
        pen.run(1000)
        pen.chip.is_absent = True
        pen.run(5000)
        assert pen.heard() == CARTRIDGE
        assert pen.reader.fault == NFC_BUS
        if not stays:
            pen.chip.take(tag)
        pen.chip.is_absent = False
        pen.chip.reset()
        pen.run(BACK_OFF_MAX_MS + 2000)
        assert pen.reader.fault is None
        assert pen.heard() == (CARTRIDGE if stays else REMOVED)


def test_the_chip_loses_its_power_at_every_time_of_a_reading():
    for is_spi in (False, True):
        for at_ms in range(10, 900, 10):
            pen = bench(is_spi)
            pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
            pen.run(at_ms)
            pen.chip.reset()
            pen.run(4000)
            assert pen.heard() == CARTRIDGE, at_ms
            assert pen.reader.fault is None
            assert len(pen.faults) in (0, 2)


def test_nothing_but_damage_is_a_fault_until_it_ends():
    for is_spi in (False, True):
        pen = bench(is_spi)
        pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
        pen.chip.mangle = lambda number, is_to_host, frame: frame[:3] + b"\x55" + frame[4:]
        pen.run(10000)
        assert [fault for _, fault in pen.faults] == [NFC_SILENT]
        pen.chip.mangle = lambda number, is_to_host, frame: frame[:3] + b"\x55" if is_to_host else frame
        pen.run(10000)
        assert [fault for _, fault in pen.faults] == [NFC_SILENT, NFC_FRAMES]
        pen.chip.mangle = None
        pen.run(10000)
        assert [fault for _, fault in pen.faults] == [NFC_SILENT, NFC_FRAMES, None]
        assert pen.heard() == CARTRIDGE


def test_a_chip_that_fails_only_while_reading_stays_faulty_and_does_not_flicker():
    pen = bench()
    pen.chip.put(Ntag(213, UID_1, ndef_area(MESSAGE)))
    pen.run(0)

    def no_reading(number, is_to_host, frame):
        return None if frame[6:7] == b"\x40" and not is_to_host else frame

    pen.chip.mangle = no_reading
    pen.run(20000)
    assert [fault for _, fault in pen.faults] == [NFC_SILENT]
    assert pen.events == []


# ---- SPI ----


def test_bits_are_reversed_on_the_wire_and_the_chip_is_always_let_go():
    sent = []

    class Bus:
        def write_readinto(self, out, into):
            assert level[0] == 0
            sent.append(bytes(out))
            if len(sent) == 3:
                raise OSError(5)
            into[1:] = bytes(len(into) - 1)

    level = [None]

    def select(value):
        level[0] = value

    link = SpiLink(Bus(), select)
    assert level == [1]
    link.send(b"\x00\x01\xd4\x80\x0f\xff")
    assert sent == [b"\x80\x00\x80\x2b\x01\xf0\xff"]
    assert not link.receive(memoryview(bytearray(7)))
    assert sent[1] == b"\x40\x00"
    with raises(OSError):
        link.send(b"\x00")
    assert level == [1]


# ---- chance ----


class Chance:
    """The same numbers on both interpreters."""

    def __init__(self, seed):
        self._state = seed * 2654435761 + 1 & 0x7FFFFFFF

    def below(self, limit):
        self._state = self._state * 1103515245 + 12345 & 0x7FFFFFFF
        return (self._state >> 8) % limit


def a_bad_day(seed):
    """Tags come and go while one frame in forty or so is hurt; then an hour of peace, in small.

    One byte a frame is damaged at the most: the frames' checksums are sums of 8 bits, and find that
    always, but two damaged bytes only mostly.
    """
    chance = Chance(seed)
    pen = bench(seed % 2 == 1)
    contents = [pattern(3 + chance.below(120), seed + place) for place in range(3)]
    cartridges = [
        Ntag((213, 215, 216)[place], b"\x04" + bytes((seed & 0xFF,)) + UID_1[2:6] + bytes((place,)))
        for place in range(3)
    ]
    for tag, content in zip(cartridges, contents):
        area = ndef_area(content)
        tag.memory[16 : 16 + len(area)] = area
    badge = Ntag(213, UID_2, ndef_area(BADGE_1))

    def hurt(number, is_to_host, frame):
        what = chance.below(120)
        if what == 0:
            return None
        if what == 1:
            return frame[: chance.below(len(frame))]
        if what == 2:
            at = chance.below(len(frame))
            return frame[:at] + bytes((frame[at] ^ 1 + chance.below(255),)) + frame[at + 1 :]
        return frame

    def status(value):
        return chance.below(256) if chance.below(100) == 0 else value

    pen.chip.mangle = hurt
    pen.bus.mangle_status = status
    for _ in range(40):
        what = chance.below(12)
        present = pen.chip.tags
        inside = [tag for tag in cartridges if tag in present]
        if what < 3:
            for tag in inside:
                pen.chip.take(tag)
            if what:
                pen.chip.put(cartridges[chance.below(3)])
        elif what < 5:
            pen.chip.take(badge) if badge in present else pen.chip.put(badge)
        elif what == 5 and inside:
            inside[0].exchanges_left = chance.below(30)
        elif what == 6:
            pen.chip.reset()
        elif what == 7:
            pen.chip.is_absent = not pen.chip.is_absent
        pen.chip.extra_ms = chance.below(300) if chance.below(10) == 0 else 0
        for _ in range(chance.below(60)):
            pen.step_ms = 1 + chance.below(20)
            pen.step()
    pen.step_ms = 10
    pen.chip.mangle = pen.bus.mangle_status = None
    pen.chip.extra_ms = 0
    pen.chip.is_absent = False
    for tag in list(pen.chip.tags):
        if tag is not badge and tag.exchanges_left >= 0:
            pen.chip.take(tag)
    pen.run(12000)
    return (
        pen,
        contents,
        [content for tag, content in zip(cartridges, contents) if tag in pen.chip.tags],
    )


def test_bad_days():
    told = faults = 0
    for seed in range(60):
        pen, contents, inside = a_bad_day(seed)
        is_in = None
        for name, content in pen.heard():
            if name == "badge":
                assert content == BADGE_1, seed
            elif name == "removed":
                assert is_in is not None, seed
                is_in = None
            else:
                assert is_in is None and content in contents, seed
                is_in = content
                told += 1
        assert [is_in] == (inside or [None]), seed
        assert pen.reader.fault is None, seed
        faults += len(pen.faults) // 2
    assert told > 60
    assert faults > 30
