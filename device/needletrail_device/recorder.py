"""The recorder: each reading and each tag becomes what the journal must hold.

Strategy: one reading passes through contact, session, meter and batch, in that order, and what
follows goes into the journal at once. The events of a reading's row come before the reading, but a
removal takes effect after it: the readings of the opening row and of the removal row both belong to
the session. Before any other record of the session the batch is written, so that records stand in
order of time. A reading that opens, closes and breaches nothing allocates nothing, but for the one
in fifty that fills a batch.

The local limit is checked here, with the gateway's own Meter, within the reading that shows it; a
board that reads its sensors in an interrupt has a Guard beside it. While the pen is not armed no tag
opens a session. A motor that works on skin all the same, on a board without interlock, does: what
happened is never hidden.

The calibration's first and last marks are the ring's stops. A ring that rests beyond one for a second,
motor off, has a magnet that has moved: FAULT ("calibration", "drift"). It is never over before the
next power-on, since a ring within its stops proves nothing. The pen may begin all the same, but the
gateway calls no session compliant under it.

If flash refuses a record, it and what follows wait here, in order, and are tried again each second.
PENDING_MAX records and one batch may wait so; then readings and lesser records are left out, but a
session's beginning, badge and end are not, and FAULT ("journal", "lost") stands where something is
missing. No session begins meanwhile, and a motor with interlock is off.
Not here: the tables (session), the limit (limits), what may begin (arming), the sensors (boards).
"""

from needletrail_device import FIRMWARE, samples
from needletrail_device.arming import SETTLED_MS, Faults, Interlock, concern
from needletrail_device.contact import Contact
from needletrail_device.session import FRESH, IDLE, MOTOR, POWER_OFF, REFUSED, WORK, WORKED, Session
from needletrail_protocol import messages
from needletrail_protocol.measure import DIAL_MAX_COUNTS, READING_HOLD_MS, Meter, median_of_five

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

LEAD_READINGS = 4
LOOK_MS = 1000  # how often to look at what changes without an event
PENDING_MAX = 8
_UM_MAX = 20_000
_ENOSPC = 28


