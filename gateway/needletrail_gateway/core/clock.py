"""What time it was: a boot's own clock, the gateway's clock beside it, and which of the two counts.

A pen says how long it has been on, and only perhaps what time it is. Each hello carries both, so that
at this moment the gateway knows UTC at the pen's t_ms: a `Pin` of the boot. A pin is an entry of the
ledger like any other, and comes before the records of its connection; so a session's time follows from
what stands before it in the ledger, live and in a replay alike.

A message can only be late, never early. So a pin may be late by what the network held it up, and the
pen's clock is kept while the two agree within what the policy pack says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from needletrail_gateway.core.packs.model import ClockRule
from needletrail_protocol.tables import UTC_MAX, Message

# Boards whose time is made up (a tape's). They are never pinned, and no grant's age means anything.
SIMULATED_BOARDS = ("virtual",)


@dataclass(frozen=True)
class Pin:
    """What the gateway's clock and the pen's said at `t_ms` of a boot; the pen's is None if unset."""

    boot: int
    t_ms: int
    gateway_utc_ms: int
    device_utc_ms: int | None

    @property
    def boot_utc_ms(self) -> int:
        """UTC at t_ms = 0, by the gateway's clock."""
        return self.gateway_utc_ms - self.t_ms

    def statement(self, pen_id: str, epoch: int) -> dict[str, Any]:
        """The ledger's entry. `offset_ms` is what must be added to the pen's clock."""
        device = self.device_utc_ms
        return {
            "pen": pen_id,
            "epoch": epoch,
            "boot": self.boot,
            "t_ms": self.t_ms,
            "gateway_utc_ms": self.gateway_utc_ms,
            "device_utc_ms": device,
            "offset_ms": None if device is None else self.gateway_utc_ms - device,
        }


@dataclass(frozen=True)
class BootClock:
    """UTC at t_ms = 0 of a boot: by the pen's clock, by the gateway's, and the one that counts.

    is_simulated: the board's time is made up.
    """

    device_utc_ms: int | None
    pinned_utc_ms: int | None = None
    agrees_within_ms: int = 0
    is_simulated: bool = False

    @property
    def boot_utc_ms(self) -> int | None:
        """The one that counts; None if there is none."""
        return self.device_utc_ms if self.source == "pen" else self.pinned_utc_ms

    @property
    def offset_ms(self) -> int | None:
        """What must be added to the pen's clock to get the gateway's; None if one is missing."""
        if self.device_utc_ms is None or self.pinned_utc_ms is None:
            return None
        return self.pinned_utc_ms - self.device_utc_ms

    @property
    def source(self) -> str:
        """Whose clock counts: "pen", "gateway" or "none"."""
        if self.device_utc_ms is None:
            return "none" if self.pinned_utc_ms is None else "gateway"
        offset_ms = self.offset_ms
        return "pen" if offset_ms is None or abs(offset_ms) <= self.agrees_within_ms else "gateway"


def new_pin(hello: Message, now_utc_ms: int, pins: Sequence[Pin], rule: ClockRule) -> Pin | None:
    """The pin that a boot's hello brings; None if it brings none, or none that says anything new."""
    t_ms = hello.t_ms
    if t_ms is None or not t_ms <= now_utc_ms <= UTC_MAX:
        return None
    pin = Pin(hello.boot, t_ms, now_utc_ms, hello.utc_ms)
    for known in reversed(pins):
        if known.boot == pin.boot:
            drift_ms = abs(known.boot_utc_ms - pin.boot_utc_ms)
            return pin if drift_ms > rule.agrees_within_ms else None
    return pin


def boot_clock(
    device_utc_ms: int | None,
    board: str | None,
    boot: int | None,
    t_ms: int,
    pins: Sequence[Pin],
    rule: ClockRule,
) -> BootClock:
    """The clock of what begins at `t_ms` of a boot: by its newest pin until then, else its first."""
    of_boot = [pin for pin in pins if pin.boot == boot]
    pin = next((pin for pin in reversed(of_boot) if pin.t_ms <= t_ms), of_boot[0] if of_boot else None)
    return BootClock(
        device_utc_ms,
        None if pin is None else pin.boot_utc_ms,
        rule.agrees_within_ms,
        board in SIMULATED_BOARDS,
    )
