"""A PN532 on I2C and on SPI, with tags in its field, byte for byte: for both interpreters.

Sources: NXP UM0701-02, PN532 User Manual rev. 02 (UM); NXP PN532/C1 data sheet rev. 3.6 (C1); NXP data
sheet NTAG213/215/216 rev. 3.2 (NTAG); ISO/IEC 14443-3 (14443). What they leave open is marked "open":
there the fake does what is worse for a driver.

`Chip` is the chip behind its bus; `I2cBus` and `SpiBus` are what a board would have. Time is `Clock`'s.
`chip.mangle(number, is_to_host, frame)` sees every frame on the wire and gives what arrives, or None.
"""

# A tag that answers nothing looks at no command.

ACK = b"\x00\x00\xff\x00\xff\x00"  # UM 6.2.1.3
NACK = b"\x00\x00\xff\xff\x00\x00"  # UM 6.2.1.4
ERROR = b"\x00\x00\xff\x01\xff\x7f\x81\x00"  # UM 6.2.1.5

WAKE_MS = 2  # UM 7.2.11: oscillator start
ACK_AFTER_MS = 1  # UM 6.2.2: within 15 ms
FIELD_ON_MS = 5  # 14443 5.1: a tag has to answer after 5 ms of field
REQUEST_MS = 1
SELECT_MS = 3
READ_MS = 2  # NTAG 10.2: up to 5 ms
NO_ANSWER_MS = 51  # UM 7.3.1, item 2: the time limit of an exchange is 51.2 ms unless set


class Clock:
    def __init__(self):
        self.now_ms = 0


def frame_of(data):
    """A normal information frame (UM 6.2.1.1) of TFI and data."""
    length = len(data)
    head = bytes((0, 0, 0xFF, length, -length & 0xFF))
    return head + bytes(data) + bytes((-sum(data) & 0xFF, 0))


def data_of(frame):
    """TFI and data of a frame, ACK or NACK as they are; None if a receiver must not understand it."""
    for at in range(len(frame) - 3):
        if frame[at] == 0 and frame[at + 1] == 0xFF:
            break
    else:
        return None
    length, check = frame[at + 2], frame[at + 3]
    if (length, check) == (0, 0xFF):
        return ACK
    if (length, check) == (0xFF, 0):
        return NACK
    data = bytes(frame[at + 4 : at + 4 + length])
    if (length + check) & 0xFF or len(data) < length or not length or len(frame) < at + 5 + length:
        return None
    if (sum(data) + frame[at + 4 + length]) & 0xFF:
        return None
    return data


# ---- tags ----

IDLE, READY, ACTIVE = 0, 1, 2

# NTAG 8.5, tables 5 to 7: pages, size byte of the capability container, first page behind user memory.
KINDS = {213: (45, 0x12, 40), 215: (135, 0x3E, 130), 216: (231, 0x6D, 226)}


class Ntag:
    """A tag; `memory` is all its pages. NTAG 8.4 and 14443 6.3: its states."""

    atqa = b"\x00\x44"  # NTAG 8.4.1, as the chip gives it: high byte first
    sak = 0x00  # no ISO 14443-4
    ats = b""

    def __init__(self, kind, uid, area=b""):
        pages, size, behind = KINDS[kind]
        self.uid = bytes(uid)
        self.memory = bytearray(4 * pages)
        # NTAG 8.5.1: the identifier with its check bytes, over pages 0 to 2
        self.memory[0:3] = uid[:3]
        self.memory[3] = 0x88 ^ uid[0] ^ uid[1] ^ uid[2]
        self.memory[4:8] = uid[3:]
        self.memory[8] = uid[3] ^ uid[4] ^ uid[5] ^ uid[6]
        self.memory[9] = 0x48
        self.memory[12:16] = bytes((0xE1, 0x10, size, 0))  # NTAG 8.5.6
        self.memory[16 : 16 + len(area)] = area
        for at in range(4 * behind, len(self.memory)):  # lock bytes, configuration: not zero
            self.memory[at] = 0xBD
        self.protected_page = 256  # NTAG 8.8: AUTH0, with PROT = 1
        self.exchanges_left = -1  # then it is taken away; -1: never
        self.when_gone = None
        self.field_off()

    def field_off(self):
        self.state = IDLE
        self.is_halted = False  # 14443 6.3: in HALT, and where an error leads back to

    def _fall_back(self):
        self.state = IDLE

    def request(self, is_wake_up):
        """REQA or WUPA (14443 6.4.1): true if it answers with its ATQA."""
        if self.state != IDLE:  # any other command: back without an answer
            self._fall_back()
            return False
        if self.is_halted and not is_wake_up:
            return False
        self.state = READY
        return True

    def select(self, uid):
        """Anticollision and SELECT through all cascade levels (14443 6.5.3)."""
        if self.state != READY:
            return False
        if uid != self.uid:
            self._fall_back()
            return False
        self.state = ACTIVE
        self.is_halted = False
        return True

    def halt(self):
        if self.state == ACTIVE:
            self.state = IDLE
            self.is_halted = True

    def exchange(self, command):
        """Bytes, None without an answer, b"" for a NAK (NTAG 9.3)."""
        if self.state != ACTIVE:
            return None
        page = command[1] if len(command) == 2 and command[0] == 0x30 else 256
        pages = len(self.memory) // 4
        if page >= min(pages, self.protected_page):
            self._fall_back()
            return b""
        # NTAG 10.2: behind the last accessible page it goes on with page 0
        end = 4 * min(pages, self.protected_page)
        return bytes(self.memory[(4 * page + offset) % end] for offset in range(16))


