"""Every night: the days of which something was told since the last time are held against InfluxDB.

Which days these are, the entries say; how far it has come is a mark of its own in the outbox. What is
missing or old is written again; what is not the ledger's is said. Today is left for the next night.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Self

import structlog

from needletrail_gateway.core.series.daily import touched_from
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.audit import Audit, Difference
from needletrail_gateway.series.days import day_of, days
from needletrail_gateway.series.making import Maker, what
from needletrail_gateway.series.target import Kept, Refused, Target, raw_from
from needletrail_gateway.shell.view import INFLUX

CHECKED = "influx-check"
OFF = "off"
_LOOK_S = 20.0
_TOLD_S = 600.0  # how long the outbox may need to be empty
_ENTRIES_AT_ONCE = 1_000
_MESSAGES = ("record", "refused")  # their bodies are pens' messages, not JSON
_DAY = timedelta(days=1)

log = structlog.get_logger()


class Nightly(threading.Thread):
    """The thread that waits for the hour."""

    def __init__(
        self,
        ledger: Ledger,
        target: Target,
        clock_utc_ms: Callable[[], int],
        stopped: threading.Event,
        look_s: float = _LOOK_S,
    ) -> None:
        """`look_s`: how often it looks whether the hour has come."""
        super().__init__(name="check", daemon=True)
        self._ledger = ledger
        self._target = target
        self._clock_utc_ms = clock_utc_ms
        self._stopped = stopped
        self._look_s = look_s
        self._at = target.settings.check_at
        self._checked_on = self._due_on()

    def run(self) -> None:
        """Check every night until stopped."""
        if self._at == OFF:
            return
        while not self._stopped.wait(self._look_s):
            due_on = self._due_on()
            if due_on == self._checked_on:
                continue
            self._checked_on = due_on
            try:
                self.check()
            except (Kept, Refused) as error:
                log.error("InfluxDB could not be checked; the next night will", why=str(error))
            except Exception as error:  # the nights after it must not be lost
                log.error("InfluxDB could not be checked; the next night will", why=what(error))

    def _due_on(self) -> date | None:
        """The day on which the last check was due."""
        if self._at == OFF:
            return None
        hour, minute = map(int, self._at.split(":"))
        return day_of(self._clock_utc_ms() - (hour * 60 + minute) * 60_000)

    def check(self) -> list[Difference]:
        """Check and repair the days that have changed since the last time. What was found."""
        ledger = self._ledger
        to_id = ledger.last_entry_id()
        if not self._await_told(to_id):
            return []
        today = day_of(self._clock_utc_ms())
        changed = Changed.between(ledger, ledger.delivered(CHECKED), to_id, today)
        audit = Audit(
            ledger,
            self._target,
            self._clock_utc_ms,
            raw_from(self._target.settings, self._clock_utc_ms),
        )
        found = []
        for first, last in ranges(changed.days):
            for difference in audit.compare(first, last):
                audit.examine(difference, is_repair=True)
                log.error("InfluxDB differs from the ledger", **difference.statement())
                found.append(difference)
        ledger.deliver(CHECKED, changed.last_id)
        log.info("InfluxDB checked", days=len(changed.days), differences=len(found))
        return found

    def _await_told(self, to_id: int) -> bool:
        waited_s = 0.0
        while self._ledger.delivered(INFLUX) < to_id:
            if waited_s >= _TOLD_S:
                log.warning("the outbox is not empty; InfluxDB will be checked the next night")
                return False
            if self._stopped.wait(1.0):
                return False
            waited_s += 1.0
        return True


@dataclass
class Changed:
    """Days before today of which something was told; up to `last_id` nobody need look again.

    What was entered today may be of days before, and more may come: the next night looks at it again.
    """

    last_id: int
    days: set[date] = field(default_factory=set)

    @classmethod
    def between(cls, ledger: Ledger, after_id: int, to_id: int, today: date) -> Self:
        """What the entries after one and up to another changed."""
        changed = cls(after_id)
        sessions: set[str] = set()
        daily_from: date | None = None
        at_id = after_id
        while at_id < to_id:
            for entry in ledger.entries(at_id, most=_ENTRIES_AT_ONCE):
                at_id = entry.id
                committed_on = day_of(entry.committed_utc_ms)
                changed.days.add(committed_on)
                if committed_on < today:
                    changed.last_id = entry.id
                if entry.session_id is not None:
                    sessions.add(entry.session_id)
                if entry.kind not in _MESSAGES and not entry.is_removed:
                    day = touched_from(entry.kind, entry.committed_utc_ms, entry.json())
                    daily_from = _earlier(daily_from, day)
        maker = Maker(ledger)
        for session_id in sessions:
            started_utc_ms = maker.started_utc_ms(session_id)
            if started_utc_ms is not None:
                started = day_of(started_utc_ms)
                changed.days |= {started, started + _DAY}  # it may have gone on past midnight
            first_use_utc_ms = maker.first_use_utc_ms(session_id)
            if first_use_utc_ms is not None:
                daily_from = _earlier(daily_from, day_of(first_use_utc_ms))
        versions = ledger.versions()
        if daily_from is not None and versions:
            first = max(daily_from, day_of(versions[0].utc_ms))
            changed.days.update(days(first, today))
        changed.days = {day for day in changed.days if day < today}
        return changed


def _earlier(one: date | None, other: date | None) -> date | None:
    return min((day for day in (one, other) if day is not None), default=None)


def ranges(found: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Days as stretches without gaps, each with its first and its last."""
    first = last = None
    for day in sorted(found):
        if first is None or last is None or day > last + _DAY:
            if first is not None and last is not None:
                yield first, last
            first = day
        last = day
    if first is not None and last is not None:
        yield first, last
