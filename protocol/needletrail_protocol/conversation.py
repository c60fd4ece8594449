"""What pen and gateway say to each other beside records: hello, will, ack, grant, alert.

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

# Bits of a grant's `rules`. A bit that is not set: warn. Bits not named here are ignored.
REFUSE_EXPIRED = 1  # do not start under an expired grant
REFUSE_UNKNOWN = 2  # do not start for a badge that is not listed

# Bits of a permit's flags.
EXCLUSIVE = 1  # a depth equal to limit_um is beyond it
HARD = 2  # stop the motor, where the pen has an interlock

_BOOT = ("boot", int, 0, U32, False)
_CONNECTION = ("connection", int, 1, U32, False)  # counts the connections of a boot
_HELLO_FIELDS = (
    ("oldest_seq", int, 1, U32, False),
    ("next_seq", int, 1, U32, False),
    _BOOT,
    ("firmware", str, 1, 32, False),
    ("grant_utc_ms", int, 0, UTC_MAX, True),
    ("config", int, 0, U32, False),  # CRC-32 of pen.json
    _CONNECTION,
    ("t_ms", int, 0, T_MAX, True),  # the pen's time now; null where time is simulated
    ("utc_ms", int, 0, UTC_MAX, True),  # the pen's clock now; null if it is not set
)
_WILL_FIELDS = (_BOOT, _CONNECTION)
_ACK_FIELDS = (("seq", int, 0, U32, False), ("utc_ms", int, 0, UTC_MAX, False))
_GRANT_FIELDS = (
    ("issued_utc_ms", int, 0, UTC_MAX, False),
    ("expires_utc_ms", int, 0, UTC_MAX, False),
    ("policy", str, 1, 64, False),
    ("nobody_um", int, 0, UM_MAX, False),  # limit while no badge was read
    ("permits", list, 0, 200, False),  # of [badge id, limit_um, until_utc_ms, flags]
    ("rules", int, 0, U32, False),
)
_ALERT_FIELDS = (
    tables.SESSION,
    ("code", str, 1, 32, False),
    ("t_ms", int, 0, T_MAX, False),
    ("limit_um", int, 0, UM_MAX, True),
    ("depth_um", int, 0, UM_MAX, True),
)


def encode_hello(fields: "Sequence[Any]") -> bytes:
    """Payload of a hello: oldest_seq, next_seq, boot, firmware, grant_utc_ms, config, connection,
    t_ms, utc_ms."""
    payload = tables.encode(_HELLO_FIELDS, fields, [])
    if fields[0] > fields[1]:
        raise ValueError("oldest_seq comes after next_seq")
    return payload


def encode_will(boot: int, connection: int) -> bytes:
    """Payload of the last will of a boot's connection."""
    return tables.encode(_WILL_FIELDS, (boot, connection), [])


def encode_ack(seq: int, utc_ms: int) -> bytes:
    """Payload of an acknowledgement: all records up to `seq` are committed."""
    return tables.encode(_ACK_FIELDS, (seq, utc_ms), [])


def encode_grant(fields: "Sequence[Any]") -> bytes:
    """Payload of a grant: issued_utc_ms, expires_utc_ms, policy, nobody_um, permits, rules."""
    payload = tables.encode(_GRANT_FIELDS, fields, [])
    for permit in fields[4]:
        if not is_permit(permit):
            raise ValueError("not a permit: %r" % (permit,))
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


def decode_will(payload: bytes) -> Message:
    """A last will; ProtocolError otherwise."""
    return tables.decode(_WILL_FIELDS, cbor.decode(payload), 0, Message(0))


def decode_ack(payload: bytes) -> Message:
    """An acknowledgement; ProtocolError otherwise."""
    return tables.decode(_ACK_FIELDS, cbor.decode(payload), 0, Message(0))


def decode_grant(payload: bytes) -> Message:
    """A grant; ProtocolError otherwise."""
    grant = tables.decode(_GRANT_FIELDS, cbor.decode(payload), 0, Message(0))
    for permit in grant.permits:
        if not is_permit(permit):
            raise ProtocolError(PAYLOAD_INVALID, "not a permit")
    return grant


def decode_alert(payload: bytes) -> Message:
    """An alert; ProtocolError otherwise."""
    return tables.decode(_ALERT_FIELDS, cbor.decode(payload), 0, Message(0))


def is_permit(permit: "Any") -> bool:
    """True for [badge id, limit_um, until_utc_ms or null, flags]; the last two may be left out."""
    if not isinstance(permit, (list, tuple)) or len(permit) < 2 or type(permit[0]) is not str:
        return False
    index = 0
    for value in permit[1:4]:
        if type(value) is int:
            if not 0 <= value <= (UM_MAX, UTC_MAX, U32)[index]:
                return False
        elif value is not None or index != 1:
            return False
        index += 1
    return True