class Phone(Ntag):
    """ISO 14443-4 with a new random identifier in each field (14443 6.5.4: first byte 08h)."""

    atqa = b"\x00\x04"
    sak = 0x20
    ats = bytes((20, 0x78, 0x80, 0x70, 0x02)) + bytes(range(15))

    def __init__(self):
        self.seed = 0
        Ntag.__init__(self, 213, bytes(7))

    def field_off(self):
        Ntag.field_off(self)
        self.seed += 1
        self.uid = bytes((8, self.seed & 0xFF, 0x5A, 0xA5))

    def exchange(self, command):
        return None


class BankCard(Ntag):
    """ISO 14443-4 with an identifier of its own, as long as an NTAG's."""

    sak = 0x20

    def exchange(self, command):
        return None


class Foreign(Ntag):
    """A MIFARE Classic: it answers nothing before an authentication."""

    atqa = b"\x00\x04"
    sak = 0x08

    def __init__(self, uid):
        Ntag.__init__(self, 213, bytes(7))
        self.uid = bytes(uid)

    def exchange(self, command):
        if self.state != ACTIVE:
            return None
        self._fall_back()
        return b""


# ---- the chip ----


class Chip:
    def __init__(self, clock):
        self.clock = clock
        self.tags = []  # in the field, when it is on
        self.is_absent = False
        self.mangle = None
        self.frames = 0  # on the wire so far
        self.commands = []  # data of each command that was understood
        self.extra_ms = 0  # to each response
        self.lists_one = False  # open: an anticollision that finds one of two
        self.strongest = None  # the tag that is found then
        self.reset()

    def reset(self):
        """Power-on: UM 3.1; the values of UM 7.2.9 and 7.3.1."""
        self.is_asleep = True  # C1 8.6: until the host calls
        self.awake_ms = 0
        self.is_set_up = False  # LowVbat mode, until SAMConfiguration
        self.retries = 0xFF
        self.parameters = 0x14
        self.listed = []
        self.current = None
        self.pending = None  # a command, until its ACK was read
        self.out = None  # what the host can read
        self.out_ms = 0
        self.last = None
        self.field(False)

    # ---- tags ----

    def put(self, tag):
        tag.field_off()
        self.tags.append(tag)
        return tag

    def take(self, tag):
        self.tags.remove(tag)

    def field(self, is_on):
        self.is_on = is_on
        if not is_on:
            for tag in self.tags:
                tag.field_off()

    def _reached(self):
        """The tags that the next exchange reaches; one of them may be taken away just before it."""
        for tag in list(self.tags):
            if tag.exchanges_left == 0:
                self.take(tag)
                if tag.when_gone:
                    tag.when_gone()
            elif tag.exchanges_left > 0:
                tag.exchanges_left -= 1
        return self.tags

    # ---- the host's side: frames ----

    def _on_wire(self, is_to_host, frame):
        number = self.frames
        self.frames += 1
        return self.mangle(number, is_to_host, frame) if self.mangle else frame

    def take_in(self, frame):
        """A frame from the host."""
        if self._wake():
            return
        frame = self._on_wire(False, bytes(frame))
        data = None if frame is None else data_of(frame)
        if data is None:
            return  # UM 6.2.2: no ACK for what is not understood
        if data is ACK:  # UM 6.2.1.3: abort
            self.pending = self.out = self.last = None
        elif data is NACK:  # UM 6.2.1.4: the last response once more
            if self.last is not None:
                self._offer(self.last, 0)
        elif data[0] == 0xD4:  # UM 6.2.2: a new command ends the one before it
            self.last = None
            self.pending = data[1:]
            self._offer(ACK, ACK_AFTER_MS)

    def is_ready(self):
        if self._wake():
            return False
        return self.out is not None and self.clock.now_ms >= self.out_ms

    def give_out(self):
        """The frame that the host reads now; it is given once, read to its end or not."""
        frame = self.out
        self.out = None
        if self.pending is not None:  # that was the ACK: now the command is carried out
            command = self.pending
            self.pending = None
            self.commands.append(command)
            answer, after_ms = self._carry_out(command[0], command[1:])
            if answer is not None:
                self.last = answer
                self._offer(answer, after_ms + self.extra_ms)
        return frame

    def _offer(self, frame, after_ms):
        """Open: a swallowed frame never becomes ready, and the chip believes it was read."""
        frame = self._on_wire(True, frame)
        if frame is None:
            if self.pending is not None:
                self.out = b""
                self.give_out()
            return
        self.out = frame
        self.out_ms = self.clock.now_ms + after_ms

    def _wake(self):
        """What arrives during sleep and just after it wakes the chip and is lost (UM 7.2.11)."""
        if self.is_asleep:
            self.is_asleep = False
            self.awake_ms = self.clock.now_ms + WAKE_MS
        return self.clock.now_ms < self.awake_ms

    # ---- commands ----

    def _carry_out(self, code, rest):
        """(response frame or None, milliseconds until it is there)."""
        answer, after_ms = None, 1
        if code == 0x14 and len(rest) in (2, 3) and rest[0] == 1:  # UM 7.2.10
            self.is_set_up = True
            answer = b""
        elif not self.is_set_up:  # open: what a chip in LowVbat mode says
            pass
        elif code == 0x12 and len(rest) == 1 and not rest[0] & 0x88:  # UM 7.2.9
            self.parameters = rest[0]
            answer = b""
        elif code == 0x32 and len(rest) == 2 and rest[0] == 1:  # UM 7.3.1, item 1
            self.field(bool(rest[1] & 1))
            self.listed, self.current = [], None
            answer = b""
        elif code == 0x32 and len(rest) == 4 and rest[0] == 5:  # UM 7.3.1, item 5
            self.retries = rest[3]
            answer = b""
        elif code == 0x4A and len(rest) >= 2 and rest[0] in (1, 2) and rest[1] == 0:
            answer, after_ms = self._list(rest[0], rest[2:])
            if answer is None:
                return None, 0  # UM 7.3.1: with FFh it looks for ever
        elif code == 0x40 and len(rest) >= 2:
            answer, after_ms = self._exchange(rest[0], rest[1:])
        if answer is None:
            return ERROR, 1
        return frame_of(bytes((0xD5, code + 1)) + answer), after_ms

    def _list(self, most, wanted):
        """InListPassiveTarget (UM 7.3.5)."""
        after_ms = 0 if self.is_on else FIELD_ON_MS
        self.is_on = True
        self.listed, self.current = [], None
        if wanted:
            most = 1
            if wanted[0] == 0x88:
                wanted = wanted[1:]
        found = b""
        while len(self.listed) < most:
            if self.current is not None:
                for tag in self._reached():
                    tag.halt()
            tag = None
            for _ in range(1 + min(self.retries, 8)):
                after_ms += REQUEST_MS
                answering = [one for one in self._reached() if one.request(False)]
                if answering:
                    tag = self._anticollision(answering, wanted)
                    after_ms += SELECT_MS
                if tag is not None:
                    break
            if tag is None:
                if not self.listed and self.retries == 0xFF:
                    return None, 0
                break
            self.listed.append(tag)
            self.current = tag
            found += bytes((len(self.listed),)) + tag.atqa + bytes((tag.sak, len(tag.uid))) + tag.uid
            if tag.sak & 0x20 and self.parameters & 0x10:
                found += tag.ats
            if self.lists_one:
                break
        return bytes((len(self.listed),)) + found, after_ms

    def _anticollision(self, answering, wanted):
        uid = bytes(wanted)
        if not uid:
            # 14443 6.5.3: the chip follows one branch of each collision; here, the smallest number
            uid = min(tag.uid for tag in answering)
            if self.strongest in answering:
                uid = self.strongest.uid
        chosen = None
        for tag in list(self._reached()):
            if tag.select(uid):
                chosen = tag
        return chosen

    def _exchange(self, number, data):
        """InDataExchange (UM 7.3.8); the status codes of UM 7.1. Open: whether the chip wakes a target
        that it halted itself to look for a second one. Here it does not."""
        if not 1 <= number <= len(self.listed) or self.listed[number - 1] is not self.current:
            return b"\x27", 1
        answer = None
        for tag in list(self._reached()):
            answer = tag.exchange(data) if answer is None else answer
        if answer is None:
            return b"\x01", NO_ANSWER_MS
        if not answer:
            return b"\x13", READ_MS  # open: which code a NAK gets
        return b"\x00" + answer, READ_MS


