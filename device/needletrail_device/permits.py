"""What a grant says about one badge: read when a grant or a badge comes, and forgotten (loading.py).

Strategy: permits are looked through one by one, where they stand in the payload: two hundred at once
would not fit into a pen's heap.
"""

from needletrail_protocol import cbor, conversation
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

_PERMITS_MAX = 200


def read_grant(payload: bytes, name: "str | None") -> "tuple[list[Any], Any]":
    """(conversation.grant_fields without the permits, the first permit of badge id `name` or None).

    Reads what conversation.decode_grant reads, and refuses what that refuses.
    """
    at = _array(payload, 0)[1]
    for _ in range(4):
        at = cbor.decode_at(payload, at, 1)[1]
    before = payload[:at]
    count, at = _array(payload, at)
    found: "Any" = None
    if count > _PERMITS_MAX:
        raise ProtocolError(PAYLOAD_INVALID, "too many permits")
    for _ in range(count):
        permit, at = cbor.decode_at(payload, at, 2)
        if not conversation.is_permit(permit):
            raise ProtocolError(PAYLOAD_INVALID, "not a permit")
        if found is None and permit[0] == name:
            found = permit
    return conversation.grant_fields(before + b"\x80" + payload[at:]), found


def _array(payload: bytes, at: int) -> "tuple[int, int]":
    """(elements of the array at `at`, where its first one begins)."""
    head = payload[at : at + 2]
    if head and 0x80 <= head[0] < 0x98:
        return head[0] - 0x80, at + 1
    if len(head) == 2 and head[0] == 0x98 and head[1] >= 24:
        return head[1], at + 2
    raise ProtocolError(PAYLOAD_INVALID, "not an array of the length that it should have")
