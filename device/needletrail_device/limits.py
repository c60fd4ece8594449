"""The grant: who may go how deep, as the pen holds it in flash for use without a network.

Strategy: the gateway's message stays in flash as it came, sealed, so that it needs no other check than
the one the wire has: its MAC covers clinic, pen and key epoch. RAM holds what concerns the grant as a
whole and the practitioner asked for last. Another badge reads the file again, verifies it again, and
looks its permits through (permits). What flash no longer holds whole is as if there were none, and
`fault` says so. The newest issue wins.

Time is the pen's own clock. Without one the pen can not know: grant and permit count as good then.

No grant: no local limit. A badge that is not listed, or whose permit has run out: 0. No badge: what the
grant says for nobody. That a bound is exclusive does not move a breach (protocol/README.md). Not here:
what follows from expiry or an unknown badge (arming), the comparison with a reading (measure.Meter),
and any knowledge of tiers or law.
"""

from needletrail_device.envelope import unseal
from needletrail_device.loading import forget
from needletrail_protocol import conversation, ndef
from needletrail_protocol.errors import ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

FILE = "grant"
_NEW_FILE = "grant.new"
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
        if self.issued_utc_ms is not None and grant[0] <= self.issued_utc_ms:
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
        permit: "Any" = None
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
        from needletrail_device.permits import read_grant  # noqa: PLC0415  seldom needed

        try:
            return read_grant(payload, ndef.badge_id(badge) if badge else None)
        finally:
            if "/slots/" in __file__:  # in the sources it stays: compiling it each time takes long
                forget("needletrail_device.permits")

    def _use(self, grant: "Any", permit: "Any", fault: "str | None") -> None:
        self.fault = fault
        self._is_named = permit is not None
        permit = permit or _NOTHING
        self._until_utc_ms = permit[2] if len(permit) > 2 else None
        self.is_hard = len(permit) > 3 and permit[3] & conversation.HARD != 0
        self.issued_utc_ms: "int | None" = None
        self.expires_utc_ms: "int | None" = None
        self._limit_um: "int | None" = None
        self.rules = 0
        if grant is not None:
            self.issued_utc_ms, self.expires_utc_ms, _, nobody_um, _, self.rules = grant
            self._limit_um = nobody_um if self._badge is None else permit[1]
