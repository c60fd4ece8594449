"""Frames in a file: how the journal finds out what it really wrote.

    length u16 | seq u32 | check u16 | crc u32 | payload            little endian

`check` is the CRC-32 of the six bytes before it, cut to 16 bits; `crc` is the CRC-32 of those six
bytes and the payload. So a damaged payload costs its own record: the header still says where the
next one begins. After a damaged header the reader looks at every byte for the next good frame.

The reader never raises for what it finds. Afterwards it tells a *torn* end (cut short within a
frame, the trace of a write that never came to its end) from a *damaged* one (bytes that are all
there and wrong). Not here: files, segments, what a payload says.
"""

import struct
from binascii import crc32

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

HEADER = 12
PAYLOAD_MAX = 4096
_HEAD = "<HI"
_CHECKS = "<HI"


def frame(seq: int, payload: bytes) -> bytes:
    """The frame of one record. ValueError if the payload is empty or too long."""
    if not 1 <= len(payload) <= PAYLOAD_MAX:
        raise ValueError("a frame holds 1 to %d bytes" % PAYLOAD_MAX)
    head = struct.pack(_HEAD, len(payload), seq)
    check = crc32(head)
    return head + struct.pack(_CHECKS, check & 0xFFFF, crc32(payload, check)) + payload


class Reader:
    """Good frames of an opened file, in rising order of seq. `size` bytes of the file are looked at.

    `next_at` is where the next frame is looked for. At the end, `is_torn` or `damaged_bytes` (after
    the last good frame) says what was there; both are false or 0 after a clean end.
    """

    def __init__(self, file: "Any", size: int) -> None:
        self._file = file
        self.size = size
        self.next_at = 0
        self.is_torn = False
        self.damaged_bytes = 0

    def next(self, least_seq: int) -> "tuple[int, bytes] | None":
        """(seq, payload) of the next good frame with at least that seq, or None at the end."""
        at = good_at = self.next_at
        is_lost = False  # a header was damaged: frames may begin anywhere
        while at + HEADER <= self.size:
            self._file.seek(at)
            header = self._file.read(HEADER)
            length, seq = struct.unpack(_HEAD, header[:6])
            check, crc = struct.unpack(_CHECKS, header[6:])
            head_crc = crc32(header[:6])
            if head_crc & 0xFFFF != check or not 1 <= length <= PAYLOAD_MAX:
                is_lost = True
                at += 1
                continue
            end = at + HEADER + length
            if end > self.size:
                if is_lost:
                    at += 1
                    continue
                break
            if seq >= least_seq or is_lost:
                payload = self._file.read(length)
                if crc32(payload, head_crc) == crc:
                    if seq >= least_seq:
                        self.next_at = end
                        return seq, payload
                    good_at = end
                elif is_lost:  # no header at all, only bytes that looked like one
                    at += 1
                    continue
            else:
                good_at = end
            is_lost = False
            at = end
        if at > good_at or is_lost:
            self.damaged_bytes = self.size - good_at
        elif at < self.size:
            self.is_torn = True
        self.next_at = good_at
        return None
