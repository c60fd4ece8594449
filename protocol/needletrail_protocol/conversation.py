"""What pen and gateway say to each other beside records: hello, ack, grant, alert.

Times: `t_ms` is milliseconds since the pen's boot, `*_utc_ms` milliseconds since 1970-01-01 UTC.
Depths are micrometres (`_um`). Not here: records (messages, readings), the envelope (authentication).
"""

from needletrail_protocol import cbor, tables
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError
from needletrail_protocol.tables import T_MAX, U32, UM_MAX, UTC_MAX, Message

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_HELLO_FIELDS = (
    ("oldest_seq", int, 1, U32, False),
    ("next_seq", int, 1, U32, False),
    ("boot", int, 0, U32, False),
    ("firmware", str, 1, 32, False),
    ("grant_utc_ms", int, 0, UTC_MAX, True),
)
_ACK_FIELDS = (("seq", int, 0, U32, False), ("utc_ms", int, 0, UTC_MAX, False))
_GRANT_FIELDS = (
    ("issued_utc_ms", int, 0, UTC_MAX, False),
    ("expires_utc_ms", int, 0, UTC_MAX, False),
    ("policy", str, 1, 64, False),
    ("nobody_um", int, 0, UM_MAX, False),  # limit while no badge was read
    ("permits", list, 0, 200, False),  # of [badge id, limit_um, until_utc_ms]
)
_ALERT_FIELDS = (
    tables.SESSION,
    ("code", str, 1, 32, False),
    ("t_ms", int, 0, T_MAX, False),
    ("limit_um", int, 0, UM_MAX, True),
    ("depth_um", int, 0, UM_MAX, True),
)


def encode_hello(fields: "Sequence[Any]") -> bytes:
    """Payload of a hello: oldest_seq, next_seq, boot, firmware, grant_utc_ms."""
    payload = tables.encode(_HELLO_FIELDS, fields, [])
    if fields[0] > fields[1]:
        raise ValueError("oldest_seq comes after next_seq")
    return payload


def encode_ack(seq: int, utc_ms: int) -> bytes:
    """Payload of an acknowledgement: all records up to `seq` are committed."""
    return tables.encode(_ACK_FIELDS, (seq, utc_ms), [])


def encode_grant(fields: "Sequence[Any]") -> bytes:
    """Payload of a grant: issued_utc_ms, expires_utc_ms, policy, nobody_um, permits."""
    payload = tables.encode(_GRANT_FIELDS, fields, [])
    if not _are_permits(fields[4]):
        raise ValueError("a permit is not [badge id, limit_um, until_utc_ms]")
    return payload


def encode_alert(fields: "Sequence[Any]") -> bytes:
    """Payload of an alert: session, code, t_ms, limit_um, depth_um."""
    return tables.encode(_ALERT_FIELDS, fields, [])


def decode_hello(payload: bytes) -> Message:
    """A hello; ProtocolError(payload_malformed or payload_invalid) otherwise."""
    hello = tables.decode(_HELLO_FIELDS, cbor.decode(payload), 0, Message(0))
    if hello.oldest_seq > hello.next_seq:
        raise ProtocolError(PAYLOAD_INVALID, "oldest_seq comes after next_seq")
    return hello


def decode_ack(payload: bytes) -> Message:
    """An acknowledgement; ProtocolError otherwise."""
    return tables.decode(_ACK_FIELDS, cbor.decode(payload), 0, Message(0))


def decode_grant(payload: bytes) -> Message:
    """A grant; ProtocolError otherwise."""
    grant = tables.decode(_GRANT_FIELDS, cbor.decode(payload), 0, Message(0))
    if not _are_permits(grant.permits):
        raise ProtocolError(PAYLOAD_INVALID, "a permit is not [badge id, limit_um, until_utc_ms]")
    return grant


def decode_alert(payload: bytes) -> Message:
    """An alert; ProtocolError otherwise."""
    return tables.decode(_ALERT_FIELDS, cbor.decode(payload), 0, Message(0))


def _are_permits(permits: "Sequence[Any]") -> bool:
    for permit in permits:
        if (
            not isinstance(permit, (list, tuple))
            or len(permit) < 2
            or type(permit[0]) is not str
            or type(permit[1]) is not int
            or not 0 <= permit[1] <= UM_MAX
            or (
                len(permit) > 2 and (type(permit[2]) is not int or not 0 <= permit[2] <= UTC_MAX)
            )
        ):
            return False
    return True
