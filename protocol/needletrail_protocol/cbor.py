"""The part of CBOR (RFC 8949) that our messages use, in its one deterministic encoding.

Integers of 64 bits, byte strings, text, arrays, true, false and null. Reading is strict: shortest
lengths only, nothing indefinite, no maps, floats or tags, no trailing bytes (RFC 8949 section
4.2.1). So every accepted message has exactly one encoding, and whatever re-encodes differently was
never ours. Lists are read and written for arrays.
"""

from needletrail_protocol.errors import PAYLOAD_MALFORMED, ProtocolError

MAX_DEPTH = 4

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _SIMPLE = 0, 1, 2, 3, 4, 7
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6


def _head(major: int, value: int) -> bytes:
    major <<= 5
    if value < 24:
        return bytes((major | value,))
    if value < 0x100:
        return bytes((major | 24, value))
    if value < 0x10000:
        return bytes((major | 25,)) + value.to_bytes(2, "big")
    if value < 0x100000000:
        return bytes((major | 26,)) + value.to_bytes(4, "big")
    if value < 0x10000000000000000:
        return bytes((major | 27,)) + value.to_bytes(8, "big")
    raise ValueError("an integer beyond 64 bits has no place in a message")


def bytes_head(length: int) -> bytes:
    """What comes before a byte string of that length: encode() without a copy of a long one."""
    return _head(_BYTES, length)


def encode(item: object) -> bytes:
    """Deterministic CBOR of None, bool, int, bytes, str, or a list or tuple of these."""
    if item is None:
        return bytes((_NULL,))
    if item is True:
        return bytes((_TRUE,))
    if item is False:
        return bytes((_FALSE,))
    if isinstance(item, int):
        return _head(_UINT, item) if item >= 0 else _head(_NINT, -1 - item)
    if isinstance(item, bytes):
        return _head(_BYTES, len(item)) + item
    if isinstance(item, str):
        text = item.encode()
        return _head(_TEXT, len(text)) + text
    if isinstance(item, (list, tuple)):
        return _head(_ARRAY, len(item)) + b"".join([encode(part) for part in item])
    raise TypeError("no CBOR here for %s" % type(item))


def decode(data: bytes) -> object:
    """The one item in `data`; ProtocolError(payload_malformed) on anything not deterministic."""
    item, end = decode_at(data, 0, 0)
    if end != len(data):
        raise ProtocolError(PAYLOAD_MALFORMED, "%d bytes after the message" % (len(data) - end))
    return item


def _text(encoded: bytes) -> str:
    text = None
    try:
        text = encoded.decode()
    except UnicodeError:  # refused below: MicroPython prints a warning for "raise ... from"
        pass
    if text is None or (len(text) != len(encoded) and not _is_strict(text, encoded)):
        raise ProtocolError(PAYLOAD_MALFORMED, "text that is not UTF-8")
    return text


def _is_strict(text: str, encoded: bytes) -> bool:
    """MicroPython also decodes surrogates, overlong forms and what lies beyond U+10FFFF."""
    for character in text:
        if 0xD800 <= ord(character) <= 0xDFFF or ord(character) > 0x10FFFF:
            return False
    return "".join([chr(ord(character)) for character in text]).encode() == encoded


def decode_at(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """(the item that begins at `at`, where it ends); `depth` arrays are open around it."""
    if at >= len(data):
        raise ProtocolError(PAYLOAD_MALFORMED, "it ends in the middle")
    first = data[at]
    at += 1
    major = first >> 5
    value = first & 31
    if major == _SIMPLE:
        if first == _NULL:
            return None, at
        if first == _TRUE:
            return True, at
        if first == _FALSE:
            return False, at
        raise ProtocolError(PAYLOAD_MALFORMED, "a simple value or float that no message uses")
    if value >= 24:
        if value > 27:
            raise ProtocolError(PAYLOAD_MALFORMED, "an indefinite or reserved length")
        width = 1 << (value - 24)
        if at + width > len(data):
            raise ProtocolError(PAYLOAD_MALFORMED, "it ends in the middle")
        value = int.from_bytes(data[at : at + width], "big")
        at += width
        if value < 24 or (width > 1 and value < 1 << (4 * width)):
            raise ProtocolError(PAYLOAD_MALFORMED, "a number is not in its shortest form")
    if major == _UINT:
        return value, at
    if major == _NINT:
        return -1 - value, at
    if major in (_BYTES, _TEXT):
        end = at + value
        if end > len(data):
            raise ProtocolError(PAYLOAD_MALFORMED, "it ends in the middle")
        if major == _BYTES:
            return data[at:end], end
        return _text(data[at:end]), end
    if major == _ARRAY:
        if depth == MAX_DEPTH:
            raise ProtocolError(PAYLOAD_MALFORMED, "arrays nested too deeply")
        if value > len(data) - at:
            raise ProtocolError(PAYLOAD_MALFORMED, "it ends in the middle")
        items = []
        for _ in range(value):
            item, at = decode_at(data, at, depth + 1)
            items.append(item)
        return items, at
    raise ProtocolError(PAYLOAD_MALFORMED, "a map or a tag, which no message uses")
