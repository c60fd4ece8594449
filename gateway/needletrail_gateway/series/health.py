"""Health as live points: the pens' and the gateway's. No entry makes them; they are told once.

A pen has a point every half minute and one whenever it comes, goes, or opens or closes a session; the
gateway one every quarter minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import func, select

from needletrail_gateway.core.series import schema as series
from needletrail_gateway.core.series.point import NS_PER_MS, Point, point_of
from needletrail_gateway.core.treatment import utc
from needletrail_gateway.record import schema
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.health import GatewayState, PenState
from needletrail_gateway.shell.view import INFLUX

PEN_EVERY_MS = 30_000
GATEWAY_EVERY_MS = 15_000


@dataclass
class Pulse:
    """Which live points are due. `points` is asked every second or so."""

    ledger: Ledger
    _pens: dict[str, tuple[int, tuple[bool, bool]]] = field(default_factory=dict)
    _gateway_utc_ms: int | None = None
    _commit_ms: float | None = None

    def points(self, state: GatewayState, now_utc_ms: int) -> Iterator[Point]:
        """The points that are due now."""
        for pen in state.pens:
            told_utc_ms, before = self._pens.get(pen.pen, (None, None))
            now = (pen.is_online, pen.in_session)
            if now != before or _is_due(told_utc_ms, now_utc_ms, PEN_EVERY_MS):
                self._pens[pen.pen] = (now_utc_ms, now)
                yield pen_point(state.clinic, pen, now_utc_ms)
        if state.commit_ms is not None:
            self._commit_ms = max(self._commit_ms or 0.0, state.commit_ms)
        if _is_due(self._gateway_utc_ms, now_utc_ms, GATEWAY_EVERY_MS):
            self._gateway_utc_ms = now_utc_ms
            yield gateway_point(self.ledger, state, self._commit_ms, now_utc_ms)
            self._commit_ms = None


def _is_due(told_utc_ms: int | None, now_utc_ms: int, every_ms: int) -> bool:
    return told_utc_ms is None or not 0 <= now_utc_ms - told_utc_ms < every_ms


def pen_point(clinic: str, pen: PenState, now_utc_ms: int) -> Point:
    """A pen as the gateway sees it."""
    today = utc(now_utc_ms).date()
    return point_of(
        series.PEN_HEALTH.name,
        (("clinic", clinic), ("pen", pen.pen)),
        {
            "online": int(pen.is_online),
            "in_session": int(pen.in_session),
            "silent_s": pen.silent_s,
            "backlog": pen.backlog,
            "battery_percent": pen.battery_percent,
            "clock_offset_ms": pen.clock_offset_ms,
            "firmware": pen.firmware,
            "calibrated_days": None if pen.calibrated is None else (today - pen.calibrated).days,
            "faults": " ".join(pen.faults),
        },
        now_utc_ms * NS_PER_MS,
    )


def gateway_point(
    ledger: Ledger, state: GatewayState, commit_ms: float | None, now_utc_ms: int
) -> Point:
    """The gateway itself."""
    told = ledger.delivered(INFLUX)
    last = ledger.last_entry_id()
    waiting = ledger.entries(told, most=1)
    with ledger.reading() as connection:
        quarantined = connection.scalar(select(func.count()).select_from(schema.quarantine)) or 0
    return point_of(
        series.GATEWAY_HEALTH.name,
        (("clinic", state.clinic),),
        {
            "records": state.records,
            "refused": state.refused,
            "quarantined": quarantined,
            "entries": last,
            "outbox": max(0, last - told),
            "outbox_s": max(0, now_utc_ms - waiting[0].committed_utc_ms) // 1000 if waiting else 0,
            "commit_ms": commit_ms,
            "pens_online": sum(pen.is_online for pen in state.pens),
            "pens": len(state.pens),
        },
        now_utc_ms * NS_PER_MS,
    )