# ---- buses ----


class Traffic:
    """How much moved since `clear`."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.transfers = 0
        self.bytes = 0

    def add(self, count):
        self.transfers += 1
        self.bytes += count


class I2cBus:
    """UM 6.2.4. Open: the other bits of the status, and what the chip sends behind a frame's end."""

    def __init__(self, chip):
        self.chip = chip
        self.traffic = Traffic()
        self.mangle_status = None

    def _call(self, address, count):
        self.traffic.add(count)
        if self.chip.is_absent or address != 0x24:
            raise OSError(19)

    def writeto(self, address, data):
        self._call(address, len(data))
        self.chip.take_in(bytes(data))
        return len(data)

    def readfrom_into(self, address, buffer):
        self._call(address, len(buffer))
        status = 0x01 if self.chip.is_ready() else 0x80
        if self.mangle_status:
            status = self.mangle_status(status)
        buffer[0] = status
        for at in range(1, len(buffer)):
            buffer[at] = 0x80
        if len(buffer) > 1 and self.chip.is_ready():
            frame = self.chip.give_out()[: len(buffer) - 1]
            buffer[1 : 1 + len(frame)] = frame


_REVERSED = bytes(sum(0x80 >> bit for bit in range(8) if byte >> bit & 1) for byte in range(256))


