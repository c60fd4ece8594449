"""An empty InfluxDB filled from the ledger, from its first entry on or for some days only.

The same way as the gateway's outbox goes, with a mark of its own: what was stopped goes on where it
was. The gateway may run meanwhile. A point says what the ledger knows when it is made, so whichever of
the two writes last is right; and rebuilding only ends when the ledger has nothing more to tell.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import func, select

from needletrail_gateway.core.series.point import NS_PER_MS, line
from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_gateway.series.days import begins_utc_ms, day_of, points_of_days, sessions_on
from needletrail_gateway.series.making import Lines, Maker, time_of
from needletrail_gateway.series.outbox import BATCH_POINTS, Batch, Outbox
from needletrail_gateway.series.sending import Sender, parts_of
from needletrail_gateway.series.target import Target, raw_from
from needletrail_gateway.shell.view import INFLUX

REBUILT = "influx-rebuild"
PATIENCE_S = 60.0
_EARLIEST = date(1970, 1, 2)
_ASKED_AT_ONCE = 500
_DAY = timedelta(days=1)

Heard = Callable[[int, int], None]


@dataclass
class Rebuilt:
    """What was done: the entry where it began, the last one, and how many points were written."""

    from_entry: int
    to_entry: int
    points: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Period:
    """Days, both included. None: from the ledger's first, or to its last."""

    first: date | None = None
    last: date | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.first is None and self.last is None

    @property
    def view(self) -> str:
        """The name of the mark: each period has its own."""
        if self.is_all:
            return REBUILT
        ends = [f"{day:%y%m%d}" if day is not None else "" for day in (self.first, self.last)]
        return f"{REBUILT} {'-'.join(ends)}"


class _OfDays(Maker):
    """Makes what falls on some days, and looks at no other sessions."""

    def __init__(
        self,
        ledger: Ledger,
        raw_from_utc_ms: Callable[[], int | None],
        first: date,
        last: date,
    ) -> None:
        super().__init__(ledger, raw_from_utc_ms)
        self.sessions = set(sessions_on(ledger, first, last))
        self._from_ns = begins_utc_ms(first) * NS_PER_MS
        self._to_ns = begins_utc_ms(last + _DAY) * NS_PER_MS

    def tell(self, entries: Iterable[Entry], lines: Lines) -> None:
        """Only entries of these days' sessions."""
        super().tell((one for one in entries if one.session_id in self.sessions), lines)

    def finish(self, lines: Lines) -> None:
        """Only what falls on these days."""
        super().finish(lines)
        lines.raw[:] = filter(self._is_within, lines.raw)
        lines.long[:] = filter(self._is_within, lines.long)

    def _is_within(self, text: str) -> bool:
        return self._from_ns <= time_of(text) < self._to_ns


def rebuild(
    ledger: Ledger,
    target: Target,
    clock_utc_ms: Callable[[], int],
    period: Period,
    *,
    is_restart: bool = False,
    heard: Heard = lambda _done, _total: None,
    stopped: threading.Event | None = None,
) -> Rebuilt:
    """Tell InfluxDB what the ledger says; go on where an earlier call was stopped, unless is_restart.

    `heard`: entries told so far, of how many. Kept if InfluxDB does not answer for PATIENCE_S;
    LedgerError if the ledger holds no registry.
    """
    if is_restart:
        ledger.deliver(period.view, 0)
    today = day_of(clock_utc_ms())
    versions = ledger.versions()
    if not versions:
        raise LedgerError("the ledger holds no registry yet. Import one first.")
    begins = day_of(versions[0].utc_ms)
    first, last = max(period.first or _EARLIEST, _EARLIEST), period.last or today
    cutoff = raw_from(target.settings, clock_utc_ms)
    sender = Sender(ledger, target, clock_utc_ms, stopped, patience_s=PATIENCE_S)
    maker = Maker(ledger, cutoff)
    if not period.is_all:
        maker = of_days = _OfDays(ledger, cutoff, first, last)
        if ledger.delivered(period.view) == 0:
            ledger.deliver(period.view, _before(ledger, of_days.sessions))
    done = Rebuilt(ledger.delivered(period.view), ledger.last_entry_id())

    def told(batch: Batch) -> None:
        done.points += batch.points
        done.to_entry = max(done.to_entry, batch.last_id)
        heard(batch.last_id, done.to_entry)

    outbox = Outbox(ledger, maker, sender, period.view, stopped=stopped, told=told)
    outbox.run(is_until_told=True)
    if stopped is not None and stopped.is_set():
        return done
    lines: list[str] = []
    for _, points in points_of_days(ledger, max(first, begins), min(last, today)):
        lines += map(line, points)
        if len(lines) >= BATCH_POINTS:
            done.points += _write(sender, lines)
            lines = []
    done.points += _write(sender, lines)
    done.rejected = sender.rejected
    ledger.deliver(period.view, 0)
    if period.is_all and ledger.delivered(INFLUX) < done.to_entry:
        ledger.deliver(INFLUX, done.to_entry)
    return done


def _write(sender: Sender, lines: list[str]) -> int:
    return len(lines) if sender.write_all(parts_of([], lines)) else 0


def _before(ledger: Ledger, sessions: set[str]) -> int:
    """The entry before the first of these sessions."""
    columns = schema.entry.c
    names = sorted(sessions)
    firsts: list[int] = []
    with ledger.reading() as connection:
        for at in range(0, len(names), _ASKED_AT_ONCE):
            some = names[at : at + _ASKED_AT_ONCE]
            query = select(func.min(columns.id)).where(columns.session_id.in_(some))
            first = connection.scalar(query)
            if first is not None:
                firsts.append(first)
    return min(firsts) - 1 if firsts else ledger.last_entry_id()
