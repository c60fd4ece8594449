"""Commands to a PN532, the NFC chip: `begin` one, then `step` until it is DONE or FAILED.

Source: NXP UM0701-02, PN532 User Manual rev. 02, cited by its sections. A step moves one frame at the
most and waits for nothing; time is passed in, and each stage of a command has a time limit (6.2.2):

    ABORT -> SEND -> ACK -> RESPONSE -> (done)
      ^               |       |   ^
      +-- next try ---+-------+   +-- NACK, once

A response that arrives damaged is asked for again by one NACK (6.2.1.4). Whatever else goes wrong ends
the try: an ACK frame aborts the command (6.2.1.3), and it is sent anew, which ends the one before it,
too (6.2.2). A response carries no number, so its place is what keeps the answer to an earlier command
from being taken for a later one's: none counts before this command's own ACK, a NACK is sent only
after it, and after any trouble, also at power-on, the next command begins with an abort. That frame
also wakes the chip, and is lost then (7.2.11).

Not here: buses (pn532_i2c, pn532_spi), what is asked and what the answers mean (ntag).
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

BUSY, DONE, FAILED = 0, 1, 2

# Why a command failed.
NFC_BUS = "nfc_bus"  # the bus reports an error: no chip, or no wire
NFC_SILENT = "nfc_silent"  # no answer in time
NFC_FRAMES = "nfc_frames"  # answers that can not be read, or are none

TRIES = 3
ACK_MS = 50  # 6.2.2: the chip acknowledges within 15 ms; some more for a caller that comes late
RESPONSE_MS = 250

_ABORT, _SEND, _ACK, _RESPONSE, _NACK = 0, 1, 2, 3, 4
_BAD, _IS_ACK, _IS_RESPONSE, _IS_ERROR = 0, 1, 2, 3

_ACK_FRAME = b"\x00\x00\xff\x00\xff\x00"  # 6.2.1.3
_NACK_FRAME = b"\x00\x00\xff\xff\x00\x00"  # 6.2.1.4
_START_MAX = 3  # 6.2.1.6: a preamble may be longer than one byte

# One byte before the frame, then 8 around at most 39 of it: the longest answer names two targets with
# identifiers of 10 bytes (7.3.5).
_BUFFER_BYTES = 48
_COMMAND_MAX_BYTES = 15


class Pn532:
    """One chip. `data[at : at + count]` is the answer, from behind its command code, after DONE.

    link: send(frame) and receive(view), which is true if the chip was ready and filled `view` with
    one byte of the link's own and a frame; both raise OSError.
    """

    def __init__(self, link: "Any") -> None:
        self.data = bytearray(_BUFFER_BYTES)
        self.at = self.count = 0
        self.why: "str | None" = None  # the last try failed
        self._link = link
        self._view = memoryview(self.data)
        self._ack_view = self._view[:7]
        self._out = bytearray(b"\x00\x00\xff\x00\x00\xd4" + bytes(_COMMAND_MAX_BYTES + 2))
        self._frame = memoryview(self._out)
        self._frames: "dict[int, memoryview]" = {}  # that of each length: a poll allocates nothing
        self._stage = _ABORT
        self._until_ms = 0
        self._tries = 1  # nobody knows what the chip is doing
        self._is_repeated = False

    def begin(self, now_ms: int, command: "bytes | bytearray") -> None:
        """Begin with a command: its code and parameters, 15 bytes at most."""
        out = self._out
        count = len(command)
        total = 0xD4
        for index in range(count):
            byte = command[index]
            out[6 + index] = byte
            total += byte
        out[3] = count + 1
        out[4] = -(count + 1) & 0xFF
        out[6 + count] = -total & 0xFF
        out[7 + count] = 0
        if count not in self._frames:
            self._frames[count] = memoryview(out)[: count + 8]
        self._frame = self._frames[count]
        self._go(_ABORT if self._tries else _SEND, now_ms, ACK_MS)
        self._tries = 0

    def step(self, now_ms: int) -> int:
        """Move at most one frame: BUSY, DONE or FAILED. Raises nothing."""
        try:
            outcome = self._move(now_ms)
        except OSError:
            # A chip that is just waking may not answer to its address: the time limit decides.
            self.why = NFC_BUS
            outcome = BUSY
        if outcome == BUSY and now_ms >= self._until_ms:
            outcome = self._fail(now_ms)
        return outcome

    def _go(self, stage: int, now_ms: int, limit_ms: int) -> None:
        self._stage = stage
        self._until_ms = now_ms + limit_ms
        self.why = NFC_SILENT

    def _fail(self, now_ms: int) -> int:
        """This try is over."""
        self._tries += 1
        if self._tries >= TRIES:
            return FAILED
        self._go(_ABORT, now_ms, ACK_MS)
        return BUSY

    def _move(self, now_ms: int) -> int:
        link = self._link
        stage = self._stage
        if stage == _SEND:
            link.send(self._frame)
            self._go(_ACK, now_ms, ACK_MS)
        elif stage == _ABORT:
            link.send(_ACK_FRAME)
            self._go(_SEND, now_ms, ACK_MS)
        elif stage == _NACK:
            link.send(_NACK_FRAME)
            self._go(_RESPONSE, now_ms, ACK_MS)
        elif stage == _ACK:
            if link.receive(self._ack_view):
                if self._kind() != _IS_ACK:
                    return self._reject(now_ms)
                self._is_repeated = False
                self._go(_RESPONSE, now_ms, RESPONSE_MS)
        elif link.receive(self._view):
            kind = self._kind()
            if kind == _IS_RESPONSE:
                return DONE
            if kind == _IS_ERROR or self._is_repeated:
                return self._reject(now_ms)
            self._is_repeated = True
            self._go(_NACK, now_ms, ACK_MS)
        return BUSY

    def _reject(self, now_ms: int) -> int:
        outcome = self._fail(now_ms)
        self.why = NFC_FRAMES
        return outcome

    def _kind(self) -> int:
        """What was received (6.2.1.1 to 6.2.1.6); an extended frame is a bad one."""
        data = self.data
        start = 1
        while data[start] or data[start + 1] != 0xFF:
            start += 1
            if start > _START_MAX:
                return _BAD
        length, check = data[start + 2], data[start + 3]
        if not length and check == 0xFF:
            return _IS_ACK
        first = start + 4
        end = first + length  # where the checksum stands
        if length + check & 0xFF or not length or end >= _BUFFER_BYTES:
            return _BAD
        total = 0
        for index in range(first, end + 1):
            total += data[index]
        if total & 0xFF:
            return _BAD
        if length == 1:
            return _IS_ERROR if data[first] == 0x7F else _BAD
        if data[first] != 0xD5 or data[first + 1] != self._out[6] + 1:
            return _BAD
        self.at = first + 2
        self.count = length - 2
        return _IS_RESPONSE
