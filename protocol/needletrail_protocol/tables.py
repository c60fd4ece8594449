"""How a message's fields are written and checked: by a row of letters, one for each field.

A letter says what a field may hold: its type and the range of its value, for bytes, text and lists
that of their length, which for text is that of its UTF-8. A capital letter: or null. Both directions
use the same row. Elements after those of the row are ignored in reading: that is how a later minor
version adds a field; OPTIONAL are those that have been added so. A pen holds all rows in its heap and
names none of its fields: so names are apart, for whoever reads. Not here: the rows (messages,
conversation).
"""

from needletrail_protocol import cbor
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

U32 = 0xFFFFFFFF
T_MAX = (1 << 40) - 1
UTC_MAX = (1 << 43) - 1
UM_MAX = 20_000

# int, 0 to                    int, 1 to              bytes, 0 to
#   a 32 bits                    j 32 bits              o 888: a tag's message
#   b a time since boot          k 1000 ms            bytes, 1 to
#   c a time since 1970          l 200 samples          p 1200: a column
#   d a depth in micrometres   text, 1 to               q 400: runs
#   e dial counts                m 32 bytes           list, 0 to
#   f 100 percent                n 64 bytes             r 4: a lead
#   g 1: a flag                                         s 200 permits
#   h 2: why a session opened
#   i 5: why it closed
# fmt: off
_MOST = (
    U32, T_MAX, UTC_MAX, UM_MAX, 4095, 100, 1, 2, 5, U32, 1000, 200, 32, 64, 888, 1200, 400, 4, 200,
)
# fmt: on
_FIRST_COUNT, _FIRST_TEXT, _FIRST_BYTES, _FIRST_FULL, _FIRST_LIST = 9, 12, 14, 15, 17

OPTIONAL = b"PF"  # the last field may also be left out: a jitter column, a battery's charge


class Message:
    """One decoded message. Its attributes are the fields of its table; `kind` is 0 if no record."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def encode(row: bytes, fields: "Sequence[Any]", items: "list[Any]") -> bytes:
    """CBOR of `items` and then `fields`; ValueError if the row does not allow them."""
    items.extend(fields)
    fault = find_fault(row, fields, 0)
    if fault >= 0 or len(fields) > len(row):
        raise ValueError("field %d is not one of %r" % (fault, row))
    return cbor.encode(items)


def check(row: bytes, items: "Any", skip: int) -> "list[Any]":
    """The fields of a decoded array, after its first `skip`; ProtocolError if the row forbids one."""
    if not isinstance(items, list):
        raise ProtocolError(PAYLOAD_INVALID, "not an array")
    fault = find_fault(row, items, skip)
    if fault >= 0:
        raise ProtocolError(PAYLOAD_INVALID, "field %d is missing or impossible" % (skip + fault))
    fields = items[skip : skip + len(row)]
    while len(fields) < len(row):
        fields.append(None)
    return fields


def decode(row: bytes, names: str, items: "Any", skip: int, kind: int) -> Message:
    """The same as a Message, with a name for each field."""
    message = Message(kind)
    for name, value in zip(names.split(), check(row, items, skip)):
        setattr(message, name, value)
    return message


def find_fault(row: bytes, items: "Sequence[Any]", skip: int) -> int:
    """The first field, of those behind `skip`, that its letter forbids; -1 if there is none."""
    index = 0
    for letter in row:
        at = skip + index
        if at >= len(items):
            if letter not in OPTIONAL:
                return index
        elif not _may_be(letter, items[at]):
            return index
        index += 1
    return -1


def _may_be(letter: int, value: "Any") -> bool:
    if value is None:
        return letter < 0x60
    kind = (letter | 0x20) - 0x61
    least = 0 if kind < _FIRST_COUNT or _FIRST_BYTES <= kind < _FIRST_FULL else 1
    size = value
    if kind < _FIRST_TEXT:
        if type(value) is not int:
            return False
    elif kind < _FIRST_BYTES:
        if type(value) is not str:
            return False
        size = len(value.encode())
    else:
        if kind < _FIRST_LIST:
            if type(value) is not bytes:
                return False
        else:
            least = 0
            if type(value) not in (list, tuple):
                return False
        size = len(value)
    return bool(least <= size <= _MOST[kind])
