"""The grant: who may go how deep, as the pen holds it in flash for use without a network.

Strategy: the gateway's message is kept as it came, sealed, so that flash needs no other check than
the one the wire has. Only its bytes are held, and its permits are looked at one by one: two hundred
of them at once would not fit into a pen's heap. The newest issue wins, whatever arrives later. An
expired grant is still used: what to do about it is the policy's business, and every record of a
breach says which grant it was.

No grant at all: no local limit. Unknown badge: 0. No badge: what the grant says for nobody.
Not here: the comparison with a reading (measure.Meter), and any knowledge of tiers or law.
"""

from needletrail_device.envelope import unseal
from needletrail_protocol import cbor, conversation, ndef
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

FILE = "grant"
_NEW_FILE = "grant.new"
_PERMITS_MAX = 200
_UM_MAX = 20_000


class Limits:
    """The grant in force. `issued_utc_ms` and `expires_utc_ms` are None without one."""

    def __init__(self, folder: "Any", key: "Any", external: bytes) -> None:
        """`folder` holds the grant's file; `key` and `external` open the gateway's messages."""
        self._folder = folder
        self._key = key
        self._external = external
        self._payload = b""
        self.issued_utc_ms: "int | None" = None
        self.expires_utc_ms: "int | None" = None
        message = folder.read(FILE)
        if message is not None:
            try:
                self._take(message)
            except ProtocolError:  # half written, or of an earlier key: as if there were none
                pass

    def offer(self, message: bytes) -> bool:
        """A grant's message arrived: True if it is newer, and is now in force and in flash.

        ProtocolError if it is not one of ours.
        """
        if not self._take(message):
            return False
        self._folder.write(_NEW_FILE, message)
        self._folder.rename(_NEW_FILE, FILE)
        return True

    def _take(self, message: bytes) -> bool:
        payload = unseal(self._key, self._external, message)
        grant = read_grant(payload, None)[0]
        if self.issued_utc_ms is not None and grant.issued_utc_ms <= self.issued_utc_ms:
            return False
        self._payload = payload
        self.issued_utc_ms = grant.issued_utc_ms
        self.expires_utc_ms = grant.expires_utc_ms
        return True

    def is_expired(self, utc_ms: int) -> bool:
        """True if there is a grant and its time is over."""
        return self.expires_utc_ms is not None and utc_ms >= self.expires_utc_ms

    def limit_um(self, badge: "bytes | None", utc_ms: "int | None" = None) -> "int | None":
        """The limit for the practitioner of this badge (NDEF bytes); None without a grant.

        A permit that has run out by the pen's clock allows nothing. Without a clock (`utc_ms` None)
        the pen can not know, and takes the permit as good.
        """
        if self.issued_utc_ms is None:
            return None
        name = ndef.badge_id(badge) if badge else None
        grant, limit_um, until_utc_ms = read_grant(self._payload, name)
        if badge is None:
            return grant.nobody_um
        if until_utc_ms is not None and utc_ms is not None and utc_ms >= until_utc_ms:
            return 0
        return limit_um


def read_grant(payload: bytes, name: "str | None") -> "tuple[Any, int, int | None]":
    """(the grant without its permits, limit and end of the permit of badge id `name`).

    The limit is 0 if there is no permit; the end is None if there is none.

    Reads what conversation.decode_grant reads, and refuses what that refuses.
    """
    elements, begin = _array(payload, 0)
    at = begin
    for _ in range(4):
        at = cbor.decode_at(payload, at, 1)[1]
    grant = conversation.decode_grant(b"\x85" + payload[begin:at] + b"\x80")
    count, at = _array(payload, at)
    if elements < 5 or count > _PERMITS_MAX:
        raise ProtocolError(PAYLOAD_INVALID, "not a grant")
    limit_um = -1
    until_utc_ms = None
    for _ in range(count):
        permit, at = cbor.decode_at(payload, at, 2)
        if (
            not isinstance(permit, list)
            or len(permit) < 2
            or not isinstance(permit[0], str)
            or type(permit[1]) is not int
            or not 0 <= permit[1] <= _UM_MAX
            or (len(permit) > 2 and type(permit[2]) is not int)
        ):
            raise ProtocolError(PAYLOAD_INVALID, "a permit is not [badge id, limit_um]")
        if limit_um < 0 and permit[0] == name:
            limit_um = permit[1]
            until_utc_ms = permit[2] if len(permit) > 2 else None
    for _ in range(elements - 5):
        at = cbor.decode_at(payload, at, 1)[1]
    if at != len(payload):
        raise ProtocolError(PAYLOAD_INVALID, "bytes after the grant")
    return grant, max(limit_um, 0), until_utc_ms


def _array(payload: bytes, at: int) -> "tuple[int, int]":
    """(elements of the array at `at`, where its first one begins)."""
    head = payload[at : at + 2]
    if head and 0x80 <= head[0] < 0x98:
        return head[0] - 0x80, at + 1
    if len(head) == 2 and head[0] == 0x98 and head[1] >= 24:
        return head[1], at + 2
    raise ProtocolError(PAYLOAD_INVALID, "not an array of the length that it should have")
