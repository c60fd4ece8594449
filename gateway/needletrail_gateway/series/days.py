"""Days (UTC): whose sessions they have, and how stock, lots and licences stood at their ends.

Daily points follow from everything that was entered up to then, so they are made from the whole and not
entry by entry: for each day from the first that changed up to today. Today's are written again every
hour and soon after a change.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.core.notes import OVERRIDE
from needletrail_gateway.core.series.daily import daily_points
from needletrail_gateway.core.series.point import Point, line
from needletrail_gateway.core.treatment import utc
from needletrail_gateway.record import schema
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.making import what
from needletrail_gateway.shell.notebook import movements, opened_cartridges

EVERY_S = 3_600.0
AT_MOST_EVERY_S = 10.0
_DAY = timedelta(days=1)

log = structlog.get_logger()


def day_of(utc_ms: int) -> date:
    """The day (UTC) of a moment."""
    return utc(utc_ms).date()


def begins_utc_ms(day: date) -> int:
    """When a day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def days(first: date, last: date) -> Iterator[date]:
    """Each day from one to another, both included."""
    while first <= last:
        yield first
        first += _DAY


def points_of_days(ledger: Ledger, first: date, last: date) -> Iterator[tuple[date, list[Point]]]:
    """Each day's daily points; none for days before the first registry."""
    versions = ledger.versions()
    if not versions:
        return
    first = max(first, day_of(versions[0].utc_ms))
    moved = movements(ledger)
    opened = opened_cartridges(ledger.sessions())
    for day in days(first, last):
        version = ledger.version_at(begins_utc_ms(day + _DAY) - 1)
        if version is not None:
            yield day, daily_points(ledger.registry_at(version), moved, opened, day)


def sessions_on(ledger: Ledger, first: date, last: date) -> list[str]:
    """Sessions that may have points on some days, both included."""
    from_utc_ms, to_utc_ms = begins_utc_ms(first), begins_utc_ms(last + _DAY)
    before_utc_ms = begins_utc_ms(first - _DAY)  # a session may go on past midnight
    session, alert, entry = schema.session.c, schema.alert.c, schema.entry.c
    questions = (
        select(session.session_id).where(
            session.started_utc_ms >= before_utc_ms, session.started_utc_ms < to_utc_ms
        ),
        select(alert.session_id).where(
            alert.raised_utc_ms >= from_utc_ms, alert.raised_utc_ms < to_utc_ms
        ),
        select(entry.session_id).where(  # their points stand at the time of the commit
            entry.kind.in_(("alert", OVERRIDE)),
            entry.committed_utc_ms >= from_utc_ms,
            entry.committed_utc_ms < to_utc_ms,
        ),
    )
    found: dict[str, None] = {}
    with ledger.reading() as connection:
        for question in questions:
            found |= dict.fromkeys(connection.scalars(question))
    return sorted(found)


class Daily:
    """When which days are to be written again."""

    def __init__(self, ledger: Ledger, clock_utc_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._clock_utc_ms = clock_utc_ms
        self._from: date | None = self._left_off()
        self._written_s: float | None = None

    def _left_off(self) -> date:
        """At a start: the days since the last entry, which nobody may have written."""
        newest = self._ledger.entries(self._ledger.last_entry_id() - 1, most=1)
        today = day_of(self._clock_utc_ms())
        return min(today, day_of(newest[0].committed_utc_ms)) if newest else today

    def touch(self, day: date | None) -> None:
        """Something was entered that changes daily points from that day on."""
        if day is not None and (self._from is None or day < self._from):
            self._from = day

    def due(self, *, is_idle: bool) -> date | None:
        """From which day on to write now, or None. In the middle of a backlog only once an hour."""
        now_s = time.monotonic()
        passed_s = EVERY_S if self._written_s is None else now_s - self._written_s
        if passed_s < (AT_MOST_EVERY_S if is_idle and self._from is not None else EVERY_S):
            return None
        today = day_of(self._clock_utc_ms())
        first, self._from, self._written_s = self._from, None, now_s
        return today if first is None else min(first, today)

    def lines(self, first: date) -> list[str]:
        """Lines of the days from that one to today."""
        today = day_of(self._clock_utc_ms())
        found: list[str] = []
        try:
            for _, points in points_of_days(self._ledger, first, today):
                found += map(line, points)
        except SQLAlchemyError:
            raise
        except Exception as error:  # the rest must go on
            log.error("a day gives no points", error=what(error))
        return found
