"""The recorder: each reading and each tag becomes what the journal must hold.

Strategy: one reading passes through contact, session, meter and batch, in that order, and what
follows goes into the journal at once. The events of a reading's row come before the reading, but a
removal takes effect after it: the readings of the opening row and of the removal row both belong to
the session. Before any other record of the session the batch is written, so that records stand in
order of time. A reading that opens, closes and breaches nothing allocates nothing, but for the one
in fifty that fills a batch.

The local limit is checked here, with the gateway's own Meter, within the reading that shows it.
Not here: the tables (session), the limit (limits), the sensors (boards), the network (uplink).
"""

from needletrail_device import FIRMWARE, samples
from needletrail_device.contact import Contact
from needletrail_device.session import FRESH, IDLE, MOTOR, POWER_OFF, WORK, Session
from needletrail_protocol import messages
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Meter

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

LEAD_READINGS = 4
_UM_MAX = 20_000


class Recorder:
    """From readings and tags to records.

    config: an object with calibration (measure.Calibration) and reading_tolerance_um.
    show: called with "breach" or an alert's code; the board's buzz and light.
    tell: called with an event's name and pairs for whoever watches the pen.
    """

    def __init__(
        self,
        config: "Any",
        journal: "Any",
        limits: "Any",
        period_ms: int,
        show: "Callable[[str], None]",
        tell: "Callable[..., None]",
    ) -> None:
        self._calibration = config.calibration
        self._tolerance_um = config.reading_tolerance_um
        self._journal = journal
        self._limits = limits
        self._show = show
        self._tell = tell
        self._contact = Contact()
        self._session = Session()
        self._batch = samples.Batch(period_ms)
        self._meter: "Any" = None
        self._limit_um: "int | None" = None
        self._is_breach = False
        self._is_removal = False  # seen, and to take effect after the next reading
        self._lead = [0] * LEAD_READINGS  # a ring of the last dial readings
        self._lead_count = 0
        self._strokes = 0  # the counter at the last reading
        self.t_ms = 0  # of the last reading
        self._boot_utc_ms: "int | None" = None
        self.written = 0  # records since power-on

    def boot(self, utc_ms: "int | None", board: str) -> None:
        """The first record of a power-on: it fixes UTC for t_ms = 0."""
        self._boot_utc_ms = utc_ms
        self._append(messages.BOOT, 0, (self._journal.boot, utc_ms, FIRMWARE, board))

    def begin(self, strokes: int) -> None:
        """The stroke counter stands at `strokes` before anything is read."""
        self._strokes = strokes

    # ---- what happens ----

    def cartridge_arrived(self, t_ms: int, tag: bytes) -> None:
        """A cartridge's tag was read: its NDEF message, readable or not."""
        self._before(t_ms)
        self._follow(t_ms, self._session.cartridge_arrived(t_ms, tag), self._strokes)

    def cartridge_removed(self, t_ms: int) -> None:
        """The cartridge is gone; the next reading is the session's last."""
        self._before(t_ms)
        self._is_removal = True

    def badge_read(self, t_ms: int, tag: bytes) -> None:
        """A badge was read."""
        self._before(t_ms)
        self._follow(t_ms, self._session.badge_read(t_ms, tag), self._strokes)

    def reading(self, t_ms: int, counts: int, strokes: int, adc_counts: int) -> None:
        """One reading of all sensors, in order of time."""
        session = self._session
        if session.is_open():
            self._close_if_idle(t_ms)
        is_contact = self._contact.step(t_ms, adc_counts)
        before = self._strokes
        is_stroke = strokes > before
        self._strokes = strokes
        self.t_ms = t_ms
        if not session.is_open() and session.is_motor_start(t_ms, is_stroke, is_contact):
            self._open_by_motor(t_ms, before)
        if session.is_open():
            if is_stroke:
                session.stroke(t_ms)
            self._keep(t_ms, counts, strokes, is_contact)
        self._lead[self._lead_count % LEAD_READINGS] = counts
        self._lead_count += 1
        if self._is_removal:
            self._remove(t_ms)

    def power_off(self) -> None:
        """Power goes in an orderly way."""
        if self._is_removal:
            self._remove(self.t_ms)
        self._follow(self.t_ms, self._session.happen(POWER_OFF, self.t_ms), self._strokes)

    def grant_changed(self) -> None:
        """A newer grant is in force, from now on."""
        if self._meter is not None:
            self._meter.over_counts = self._over_counts()

    def alert(self, alert: "Any") -> None:
        """Show the gateway's alert, and record that it was shown."""
        self._show(alert.code)
        self._tell("alert", ("session", alert.session), ("code", alert.code))
        self._append(messages.ALERT_SHOWN, self.t_ms, (alert.session, alert.code))

    # ---- what follows ----

    def _before(self, t_ms: int) -> None:
        """Settle what came before an event at `t_ms`."""
        if self._is_removal:
            self._remove(t_ms)
        self._close_if_idle(t_ms)

    def _remove(self, t_ms: int) -> None:
        self._is_removal = False
        self._follow(t_ms, self._session.cartridge_removed(t_ms), self._strokes)

    def _close_if_idle(self, t_ms: int) -> None:
        idle_ms = self._session.idle_close_ms(t_ms)
        if idle_ms >= 0:
            self._follow(idle_ms, self._session.happen(IDLE, idle_ms), self._strokes)

    def _open_by_motor(self, t_ms: int, strokes_before: int) -> None:
        self._follow(t_ms, self._session.happen(MOTOR, t_ms), strokes_before)

    def _follow(self, t_ms: int, outcome: "tuple[Any, Any, bool]", strokes: int) -> None:
        close_cause, open_cause, is_badge = outcome
        if close_cause is not None:
            self._close(t_ms, close_cause)
        if open_cause is not None:
            self._open(t_ms, open_cause, strokes)
        if is_badge:
            self._flush()
            self._append(messages.BADGE, t_ms, (self._journal.session, self._session.badge))
            self.grant_changed()

    def _open(self, t_ms: int, cause: int, strokes: int) -> None:
        journal = self._journal
        session = self._session
        lead = self._recent_counts()
        journal.session += 1
        journal.open_session = journal.session
        journal.open_t_ms = t_ms
        fields = (journal.session, cause, session.badge, session.cartridge, lead, strokes)
        self._append(messages.OPEN, t_ms, fields)
        self._batch.begin(strokes)
        self._meter = Meter(lead, strokes, self._over_counts(), False)
        self._is_breach = False
        self._tell("opened", ("session", journal.session))

    def _close(self, t_ms: int, cause: int) -> None:
        self._flush()
        meter = self._meter
        meter.finish()
        peak_counts = meter.peak_counts if meter.has_worked() else None
        session = self._journal.session
        fields = (session, cause, meter.pass_count(), peak_counts, meter.breach_ms())
        self._meter = None
        self._append(messages.CLOSE, t_ms, fields)
        self._journal.open_session = 0
        self._tell("closed", ("session", session), ("cause", messages.CLOSE_CAUSES[cause]))

    def _keep(self, t_ms: int, counts: int, strokes: int, is_contact: bool) -> None:
        """A reading of the open session."""
        batch = self._batch
        if not batch.fits(t_ms):
            self._flush()
        batch.add(t_ms, counts, strokes, is_contact)
        meter = self._meter
        meter.step(t_ms, counts, strokes, is_contact)
        if meter.is_working and self._session.state == FRESH:
            self._session.happen(WORK, t_ms)
        if meter.is_breach != self._is_breach:
            self._is_breach = meter.is_breach
            if meter.is_breach:
                self._breach(t_ms)
        if batch.count == samples.READINGS_MAX:
            self._flush()

    def _breach(self, t_ms: int) -> None:
        self._show("breach")
        self._flush()
        limit_um = self._limit_um
        depth_um = min(self._calibration.depth_um(self._meter.counts), _UM_MAX)
        session = self._journal.session
        fields = (session, limit_um, depth_um, self._limits.issued_utc_ms)
        self._append(messages.LOCAL_BREACH, t_ms, fields)
        self._tell("breach", ("session", session), ("limit_um", limit_um), ("depth_um", depth_um))

    def _over_counts(self) -> int:
        boot_utc_ms = self._boot_utc_ms
        utc_ms = None if boot_utc_ms is None else boot_utc_ms + self.t_ms
        self._limit_um = self._limits.limit_um(self._session.badge, utc_ms)
        if self._limit_um is None:
            return DIAL_MAX_COUNTS
        return self._calibration.highest_counts(self._limit_um + self._tolerance_um)

    def _recent_counts(self) -> "list[int]":
        """Up to four dial readings from just before now, oldest first."""
        count = min(self._lead_count, LEAD_READINGS)
        first = self._lead_count - count
        return [self._lead[(first + back) % LEAD_READINGS] for back in range(count)]

    # ---- into the journal ----

    def _flush(self) -> None:
        if self._batch.count:
            journal = self._journal
            journal.open_t_ms = self._batch.last_ms()
            journal.append(self._batch.take(journal.next_seq, journal.session))
            self.written += 1

    def _append(self, kind: int, t_ms: int, fields: "tuple[Any, ...]") -> None:
        journal = self._journal
        journal.append(messages.encode_record(kind, (journal.next_seq, t_ms) + fields))
        self.written += 1
