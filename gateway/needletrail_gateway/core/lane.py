"""One pen's records, in the order of their numbers: sessions open, are counted, alert, and close.

A lane is a fold over authentic records. `advance` takes the next one and says what came of it; the
caller stores the record and the outcome together. The same records give the same steps, whatever
the batches and however often the gateway was restarted between them. A record that is impossible
after the earlier ones changes nothing but leaves a mark: the session can not be better than review.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from needletrail_gateway.core.clock import Pin, boot_clock
from needletrail_gateway.core.judging.judge import Verdict
from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.treatment import (
    Alert,
    Elsewhere,
    Fault,
    Rules,
    RulesAt,
    Treatment,
    session_name,
)
from needletrail_protocol import messages
from needletrail_protocol.errors import STATE_INVALID, ProtocolError
from needletrail_protocol.readings import Readings
from needletrail_protocol.tables import Message

BREACH: Code = "DEPTH_EXCEEDED"


@dataclass
class Step:
    """What one record brought.

    opened, worked, identified: the session that began, that worked for the first time, or whose
    practitioner became known. closed: sessions with their verdicts. shown: the code of an alert that
    has reached the pen. inside: the session to which the record belongs, if it names none itself.
    """

    opened: Treatment | None = None
    closed: list[tuple[Treatment, Verdict]] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    shown: str | None = None
    worked: Treatment | None = None
    identified: Treatment | None = None
    inside: Treatment | None = None


class Lane:
    """The state of one pen in one key epoch: awaited number, boot, and the open session.

    last_session: the highest session number so far; numbers rise, so none names two sessions.
    boot, board, boot_utc_ms: of the boot in which the records are; what its own clock says.
    pins: what the gateway's clock said of this boot and of later ones, oldest first.
    faults: what has failed and does not yet work again, by part.
    hello: (boot, connection) of the newest hello; each is newer than the one before.
    early: codes of alerts that were raised before their session's first record came, by session.
    """

    def __init__(self, pen_id: str, epoch: int) -> None:
        self.pen_id = pen_id
        self.epoch = epoch
        self.next_seq = 1
        self.boot: int | None = None
        self.board: str | None = None
        self.boot_utc_ms: int | None = None
        self.pins: list[Pin] = []
        self.faults: dict[str, str] = {}
        self.hello = (-1, 0)
        self.treatment: Treatment | None = None
        self.last_use_id: str | None = None
        self.last_session = 0
        self.early: dict[int, set[Code]] = {}

    def lose(self, up_to_seq: int) -> None:
        """The records before `up_to_seq` are lost for ever: go on from there."""
        self.next_seq = up_to_seq
        if self.treatment is not None:
            self.treatment.has_gap = True

    def skip(self) -> None:
        """The awaited record is authentic but can not be read: keep its place, mark the session."""
        self.lose(self.next_seq + 1)

    def advance(
        self,
        record: Message,
        rules_at: RulesAt,
        received_on: Callable[[], date],
        elsewhere: Elsewhere,
    ) -> Step:
        """Take the awaited record.

        ProtocolError(state_invalid or payload_invalid) if it is impossible here; the lane is then
        as it was, and the caller decides to skip() it.
        """
        if record.seq != self.next_seq:
            raise ValueError(f"record {record.seq} where {self.next_seq} is awaited")
        step = Step()
        if record.kind == messages.SAMPLES:
            self._samples(record, elsewhere, step)
        elif record.kind == messages.OPEN:
            self._open(record, rules_at, received_on, elsewhere, step)
        elif record.kind == messages.CLOSE:
            treatment = self._session(record)
            self._close(treatment, record.t_ms, elsewhere, step)
        elif record.kind == messages.BADGE:
            treatment = self._session(record)
            treatment.identify(record.badge)
            step.identified = treatment
            step.alerts = treatment.new_alerts(elsewhere)
        elif record.kind == messages.BOOT:
            self._abandon(elsewhere, step)
            self.boot, self.board = record.boot, record.board
            self.boot_utc_ms = record.utc_ms
            self.pins = [pin for pin in self.pins if pin.boot >= record.boot]
            self.faults = {}
        elif record.kind == messages.ALERT_SHOWN:
            step.shown = record.code
        elif record.kind == messages.GRANT_TAKEN:
            self._session(record).take_grant(record.t_ms, record.grant_utc_ms)
        elif record.kind == messages.FAULT:
            self._fault(record, step)
        elif record.kind == messages.NOT_ARMED:
            step.inside = self.treatment
        self.next_seq += 1
        return step

    def warn(self, record: Message, rules: Rules, now_utc_ms: int) -> Alert | None:
        """The alert that a copy of a breach's record brings ahead of its turn, or None.

        It counts as that session's alert, so the record itself brings no second one. Nothing else
        changes: the verdict follows from the records, in their order.
        """
        if record.kind != messages.LOCAL_BREACH or record.seq < self.next_seq:
            return None  # nothing that is urgent, or it has come in its turn
        treatment = self.treatment
        if treatment is not None and treatment.session == record.session:
            rules, alerted = treatment.rules, treatment.alerted
        elif record.session > self.last_session:
            alerted = self.early.setdefault(record.session, set())
        else:
            return None  # that session is over
        rule = rules.policy.find_rule(BREACH)
        if rule is None or rule.outcome != "violation" or BREACH in alerted:
            return None
        alerted.add(BREACH)
        return Alert(
            session_id=session_name(self.pen_id, self.epoch, record.session),
            session=record.session,
            code=BREACH,
            t_ms=record.t_ms,
            raised_utc_ms=self._live_utc_ms(record.t_ms, rules, now_utc_ms),
            limit_um=record.limit_um,
            depth_um=record.depth_um,
            told_by="pen",
        )

    def _live_utc_ms(self, t_ms: int, rules: Rules, now_utc_ms: int) -> int:
        """UTC of a time in the boot that is connected, as a session of it would have it; else now."""
        boot = self.hello[0]
        has_come = boot == self.boot
        clock = boot_clock(
            self.boot_utc_ms if has_come else None,
            self.board if has_come else None,
            boot,
            t_ms,
            self.pins,
            rules.policy.clock,
        )
        return now_utc_ms if clock.boot_utc_ms is None else clock.boot_utc_ms + t_ms

    def _session(self, record: Message) -> Treatment:
        treatment = self.treatment
        if treatment is None or treatment.session != record.session:
            raise ProtocolError(STATE_INVALID, f"session {record.session} is not open")
        return treatment

    def _fault(self, record: Message, step: Step) -> None:
        if record.is_over:
            self.faults.pop(record.part, None)
        else:
            self.faults[record.part] = record.fault
        step.inside = self.treatment
        if self.treatment is not None:
            is_over = bool(record.is_over)
            self.treatment.note_fault(Fault(record.part, record.fault, record.t_ms, is_over))

    def _samples(self, record: Message, elsewhere: Elsewhere, step: Step) -> None:
        treatment = self._session(record)
        readings = Readings(record)
        first_t_ms = readings.t_ms[0]
        if first_t_ms < treatment.last_t_ms or first_t_ms <= treatment.meter.t_ms:
            raise ProtocolError(STATE_INVALID, "readings not after those already sent")
        had_worked, touched = treatment.meter.has_worked(), treatment.tiers_touched()
        treatment.read(readings)
        meter = treatment.meter
        if meter.has_worked() and not had_worked:
            step.worked = treatment
        is_breach = meter.is_breach or meter.breaches.count > 0
        is_news = is_breach and BREACH not in treatment.alerted
        if step.worked is not None or treatment.tiers_touched() > touched or is_news:
            step.alerts = treatment.new_alerts(elsewhere)

    def _open(
        self,
        record: Message,
        rules_at: RulesAt,
        received_on: Callable[[], date],
        elsewhere: Elsewhere,
        step: Step,
    ) -> None:
        rules = rules_at(None)
        if rules.registry.find_pen(self.pen_id) is None:
            raise ProtocolError(STATE_INVALID, "the pen has left the registry")
        if record.session <= self.last_session:
            raise ProtocolError(STATE_INVALID, f"session {record.session} was opened before")
        self._abandon(elsewhere, step)
        is_kept = record.cause == messages.OPENED_BY_BADGE
        clock = boot_clock(
            self.boot_utc_ms, self.board, self.boot, record.t_ms, self.pins, rules.policy.clock
        )
        if clock.boot_utc_ms is not None and not clock.is_simulated:
            then = rules_at(clock.boot_utc_ms + record.t_ms)
            if then.registry.find_pen(self.pen_id) is not None:
                rules = then
        pen = rules.registry.find_pen(self.pen_id)
        assert pen is not None
        treatment = Treatment(
            rules,
            pen,
            self.epoch,
            record,
            clock,
            received_on(),
            use_id=self.last_use_id if is_kept else None,
            standing_faults=self.faults,
        )
        self.treatment = treatment
        self.last_use_id = treatment.use_id
        self.last_session = treatment.session
        treatment.alerted |= self.early.pop(treatment.session, set())
        self.early = {number: codes for number, codes in self.early.items() if number > record.session}
        step.opened = treatment
        step.alerts.extend(treatment.new_alerts(elsewhere))

    def _abandon(self, elsewhere: Elsewhere, step: Step) -> None:
        """An open session whose `close` never came: its end is missing from the record."""
        if self.treatment is not None:
            self.treatment.has_gap = True
            self._close(self.treatment, self.treatment.last_t_ms, elsewhere, step)

    def _close(self, treatment: Treatment, t_ms: int, elsewhere: Elsewhere, step: Step) -> None:
        verdict = treatment.close(t_ms, elsewhere)
        self.treatment = None
        step.closed.append((treatment, verdict))
        step.alerts.extend(treatment.new_alerts(elsewhere))
