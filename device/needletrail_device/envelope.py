"""Opening what the gateway sealed for this pen: shape, epoch and MAC, or a ProtocolError."""

from needletrail_protocol import authentication
from needletrail_protocol.errors import EPOCH_UNKNOWN, ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any


def unseal(key: "Any", external: bytes, message: bytes) -> bytes:
    """The payload of `message`, verified under `key` for the topic in `external`."""
    epoch, payload, tag = authentication.open_envelope(message)
    if epoch != key.epoch:
        raise ProtocolError(EPOCH_UNKNOWN, "the message is of epoch %d" % epoch)
    authentication.verify(key, external, payload, tag)
    return payload