class Recorder:
    """From readings and tags to records.

    config: an object with calibration (measure.Calibration), reading_tolerance_um, without_grant.
    show: called with a word for light and buzz: "breach", "refused", "fault", "no_grant",
    "grant_expired", "badge_unknown", "journal_warning", "journal_full", a word of these with "_over"
    behind it when it has ended, or an alert's code.
    tell: called with an event's name and pairs for whoever watches the pen.
    set_motor: the interlock: called with True or False; None where the board has none.
    guard: a guard.Guard that the board's interrupt feeds, and that shows breaches then.
    """

    def __init__(
        self,
        config: "Any",
        journal: "Any",
        limits: "Any",
        period_ms: int,
        show: "Callable[[str], None]",
        tell: "Callable[..., None]",
        set_motor: "Callable[[bool], Any] | None" = None,
        guard: "Any" = None,
    ) -> None:
        self._calibration = config.calibration
        self._tolerance_um = config.reading_tolerance_um
        # Twice the tolerance: a ring's play may take up one.
        self._least_counts, self._most_counts = config.calibration.ends(2 * self._tolerance_um)
        self._placed_ms = 0  # when the ring was last between its stops, or the motor moved
        self._journal = journal
        self._limits = limits
        self._show = show
        self._tell = tell
        self.guard = guard
        self._is_strict = config.without_grant == "refuse"
        self.not_armed = ""  # why no session may begin
        self._interlock = Interlock(set_motor)
        self._faults = Faults(self._fault_told)
        self._refused_part: "str | None" = None  # of the last reading
        self._refused_for = ""  # the reason recorded last
        self._refused_ms = self._looked_ms = -LOOK_MS
        self._signal = ""  # of the journal
        self._contact = Contact()
        self._session = Session()
        self._batch = samples.Batch(period_ms)
        self._meter: "Any" = None
        self._limit_um: "int | None" = None
        self._over_counts = DIAL_MAX_COUNTS
        self._is_hard = False
        self._is_breach = False
        self._is_removal = False  # seen, and to take effect after the next reading
        self._lead = [0] * LEAD_READINGS  # a ring of the last dial readings
        self._lead_count = 0
        self._strokes = 0  # the counter at the last reading
        self.t_ms = 0  # of the last reading
        self._boot_utc_ms: "int | None" = None
        self._pending: "list[bytes]" = []  # records that flash refused, and those behind them
        self._is_failing = self._is_losing = False
        self.written = 0  # records since power-on

    def boot(self, utc_ms: "int | None", board: str) -> None:
        """The first record of a power-on: it fixes UTC for t_ms = 0."""
        self._boot_utc_ms = utc_ms
        self._append(messages.BOOT, 0, (self._journal.boot, utc_ms, FIRMWARE, board), True)
        self._look_up()

    def begin(self, strokes: int) -> None:
        """The stroke counter stands at `strokes` before anything is read."""
        self._strokes = self._batch.strokes = strokes

    # ---- what happens ----

    def cartridge_arrived(self, t_ms: int, tag: bytes) -> None:
        """A cartridge's tag was read: its NDEF message, readable or not."""
        self._before(t_ms)
        self._follow(t_ms, self._session.cartridge_arrived(t_ms, tag))

    def cartridge_removed(self, t_ms: int) -> None:
        """The cartridge is gone; the next reading is the session's last."""
        self._before(t_ms)
        self._is_removal = True

    def badge_read(self, t_ms: int, tag: bytes) -> None:
        """A badge was read."""
        self._before(t_ms)
        session = self._session
        outcome = session.badge_read(t_ms, tag)
        self._follow(t_ms, outcome)
        if outcome[1] is None:
            self._look_up()
            self._refuse_idle(t_ms)

    def reading(self, t_ms: int, counts: int, strokes: int, adc_counts: int) -> None:
        """One reading of all sensors, in order of time. Without a dial's: `fault` instead."""
        part = self._batch.refusal(t_ms, counts, strokes)
        before = self._refused_part
        if part == samples.CLOCK:
            t_ms = self.t_ms
        if part != before:
            self._refused_part = part
            if before is not None:
                self._faults.step(t_ms, before, None)
            if part is not None:
                self._faults.step(t_ms, part, "range")
        if part is not None:
            self._blind(t_ms)
            return
        strokes = self._batch.strokes
        session = self._session
        if session.is_open():
            self._close_if_idle(t_ms)
        is_contact = self._contact.step(t_ms, adc_counts)
        is_stroke = strokes > self._strokes
        is_placed = self._least_counts <= counts <= self._most_counts
        if is_placed or is_stroke or t_ms - self.t_ms > READING_HOLD_MS:
            self._placed_ms = t_ms
        elif t_ms - self._placed_ms >= SETTLED_MS:
            self._faults.step(t_ms, "calibration", "drift")
        self.t_ms = t_ms
        self._look(t_ms)
        if not session.is_open() and session.is_motor_start(t_ms, is_stroke, is_contact):
            self._follow(t_ms, session.happen(MOTOR, t_ms), is_contact)
        self._strokes = strokes
        if session.is_open():
            if is_stroke:
                session.stroke(t_ms)
            self._keep(t_ms, counts, strokes, is_contact)
        self._restrain(t_ms, counts)
        self._lead[self._lead_count % LEAD_READINGS] = counts
        self._lead_count += 1
        if self._is_removal:
            self._remove(t_ms)

    def fault(self, t_ms: int, part: str, fault: "str | None") -> None:
        """What a part's driver says now: one of faults, or None. To be called again and again.

        The dial's name is "dial". While it has no reading, this is how the recorder knows of time.
        """
        if fault is not None or part != self._refused_part:
            self._faults.step(t_ms, part, fault)
        if part == samples.DIAL and fault is not None:
            self._blind(t_ms)

    def power_off(self) -> None:
        """Power goes in an orderly way."""
        if self._is_removal:
            self._remove(self.t_ms)
        outcome = self._session.happen(POWER_OFF, self.t_ms)
        self._follow(self.t_ms, outcome)

    def grant_changed(self) -> None:
        """A newer grant is in force, from now on."""
        if self._session.is_open():
            self._flush()
            fields = (self._journal.session, self._limits.issued_utc_ms)
            self._append(messages.GRANT_TAKEN, self.t_ms, fields)
        self._look_up()
        if self._session.is_open():
            self._refuse_idle(self.t_ms)

    def alert(self, session: int, code: str) -> None:
        """Show the gateway's alert, and record that it was shown."""
        self._show(code)
        self._tell("alert", ("session", session), ("code", code))
        self._append(messages.ALERT_SHOWN, self.t_ms, (session, code))

    # ---- what follows ----

    def _before(self, t_ms: int) -> None:
        """Settle what came before an event at `t_ms`."""
        if self._is_removal:
            self._remove(t_ms)
        self._close_if_idle(t_ms)

    def _remove(self, t_ms: int) -> None:
        self._is_removal = False
        outcome = self._session.cartridge_removed(t_ms)
        self._follow(t_ms, outcome)

    def _close_if_idle(self, t_ms: int) -> None:
        idle_ms = self._session.idle_close_ms(t_ms)
        if idle_ms >= 0:
            outcome = self._session.happen(IDLE, idle_ms)
            self._follow(idle_ms, outcome)

    def _follow(self, t_ms: int, outcome: "tuple[Any, Any, bool]", is_treating: bool = False) -> None:
        close_cause, open_cause, is_badge = outcome
        if close_cause is not None:
            self._close(t_ms, close_cause)
        if is_badge:
            self._flush()
            self._append(messages.BADGE, t_ms, (self._journal.session, self._session.badge), True)
        if close_cause is not None or open_cause is not None:
            self._look_up()
        if open_cause is not None:
            if self.not_armed:
                self._refuse(t_ms)
                if not is_treating or self._pending:
                    self._session.happen(REFUSED, t_ms)
                    self._permit()
                    return
            self._open(t_ms, open_cause)

    def _open(self, t_ms: int, cause: int) -> None:
        journal = self._journal
        session = self._session
        lead = self._recent_counts()
        journal.session += 1
        journal.open_session = journal.session
        journal.open_t_ms = t_ms
        strokes = self._strokes
        fields = (journal.session, cause, session.badge, session.cartridge, lead, strokes)
        self._append(messages.OPEN, t_ms, fields + (self._limits.issued_utc_ms,), True)
        self._batch.begin(strokes)
        self._meter = Meter(lead, strokes, self._over_counts, False)
        if self.guard is not None:
            self.guard.is_new = True
        self._warn()
        self._tell("opened", ("session", journal.session))

    def _close(self, t_ms: int, cause: int) -> None:
        self._flush(True)
        meter = self._meter
        meter.finish()
        self._breach_changed(t_ms)
        peak_counts = meter.peak_counts if meter.has_worked() else None
        session = self._journal.session
        fields = (session, cause, meter.pass_count(), peak_counts, meter.breach_ms())
        self._meter = None
        self._append(messages.CLOSE, t_ms, fields, True)
        self._journal.open_session = 0
        self._tell("closed", ("session", session), ("cause", messages.CLOSE_CAUSES[cause]))

    def _keep(self, t_ms: int, counts: int, strokes: int, is_contact: bool) -> None:
        """A reading of the open session."""
        batch = self._batch
        if not batch.fits(t_ms):
            self._flush()
        if batch.fits(t_ms):
            batch.add(t_ms, counts, strokes, is_contact)
        else:
            self._lose()
        meter = self._meter
        meter.step(t_ms, counts, strokes, is_contact)
        if meter.is_working and self._session.state == FRESH:
            self._session.happen(WORK, t_ms)
        if meter.is_breach != self._is_breach:
            self._breach_changed(t_ms)
        if batch.count == samples.READINGS_MAX:
            self._flush()

    def _breach_changed(self, t_ms: int) -> None:
        meter = self._meter
        if meter.is_breach == self._is_breach:
            return
        self._is_breach = meter.is_breach
        if meter.is_breach and self._is_hard:
            self._interlock.stop(t_ms)
        if self.guard is None:
            self._show("breach" if meter.is_breach else "breach_over")
        if not meter.is_breach:
            return
        self._flush()
        limit_um = self._limit_um
        depth_um = min(self._calibration.depth_um(meter.counts), _UM_MAX)
        session = self._journal.session
        fields = (session, limit_um, depth_um, self._limits.issued_utc_ms)
        payload = self._append(messages.LOCAL_BREACH, t_ms, fields)
        if not self._pending:
            self._journal.urgent = (self._journal.next_seq - 1, payload)
        self._tell("breach", ("session", session), ("limit_um", limit_um), ("depth_um", depth_um))

    def _recent_counts(self) -> "list[int]":
        """Up to four dial readings from just before now, oldest first."""
        count = min(self._lead_count, LEAD_READINGS)
        first = self._lead_count - count
        return [self._lead[(first + back) % LEAD_READINGS] for back in range(count)]

    # ---- what is allowed ----

    def _utc_ms(self) -> "int | None":
        return None if self._boot_utc_ms is None else self._boot_utc_ms + self.t_ms

    def _look_up(self) -> None:
        """The limit of who is there now, and whether they may begin."""
        limits = self._limits
        limit_um = limits.limit_um(self._session.badge, self._utc_ms())
        over_counts = DIAL_MAX_COUNTS
        if limit_um is not None:
            over_counts = self._calibration.highest_counts(limit_um + self._tolerance_um)
        self._limit_um = limit_um
        self._over_counts = over_counts
        self._is_hard = limits.is_hard
        if self._meter is not None:
            self._meter.over_counts = over_counts
        if self.guard is not None:
            self.guard.over_counts = over_counts
            self.guard.is_hard = self._is_hard
        self._faults.step(self.t_ms, "grant", limits.fault)
        self._decide()

    def _decide(self) -> None:
        if self._faults.has(samples.DIAL):
            reason = "fault"
        elif self._pending or not self._journal.may_arm():
            reason = "journal_full"
        else:
            reason = self._concern(True)
        self.not_armed = reason
        if not reason:
            self._refused_for = ""
        self._permit()

    def _concern(self, is_refused: bool) -> str:
        return concern(self._limits, self._utc_ms(), self._is_strict, is_refused)

    def _permit(self) -> None:
        """Work that has begun goes on; but not if it can not be recorded."""
        is_allowed = not self.not_armed or self._session.state == WORKED
        self._interlock.allow(is_allowed and not self._pending)

    def _refuse(self, t_ms: int) -> None:
        """Somebody wants to begin, and may not."""
        reason = self.not_armed
        if reason != self._refused_for:
            self._refused_for = reason
            self._append(messages.NOT_ARMED, t_ms, (reason,))
            self._tell("not_armed", ("reason", reason))
        if t_ms - self._refused_ms >= LOOK_MS:
            self._refused_ms = t_ms
            self._show("refused")

    def _refuse_idle(self, t_ms: int) -> None:
        """A badge or a grant came: if nobody works, it may be a reason to refuse, or to warn."""
        if self._session.state == WORKED:
            return
        if self.not_armed:
            self._refuse(t_ms)
        elif self._session.state == FRESH:
            self._warn()

    def _warn(self) -> None:
        word = self._concern(False)
        if word:
            self._show(word)

    def _restrain(self, t_ms: int, counts: int) -> None:
        """A motor that was stopped stays off until the setting has been within the limit."""
        guard = self.guard
        if guard is not None and guard.has_stopped:
            guard.has_stopped = False
            self._interlock.stop(t_ms)
        if self._interlock.is_stopped:
            a, b, c, d = self._lead
            is_over = median_of_five(a, b, c, d, counts) > self._over_counts
            self._interlock.step(t_ms, is_over)

    def _blind(self, t_ms: int) -> None:
        """No reading can be had at `t_ms`: a hard limit can not be checked."""
        self._before(t_ms)
        self._look(t_ms)
        if self._is_hard and self._session.is_open() and t_ms - self.t_ms > READING_HOLD_MS:
            self._interlock.stop(t_ms)

    # ---- faults, and what changes by itself ----

    def _fault_told(self, t_ms: int, part: str, fault: str, is_over: bool) -> None:
        if not is_over or not self._faults.has():
            self._show("fault_over" if is_over else "fault")
        self._flush()
        self._append(messages.FAULT, t_ms, (part, fault, int(is_over)))
        if not self._session.is_open():
            self._decide()

    def _look(self, t_ms: int) -> None:
        if t_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = t_ms
        if self._pending:
            self._write()
        self._faults.step(t_ms, "grant", self._limits.fault)
        self._faults.settle(t_ms)
        journal = self._journal
        signal = ""
        if journal.is_warning():
            signal = "journal_warning" if journal.may_arm() else "journal_full"
        if signal != self._signal:
            if self._signal:
                self._show(self._signal + "_over")
            if signal:
                self._show(signal)
            self._signal = signal
        if not self._session.is_open():
            self._decide()

    # ---- into the journal ----

    def _flush(self, is_last: bool = False) -> None:
        if self._batch.count and (is_last or len(self._pending) < PENDING_MAX):
            journal = self._journal
            journal.open_t_ms = self._batch.last_ms()
            self._put(self._batch.take(journal.next_seq + len(self._pending), journal.session))

    def _append(
        self, kind: int, t_ms: int, fields: "tuple[Any, ...]", is_needed: bool = False
    ) -> "bytes | None":
        """The record, or None if there is no room for it."""
        if is_needed or len(self._pending) < PENDING_MAX:
            seq = self._journal.next_seq + len(self._pending)
            payload = messages.encode_record(kind, (seq, t_ms) + fields)
            self._put(payload)
            return payload
        self._lose()
        return None

    def _lose(self, is_over: bool = False) -> None:
        """There is no room for what comes now; or there is again. Say so once, in its place."""
        if self._is_losing == is_over:
            self._is_losing = not is_over
            fields = ("journal", "lost", int(is_over))
            self._append(messages.FAULT, self.t_ms, fields, True)

    def _put(self, payload: bytes) -> None:
        self._pending.append(payload)
        self._write()

    def _write(self) -> None:
        """Write what waits, as far as flash takes it."""
        pending = self._pending
        try:
            while pending:
                self._journal.append(pending[0])
                pending.pop(0)
                self.written += 1
        except OSError as error:
            if not self._is_failing:
                self._is_failing = True
                fault = "full" if error.args[0] == _ENOSPC else "write"
                self._faults.step(self.t_ms, "journal", fault)
                self._permit()
            return
        if self._is_failing:
            self._is_failing = False
            self._faults.step(self.t_ms, "journal", None)
            self._lose(True)
            self._permit()
