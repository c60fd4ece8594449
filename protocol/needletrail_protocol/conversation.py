"""What pen and gateway say to each other beside records: hello, will, ack, grant, alert.

Times: `t_ms` is milliseconds since the pen's boot, `*_utc_ms` milliseconds since 1970-01-01 UTC.
Depths are micrometres (`_um`). Not here: records (messages, readings), the envelope (authentication).
"""

from needletrail_protocol import cbor, tables
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError
from needletrail_protocol.tables import U32, UM_MAX, UTC_MAX, Message

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

# What each message says: a letter a field (tables), and the names of the fields in their order.
# connection counts the connections of a boot. config: CRC-32 of pen.json. t_ms, utc_ms of a hello: the
# pen's time now, null where time is simulated; its clock now, null if it is not set. battery_percent:
# null if it is not known, left out by pens of before 0.2. nobody_um: the limit while no badge was read.
# permits: of [badge id, limit_um, until_utc_ms, flags].
_HELLO = b"jjamCajBCF"
_HELLO_NAMES = (
    "oldest_seq next_seq boot firmware grant_utc_ms config connection t_ms utc_ms battery_percent"
)
_WILL = b"aj"
_WILL_NAMES = "boot connection"
_ACK = b"ac"
_ACK_NAMES = "seq utc_ms"
_GRANT = b"ccndsa"
_GRANT_NAMES = "issued_utc_ms expires_utc_ms policy nobody_um permits rules"
_ALERT = b"jmbDD"
_ALERT_NAMES = "session code t_ms limit_um depth_um"


def encode_hello(fields: "Sequence[Any]") -> bytes:
    """Payload of a hello: oldest_seq, next_seq, boot, firmware, grant_utc_ms, config, connection,
    t_ms, utc_ms, and perhaps battery_percent."""
    payload = tables.encode(_HELLO, fields, [])
    if fields[0] > fields[1]:
        raise ValueError("oldest_seq comes after next_seq")
    return payload


def encode_will(boot: int, connection: int) -> bytes:
    """Payload of the last will of a boot's connection."""
    return tables.encode(_WILL, (boot, connection), [])


def encode_ack(seq: int, utc_ms: int) -> bytes:
    """Payload of an acknowledgement: all records up to `seq` are committed."""
    return tables.encode(_ACK, (seq, utc_ms), [])


def encode_grant(fields: "Sequence[Any]") -> bytes:
    """Payload of a grant: issued_utc_ms, expires_utc_ms, policy, nobody_um, permits, rules."""
    payload = tables.encode(_GRANT, fields, [])
    for permit in fields[4]:
        if not is_permit(permit):
            raise ValueError("not a permit: %r" % (permit,))
    return payload


def encode_alert(fields: "Sequence[Any]") -> bytes:
    """Payload of an alert: session, code, t_ms, limit_um, depth_um."""
    return tables.encode(_ALERT, fields, [])


def decode_hello(payload: bytes) -> Message:
    """A hello; ProtocolError(payload_malformed or payload_invalid) otherwise."""
    hello = tables.decode(_HELLO, _HELLO_NAMES, cbor.decode(payload), 0, 0)
    if hello.oldest_seq > hello.next_seq:
        raise ProtocolError(PAYLOAD_INVALID, "oldest_seq comes after next_seq")
    return hello


def decode_will(payload: bytes) -> Message:
    """A last will; ProtocolError otherwise."""
    return tables.decode(_WILL, _WILL_NAMES, cbor.decode(payload), 0, 0)


def decode_ack(payload: bytes) -> Message:
    """An acknowledgement; ProtocolError otherwise."""
    return tables.decode(_ACK, _ACK_NAMES, cbor.decode(payload), 0, 0)


def ack_fields(payload: bytes) -> "list[Any]":
    """The same without names: seq, utc_ms."""
    return tables.check(_ACK, cbor.decode(payload), 0)


def decode_grant(payload: bytes) -> Message:
    """A grant; ProtocolError otherwise."""
    grant = tables.decode(_GRANT, _GRANT_NAMES, cbor.decode(payload), 0, 0)
    for permit in grant.permits:
        if not is_permit(permit):
            raise ProtocolError(PAYLOAD_INVALID, "not a permit")
    return grant


def grant_fields(payload: bytes) -> "list[Any]":
    """Without names, and permits are not looked at: issued_utc_ms, expires_utc_ms, policy, nobody_um,
    permits, rules."""
    return tables.check(_GRANT, cbor.decode(payload), 0)


def decode_alert(payload: bytes) -> Message:
    """An alert; ProtocolError otherwise."""
    return tables.decode(_ALERT, _ALERT_NAMES, cbor.decode(payload), 0, 0)


def alert_fields(payload: bytes) -> "list[Any]":
    """The same without names: session, code, t_ms, limit_um, depth_um."""
    return tables.check(_ALERT, cbor.decode(payload), 0)


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
