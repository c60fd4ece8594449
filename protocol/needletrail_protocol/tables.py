"""How a message's fields are written and checked: by tables, one row a field.

A row is (name, type, smallest, largest, may be null). For bytes, text and lists the range is of the
length, which for text is that of its UTF-8. A field's name, type and range stand in one place, and
both directions use it. Elements after those of the table are ignored in reading: that is how a later
minor version adds a field. Not here: the tables (messages, conversation).
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
SESSION = ("session", int, 1, U32, False)
JITTER = ("jitter_column", bytes, 1, 1200, True)  # the one that may also be left out


class Message:
    """One decoded message. Its attributes are the fields of its table; `kind` is 0 if no record."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def encode(table: "Any", fields: "Sequence[Any]", items: "list[Any]") -> bytes:
    """CBOR of `items` and then `fields`; ValueError if the table does not allow them."""
    if len(fields) > len(table):
        raise ValueError("%d fields where the table has %d" % (len(fields), len(table)))
    for index, row in enumerate(table):
        complaint = _absent(row)
        if index < len(fields):
            complaint = _complaint(row, fields[index])
        if complaint:
            raise ValueError(complaint)
    items.extend(fields)
    return cbor.encode(items)


def decode(table: "Any", items: object, skip: int, message: Message) -> Message:
    """`message` with the fields of a decoded array, after its first `skip`; ProtocolError otherwise."""
    if not isinstance(items, list):
        raise ProtocolError(PAYLOAD_INVALID, "not an array")
    at = skip
    for row in table:
        value = None
        if at < len(items):
            value = items[at]
            complaint = _complaint(row, value)
        else:
            complaint = _absent(row)
        at += 1
        if complaint:
            raise ProtocolError(PAYLOAD_INVALID, complaint)
        setattr(message, row[0], value)
    return message


def _absent(row: "Any") -> "str | None":
    """What is wrong with leaving out a field and all that follow, or None."""
    return None if row is JITTER else str(row[0]) + " is missing"


def _complaint(row: "Any", value: "Any") -> "str | None":
    """What is wrong with a field's value, or None."""
    name, wanted, smallest, largest, may_be_null = row
    if value is None:
        return None if may_be_null else str(name) + " is null"
    if type(value) is not wanted and not (wanted is list and type(value) is tuple):
        return str(name) + " is of another type"
    size = value if wanted is int else len(value.encode() if wanted is str else value)
    if not smallest <= size <= largest:
        return "{} is outside {} to {}".format(name, smallest, largest)
    return None
