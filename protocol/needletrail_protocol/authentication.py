"""COSE_Mac0 (RFC 9052 section 6.2) with HMAC-SHA-256 and the pen's own key.

Every message, in both directions, is one tagged COSE_Mac0. Its protected header names the
algorithm (5, HMAC 256/256) and the key epoch (as the key id); nothing is unprotected. The external
data that the MAC also covers is the CBOR array [topic, pen, epoch], so that no message can be
moved to another topic, pen or epoch. There is exactly one accepted shape, so opening is slicing:

    d1 84 | 4L a2 01 05 04 4E epoch | a0 | payload bstr | 58 20 tag

HMAC is written out with hashlib because MicroPython has no hmac module; tests compare it with
CPython's hmac and with pycose.
"""

import hashlib

from needletrail_protocol import cbor
from needletrail_protocol.errors import ENVELOPE_MALFORMED, MAC_INVALID, ProtocolError

KEY_LENGTH = 32
TAG_LENGTH = 32
MAX_MESSAGE_LENGTH = 4096
EPOCH_MAX = 0xFFFFFFFF

_START = b"\xd1\x84"  # tag 17, array of 4
_PROTECTED_START = b"\xa2\x01\x05\x04"  # {1: 5, 4: bstr}
_UNPROTECTED = b"\xa0"
_TAG_HEAD = b"\x58\x20"


class MacKey:
    """A pen's key of one epoch, with the two HMAC blocks (RFC 2104) prepared once.

    The first block goes on with the beginning of the MAC_structure, which is the same each time.
    """

    def __init__(self, key: bytes, epoch: int) -> None:
        if len(key) != KEY_LENGTH:
            raise ValueError("a pen's key has %d bytes" % KEY_LENGTH)
        if not 1 <= epoch <= EPOCH_MAX:
            raise ValueError("a key epoch is 1 to %d" % EPOCH_MAX)
        self.epoch = epoch
        padded = key + bytes(64 - KEY_LENGTH)
        self.protected = _protected(epoch)
        self._inner = bytes([byte ^ 0x36 for byte in padded]) + b"\x84\x64MAC0"
        self._inner += cbor.encode(self.protected)
        self._outer = bytes([byte ^ 0x5C for byte in padded])

    def tag(self, external: bytes, payload: bytes) -> bytes:
        """HMAC-SHA-256 over the MAC_structure ["MAC0", protected, external, payload]."""
        digest = hashlib.sha256(self._inner)
        digest.update(cbor.encode(external))
        digest.update(cbor.bytes_head(len(payload)))
        digest.update(payload)
        return hashlib.sha256(self._outer + digest.digest()).digest()


def _protected(epoch: int) -> bytes:
    width = 1
    while epoch >> (8 * width):
        width += 1
    return _PROTECTED_START + bytes((0x40 | width,)) + epoch.to_bytes(width, "big")


def external_data(topic: str, pen: str, epoch: int) -> bytes:
    """What the MAC covers besides the message: CBOR [topic, pen, epoch]."""
    return cbor.encode([topic, pen, epoch])


def seal(key: MacKey, external: bytes, payload: bytes) -> bytes:
    """The COSE_Mac0 message. `external` is external_data() of the topic it will be sent on.

    ValueError if it would be longer than the other side reads.
    """
    message = (
        _START
        + cbor.encode(key.protected)
        + _UNPROTECTED
        + cbor.encode(payload)
        + _TAG_HEAD
        + key.tag(external, payload)
    )
    if len(message) > MAX_MESSAGE_LENGTH:
        raise ValueError("a message has at most %d bytes" % MAX_MESSAGE_LENGTH)
    return message


def open_envelope(message: bytes) -> tuple[int, bytes, bytes]:
    """(epoch, payload, tag) of a message, not yet verified.

    ProtocolError(envelope_malformed) unless it has exactly the one accepted shape.
    """
    if len(message) > MAX_MESSAGE_LENGTH:
        raise ProtocolError(ENVELOPE_MALFORMED, "longer than %d bytes" % MAX_MESSAGE_LENGTH)
    if message[:2] != _START or message[3:7] != _PROTECTED_START or len(message) < 12:
        raise ProtocolError(ENVELOPE_MALFORMED, "not a COSE_Mac0 with HMAC 256/256 and a key id")
    width = message[7] - 0x40
    if not 1 <= width <= 4 or message[2] != 0x45 + width:
        raise ProtocolError(ENVELOPE_MALFORMED, "the key id is not an epoch of 1 to 4 bytes")
    at = 8 + width
    epoch = int.from_bytes(message[8:at], "big")
    if message[8] == 0:
        raise ProtocolError(ENVELOPE_MALFORMED, "the key epoch is zero or not in its shortest form")
    if message[at : at + 1] != _UNPROTECTED:
        raise ProtocolError(ENVELOPE_MALFORMED, "unprotected headers are not accepted")
    tag_at = len(message) - TAG_LENGTH
    payload_end = tag_at - 2
    at += 1
    if payload_end <= at or message[payload_end:tag_at] != _TAG_HEAD:
        raise ProtocolError(ENVELOPE_MALFORMED, "no tag of %d bytes at its end" % TAG_LENGTH)
    head = message[at : at + 3]
    length = head[0] - 0x40
    at += 1
    if length == 24:
        length = head[1]
        at += 1
        shortest = length >= 24
    elif length == 25:
        length = (head[1] << 8) | head[2]
        at += 2
        shortest = length >= 0x100
    else:
        shortest = 0 <= length < 24
    if not shortest or at + length != payload_end:
        raise ProtocolError(ENVELOPE_MALFORMED, "the payload is not one byte string of its length")
    return epoch, message[at:payload_end], message[tag_at:]


def verify(key: MacKey, external: bytes, payload: bytes, tag: bytes) -> None:
    """ProtocolError(mac_invalid) unless `tag` is the MAC of `payload` under `key`.

    The comparison takes the same time wherever the first difference is.
    """
    difference = 0
    for ours, theirs in zip(key.tag(external, payload), tag):
        difference |= ours ^ theirs
    if difference or len(tag) != TAG_LENGTH:
        raise ProtocolError(MAC_INVALID, "wrong key, other topic or epoch, or altered bytes")
