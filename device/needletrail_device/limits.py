"""The grant: who may go how deep, as the pen holds it in flash for use without a network.

Strategy: the gateway's message stays in flash as it came, sealed, so that it needs no other check than
the one the wire has: its MAC covers clinic, pen and key epoch. RAM holds what concerns the grant as a
whole and the practitioner asked for last. Another badge reads the file again, verifies it again, and
looks its permits through one by one: two hundred at once would not fit into a pen's heap. What flash
no longer holds whole is as if there were none, and `fault` says so. The newest issue wins.

Time is the pen's own clock. Without one the pen can not know: grant and permit count as good then.

No grant: no local limit. A badge that is not listed, or whose permit has run out: 0. No badge: what the
grant says for nobody. That a bound is exclusive does not move a breach (protocol/README.md). Not here:
what follows from expiry or an unknown badge (arming), the comparison with a reading (measure.Meter),
and any knowledge of tiers or law.
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
_NOTHING = ("", 0)  # the permit of whoever has none


class Limits:
    """The grant in force. `issued_utc_ms` and `expires_utc_ms` are None without one.

    `is_hard`: the limit of the practitioner asked for last is a hard one. `rules` are the grant's.
    `fault`: None, "damaged" (the file is no whole grant of this pen), or "write" (a newer grant came
    and could not be put into flash).
    """

    def __init__(self, folder: "Any", key: "Any", external: bytes) -> None:
        """`folder` holds the grant's file; `key` and `external` open the gateway's messages."""
        self._folder = folder
        self._key = key
        self._external = external
        self._badge: "bytes | None" = None
        self._load()

    def offer(self, message: bytes) -> bool:
        """A grant's message arrived: True if it is newer, and is now in force and in flash.

        ProtocolError if it is not one of ours.
        """
        grant, permit = self._read(message)
        if self.issued_utc_ms is not None and grant.issued_utc_ms <= self.issued_utc_ms:
            return False
        try:
            self._folder.write(_NEW_FILE, message)
            self._folder.rename(_NEW_FILE, FILE)
        except OSError:  # the one in flash stays in force; the gateway sends this one again
            self.fault = "write"
            return False
        self._use(grant, permit, None)
        return True

    def is_expired(self, utc_ms: "int | None") -> bool:
        """True if there is a grant and its time is over by the pen's clock."""
        expires_utc_ms = self.expires_utc_ms
        return expires_utc_ms is not None and utc_ms is not None and utc_ms >= expires_utc_ms

    def is_listed(self, utc_ms: "int | None") -> bool:
        """True if the practitioner asked for last has a permit that has not run out, or is nobody."""
        if self._badge is None:
            return True
        until_utc_ms = self._until_utc_ms
        return self._is_named and (until_utc_ms is None or utc_ms is None or utc_ms < until_utc_ms)

    def limit_um(self, badge: "bytes | None", utc_ms: "int | None" = None) -> "int | None":
        """The limit for the practitioner of this badge (NDEF bytes); None without a grant."""
        if badge != self._badge:
            self._badge = badge
            self._load()
        return self._limit_um if self._limit_um is None or self.is_listed(utc_ms) else 0

    def _load(self) -> None:
        """What flash holds is in force, for this badge."""
        grant = fault = None
        permit: "Any" = _NOTHING
        message = self._folder.read(FILE)
        if message is not None:
            try:
                grant, permit = self._read(message)
            except ProtocolError:
                fault = "damaged"
        self._use(grant, permit, fault)

    def _read(self, message: bytes) -> "tuple[Any, Any]":
        badge = self._badge
        payload = unseal(self._key, self._external, message)
        return read_grant(payload, ndef.badge_id(badge) if badge else None)

    def _use(self, grant: "Any", permit: "Any", fault: "str | None") -> None:
        self.fault = fault
        self._is_named = permit is not _NOTHING
        self._until_utc_ms = permit[2] if len(permit) > 2 else None
        self.is_hard = len(permit) > 3 and permit[3] & conversation.HARD != 0
        self.issued_utc_ms: "int | None" = None
        self.expires_utc_ms: "int | None" = None
        self._limit_um: "int | None" = None
        self.rules = 0
        if grant is not None:
            self.issued_utc_ms = grant.issued_utc_ms
            self.expires_utc_ms = grant.expires_utc_ms
            self.rules = grant.rules
            self._limit_um = grant.nobody_um if self._badge is None else permit[1]


def read_grant(payload: bytes, name: "str | None") -> "tuple[Any, Any]":
    """(the grant without its permits, the first permit of badge id `name` or _NOTHING).

    Reads what conversation.decode_grant reads, and refuses what that refuses.
    """
    at = _array(payload, 0)[1]
    for _ in range(4):
        at = cbor.decode_at(payload, at, 1)[1]
    before = payload[:at]
    count, at = _array(payload, at)
    found: "Any" = _NOTHING
    if count > _PERMITS_MAX:
        raise ProtocolError(PAYLOAD_INVALID, "too many permits")
    for _ in range(count):
        permit, at = cbor.decode_at(payload, at, 2)
        if not conversation.is_permit(permit):
            raise ProtocolError(PAYLOAD_INVALID, "not a permit")
        if found is _NOTHING and permit[0] == name:
            found = permit
    return conversation.decode_grant(before + b"\x80" + payload[at:]), found


def _array(payload: bytes, at: int) -> "tuple[int, int]":
    """(elements of the array at `at`, where its first one begins)."""
    head = payload[at : at + 2]
    if head and 0x80 <= head[0] < 0x98:
        return head[0] - 0x80, at + 1
    if len(head) == 2 and head[0] == 0x98 and head[1] >= 24:
        return head[1], at + 2
    raise ProtocolError(PAYLOAD_INVALID, "not an array of the length that it should have")