def reversed_bits(byte):
    return _REVERSED[byte]


class SpiBus:
    """UM 6.2.5: the bytes of one chip select. On the wire the least significant bit comes first, while
    the board's own bus has the most significant one first."""

    def __init__(self, chip):
        self.chip = chip
        self.traffic = Traffic()
        self.mangle_status = None
        self.floating = 0xFF  # what an open line reads
        self.is_selected = False
        self._is_in = False
        self._taken = b""
        self._frame = None

    def select(self, level):
        """The chip select pin."""
        if level and self._taken[:1] == b"\x01":
            self.chip.take_in(self._taken[1:])
        self.is_selected = not level
        self._taken = b""
        self._frame = None

    def write_readinto(self, out, into):
        assert len(out) == len(into)
        self.traffic.add(len(out))
        for at in range(len(out)):
            into[at] = self._byte(out[at])

    def _byte(self, byte):
        if self.chip.is_absent or not self.is_selected:
            return self.floating
        byte = reversed_bits(byte)
        position = len(self._taken)
        self._taken += bytes((byte,))
        kind = self._taken[0]
        if position == 0:
            if kind == 3 and self.chip.is_ready():
                self._frame = self.chip.give_out()
            return reversed_bits(0xAA)  # open
        if kind == 2:
            status = 0x01 if self.chip.is_ready() else 0x80
            if self.mangle_status:
                status = self.mangle_status(status)
            return reversed_bits(status)
        if kind == 3 and self._frame is not None and position <= len(self._frame):
            return reversed_bits(self._frame[position - 1])
        return reversed_bits(0x80)


# ---- a pen around it ----


class Bench:
    """A pen's reader on a fake, on I2C or SPI. Time goes in steps."""

    def __init__(self, parts, is_spi, step_ms=10):
        """parts: Tags, Pn532, I2cLink and SpiLink."""
        make_tags, make_chip, make_i2c, make_spi = parts
        self.clock = Clock()
        self.chip = Chip(self.clock)
        self.step_ms = step_ms
        if is_spi:
            self.bus = SpiBus(self.chip)
            link = make_spi(self.bus, self.bus.select)
        else:
            self.bus = I2cBus(self.chip)
            link = make_i2c(self.bus)
        self.reader = make_tags(make_chip(link))
        self.events = []  # (time, name, content)
        self.faults = []  # (time, fault), when it changed
        self._fault = None

    def step(self):
        """One step of the main task, which never moves more than a status and one frame."""
        self.clock.now_ms += self.step_ms
        self.bus.traffic.clear()
        self.reader.step(self.clock.now_ms)
        assert self.bus.traffic.transfers <= 2
        assert self.bus.traffic.bytes <= 64
        if self.reader.fault != self._fault:
            self._fault = self.reader.fault
            self.faults.append((self.clock.now_ms, self._fault))
        event = self.reader.take_event()
        while event is not None:
            self.events.append((self.clock.now_ms, event[0], event[1]))
            event = self.reader.take_event()

    def run(self, for_ms):
        until_ms = self.clock.now_ms + for_ms
        while self.clock.now_ms < until_ms:
            self.step()

    def heard(self):
        """The events so far, without their times."""
        return [(name, content) for _, name, content in self.events]


def ndef_area(message, before=b""):
    """A data area with one NDEF block (T2T 2.3.4) and the terminator."""
    count = len(message)
    length = bytes((count,)) if count < 255 else bytes((0xFF, count >> 8, count & 0xFF))
    return before + b"\x03" + length + message + b"\xfe"


def pattern(count, seed=1):
    """Bytes that repeat nowhere, so that pieces in the wrong place are seen."""
    data = bytearray(count)
    for at in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        data[at] = seed >> 16 & 0xFF
    return bytes(data)
