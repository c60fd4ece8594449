"""The NDEF message in the memory of an NTAG, from its TLV blocks.

Strategy: fed sixteen bytes at a time as they are read, it keeps nothing but the message. A tag is read
when it arrives and never again, so ntag loads this module when it is needed, and forgets it. Sources:
NFC Forum Type 2 Tag 1.1 (T2T); NXP data sheet NTAG213/215/216 rev. 3.2 (NTAG).
"""

from needletrail_protocol.ndef import MESSAGE_MAX_LENGTH

MORE, FOUND, MALFORMED = 0, 1, 2

_TYPE, _LENGTH, _VALUE = 0, 1, 2
_NULL, _NDEF, _TERMINATOR = 0, 3, 0xFE  # 1 and 2 are lock and memory control
_HEAD_BYTES = 16  # pages 0 to 3, before the data area


class Message:
    """The first NDEF message of a data area of `size` bytes, from its TLV blocks (T2T 2.3).

    Malformed: none before the terminator or the end, one that goes beyond the end, one longer than any
    NTAG holds. The area ends where a control block puts lock bytes or reserved bytes: in an NTAG they
    lie behind it (NTAG 8.5), and what goes on beyond them is not pieced together.
    """

    def __init__(self, size: int) -> None:
        self.value = bytearray(0)
        self._size = self._left = size
        self._part = _TYPE
        self._type = self._length = self._at = self._wide = 0

    def feed(self, data: "bytes | bytearray", at: int) -> int:
        """Take the next 16 bytes, from data[at] on: MORE, FOUND or MALFORMED."""
        for index in range(at, at + 16):
            if not self._left:
                return MALFORMED
            self._left -= 1
            byte = data[index]
            part = self._part
            if part == _TYPE:
                if byte == _TERMINATOR:
                    return MALFORMED
                self._type = byte
                self._length = self._at = self._wide = 0
                if byte != _NULL:
                    self._part = _LENGTH
                continue
            if part == _VALUE:
                if self._type <= _NDEF:
                    self.value[self._at] = byte
                self._at += 1
            elif not self._wide and byte == 0xFF:
                self._wide = 2  # two bytes of length follow
                continue
            else:
                self._length = self._length << 8 | byte
                self._wide -= 1
                if self._wide > 0:
                    continue
                self._part = _VALUE
                if not self._fits():
                    return MALFORMED
            if self._at == self._length:
                if self._type == _NDEF:
                    return FOUND
                if self._type < _NDEF:
                    self._end_before(self.value[0], self.value[2])
                self._part = _TYPE
        return MORE if self._left else MALFORMED

    def _fits(self) -> bool:
        """Whether a value of this length can be; it is kept if it will be looked at."""
        length = self._length
        if length > self._left or length > MESSAGE_MAX_LENGTH:
            return False
        if self._type < _NDEF and length != 3:
            return False
        if self._type <= _NDEF:
            self.value = bytearray(length)
        return True

    def _end_before(self, place: int, pages: int) -> None:
        """A control block's bytes begin there (T2T 2.3.2, 2.3.3)."""
        address = (place >> 4 << (pages & 15)) + (place & 15)
        beyond = _HEAD_BYTES + self._size - address
        if beyond > 0:
            self._left = max(self._left - beyond, 0)
            self._size -= beyond
