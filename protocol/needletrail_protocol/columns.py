"""Small integers in half a byte each: the columns of a samples record.

A column is a run of integers near zero, such as a dial reading less the batch's first reading. Each
takes one nibble, high nibble first: 1 to 15 stand for -7 to +7. A nibble of 0 is an exception: the
integer did not fit, and stands after the nibbles as a zigzag LEB128, exceptions in their order. An
odd count is padded with the nibble 8. One encoding each: an exception that would have fitted, a
number not in shortest form, other padding or bytes left over are refused.

This is patched frame-of-reference coding. With the noise of the bench pens 98 % of the readings
need no exception; `benchmarks/wire.py` measures it.
"""

from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence

_EXCEPTION = 0
_ZERO = 8
_VALUE_MAX = 1 << 32


def encode_column(values: "Sequence[int]", offset: int, count: int) -> bytes:
    """Nibbles and exceptions of values[i] - offset for i in range(count).

    `values` is anything indexed by integers. ValueError if a difference is beyond 32 bits.
    """
    nibbles = bytearray((count + 1) // 2)
    exceptions = bytearray()
    for index in range(count):
        value = values[index] - offset
        if -7 <= value <= 7:
            nibble = value + _ZERO
        else:
            nibble = _EXCEPTION
            zigzag = value << 1 if value >= 0 else (-value << 1) - 1
            if zigzag >= _VALUE_MAX:
                raise ValueError("a difference beyond 32 bits")
            append_varint(exceptions, zigzag)
        nibbles[index >> 1] |= nibble if index & 1 else nibble << 4
    if count & 1:
        nibbles[-1] |= _ZERO
    return bytes(nibbles) + bytes(exceptions)


def decode_column(data: bytes, count: int) -> list[int]:
    """The `count` integers of a column, still relative.

    ProtocolError(payload_invalid) if `data` is not one column of that count.
    """
    width = (count + 1) // 2
    if len(data) < width:
        raise ProtocolError(PAYLOAD_INVALID, "a column is shorter than its count")
    values = []
    for byte in data[:width]:
        values.append((byte >> 4) - _ZERO)
        values.append((byte & 15) - _ZERO)
    if count & 1 and values.pop() != 0:
        raise ProtocolError(PAYLOAD_INVALID, "a column is padded with something else than zero")
    at = width
    if -_ZERO in values:
        for index in range(count):
            if values[index] == -_ZERO:
                zigzag, at = read_varint(data, at)
                value = -((zigzag + 1) >> 1) if zigzag & 1 else zigzag >> 1
                if -7 <= value <= 7:
                    raise ProtocolError(PAYLOAD_INVALID, "an exception that needs none")
                values[index] = value
    if at != len(data):
        raise ProtocolError(PAYLOAD_INVALID, "bytes left over after a column")
    return values


def append_varint(out: bytearray, value: int) -> None:
    """Unsigned LEB128 of `value`, appended to `out`."""
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, next index); ProtocolError(payload_invalid) if cut short or not in shortest form."""
    value = 0
    shift = 0
    while True:
        if at >= len(data):
            raise ProtocolError(PAYLOAD_INVALID, "a number ends in the middle")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 35:
            raise ProtocolError(PAYLOAD_INVALID, "a number is too long")
    if (byte == 0 and shift) or value >= _VALUE_MAX:
        raise ProtocolError(PAYLOAD_INVALID, "a number is too large or not in its shortest form")
    return value, at
