"""A recorded session judged once more: by the code that judges live, from arrays.

Strategy: `Replayed` is a `Treatment` that is given all readings so far at once, and only where
something else happened; scope, facts, findings, verdict and statement are the live ones. So a replay
can differ from what was said live only by what it is told: pack, registry, notes, and what is known
of other sessions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from needletrail_gateway.core.clock import boot_clock
from needletrail_gateway.core.judging import judge as judging
from needletrail_gateway.core.judging.facts import Facts
from needletrail_gateway.core.judging.judge import Verdict
from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.registry.model import Pen
from needletrail_gateway.core.statement import verdict_statement
from needletrail_gateway.core.treatment import Elsewhere, Fault, Rules, Treatment, utc
from needletrail_gateway.replay.columns import Columns, Ints
from needletrail_gateway.replay.meter import ArrayMeter
from needletrail_gateway.replay.sessions import Recorded
from needletrail_protocol import messages
from needletrail_protocol.measure import Meter
from needletrail_protocol.readings import Readings
from needletrail_protocol.tables import Message


class UnknownPenError(ValueError):
    """The registry by which a session is to be judged does not know its pen."""


@dataclass(frozen=True)
class Judged:
    """What came of a session. alerts: the codes that would have been raised while it ran."""

    treatment: Treatment
    verdict: Verdict
    alerts: frozenset[Code]

    def statement(self) -> dict[str, Any]:
        """The verdict's statement, as the ledger would hold it."""
        return verdict_statement(self.treatment, self.verdict)


def judge(recorded: Recorded, rules: Rules, elsewhere: Elsewhere) -> Judged:
    """The verdict of these rules on a session. UnknownPenError if the registry lacks its pen."""
    pen = rules.registry.find_pen(recorded.row["pen"])
    if pen is None:
        raise UnknownPenError(f"the registry has no pen {recorded.row['pen']}")
    treatment = Replayed(recorded, rules, pen)
    # Under one scope, work never takes away what there was to warn of before it. So it is enough to ask
    # at the end of the session, and before a badge brings another scope.
    for event in recorded.events:
        treatment.read_to(event.readings)
        treatment.take(event.record, elsewhere)
    treatment.read_to(len(recorded.readings))
    treatment.has_gap |= recorded.has_gap
    closed_t_ms = recorded.closed_t_ms
    verdict = treatment.close(treatment.last_t_ms if closed_t_ms is None else closed_t_ms, elsewhere)
    treatment.warn()
    return Judged(treatment, verdict, frozenset(treatment.alerted))


class _AllSoFar(Readings):
    """A session's readings up to some moment, in the form in which a `Treatment` takes them."""

    def __init__(self, columns: Columns) -> None:
        self.t_ms: Any = columns.t_ms
        self.dial: Any = columns.dial
        self.strokes: Any = columns.strokes
        self.contact: Any = columns.contact


class _CountedMeter(ArrayMeter):
    """A meter that takes what was counted of a `Recorded`, instead of counting it again."""

    def __init__(self, recorded: Recorded, over_counts: int) -> None:
        super().__init__(recorded.opened.lead, recorded.opened.strokes, over_counts)
        self._of = recorded

    def steps(self, times_ms: Any, *columns_and_count: Any) -> None:
        """The session's readings so far."""
        count = len(times_ms)
        if columns_and_count[-1] != count:
            raise ValueError("a replay takes all readings so far at once")
        self.take(self._of.work(count), int(times_ms[-1]), count)


class Replayed(Treatment):
    """A session of the past. known: what was known of it when facts() was last asked."""

    known: Facts

    def __init__(self, recorded: Recorded, rules: Rules, pen: Pen) -> None:
        self._recorded = recorded
        self._read = 0
        opened = recorded.opened
        clock = boot_clock(
            recorded.device_utc_ms,
            recorded.board,
            recorded.boot,
            opened.t_ms,
            recorded.pins,
            rules.policy.clock,
        )
        super().__init__(
            rules,
            pen,
            recorded.row["epoch"],
            opened,
            clock,
            utc(recorded.received_utc_ms).date(),
            recorded.row["use_id"],
            recorded.standing_faults,
        )

    def read_to(self, count: int) -> None:
        """Its first readings, so many."""
        if count == self._read:
            return
        before, self._read = self._read, count
        self._count(_AllSoFar(self._recorded.readings.first(count)))
        if self.has_grant and not self._was_granted(before, count):
            self.has_grant = False

    def _count(self, readings: Readings) -> None:
        super()._count(readings)
        self.last_t_ms = int(self.last_t_ms)  # of numpy's before

    def take(self, record: Message, elsewhere: Elsewhere) -> None:
        """What happened after the readings that it was given."""
        if record.kind == messages.BADGE:
            self.facts(elsewhere)
            self.warn()  # under the scope of before
            self.identify(record.badge)
        elif record.kind == messages.GRANT_TAKEN:
            self.take_grant(record.t_ms, record.grant_utc_ms)
        elif record.kind == messages.FAULT:
            self.note_fault(Fault(record.part, record.fault, record.t_ms, bool(record.is_over)))

    def facts(self, elsewhere: Elsewhere) -> Facts:
        """What is known now; the last answer is kept."""
        self.known = super().facts(elsewhere)
        return self.known

    def warn(self) -> None:
        """Note which alerts would have been raised by then: when facts() was last asked."""
        self.alerted.update(judging.alerts(self.rules.policy, self.rules.registry, self.known))

    def _was_granted(self, first: int, last: int) -> bool:
        """Whether the records with these readings brought work only under a grant that was good.

        Live, each record is looked at for itself, at its last reading; a grant that is still good at
        the last record's was good at all.
        """
        readings = self._recorded.readings
        if self._is_granted(int(readings.t_ms[last - 1])):
            return True
        ends: Ints = readings.firsts[1:]
        ends = ends[(ends > first) & (ends <= last)] - 1
        work = self._recorded.work(last)
        worked_ms = work.worked_ms(ends)
        has_worked = np.logical_or.accumulate(work.is_working)[ends]
        was_ms, had_worked = 0, False
        if first:
            was_ms = int(work.worked_ms(np.array([first - 1]))[0])
            had_worked = bool(work.is_working[:first].any())
        is_new = np.diff(worked_ms, prepend=was_ms) != 0
        is_new |= has_worked != np.concatenate(([had_worked], has_worked[:-1]))
        return all(self._is_granted(int(t_ms)) for t_ms in readings.t_ms[ends[is_new]])

    def _new_meter(self) -> Meter:
        return _CountedMeter(self._recorded, self._over_counts())
