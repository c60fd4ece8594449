"""Messages as they travel: sealing what the pen says, and opening what the gateway sealed for it.

Strategy: a record of two kilobytes is copied once, from the journal's payload into the buffer that is
sent. What comes before and after a payload is cut out of a message that `authentication.seal` made,
so its shape has one definition. What is opened is looked at in place; only the payload is copied.
"""

from needletrail_protocol import authentication, cbor
from needletrail_protocol.errors import EPOCH_UNKNOWN, ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any


class Sealer:
    """Seals messages of one key into buffers."""

    def __init__(self, key: "Any") -> None:
        self._key = key
        empty = authentication.seal(key, b"", b"")
        at = len(empty) - authentication.TAG_LENGTH
        self._start = empty[: at - 3]  # then the payload with its head, which is one byte here
        self._tag_head = empty[at - 2 : at]

    def length(self, payload: bytes) -> int:
        """Bytes of the message that holds this payload. ValueError if none may be so long."""
        size = len(payload)
        length = len(self._start) + len(cbor.bytes_head(size)) + size
        length += len(self._tag_head) + authentication.TAG_LENGTH
        if length > authentication.MAX_MESSAGE_LENGTH:
            raise ValueError("a message of %d bytes" % length)
        return length

    def seal(self, out: bytearray, at: int, external: bytes, payload: bytes) -> None:
        """Write the message into `out` from `at` on, where there is room for it."""
        tag = self._key.tag(external, payload)
        for part in (self._start, cbor.bytes_head(len(payload)), payload, self._tag_head, tag):
            end = at + len(part)
            out[at:end] = part
            at = end


def unseal(key: "Any", external: bytes, message: bytes) -> bytes:
    """The payload of `message`, verified under `key` for the topic in `external`."""
    epoch, payload, tag = authentication.open_envelope(memoryview(message))
    if epoch != key.epoch:
        raise ProtocolError(EPOCH_UNKNOWN, "the message is of epoch %d" % epoch)
    authentication.verify(key, external, payload, tag)
    return bytes(payload)
