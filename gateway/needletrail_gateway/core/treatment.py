"""One session, folded from its records as they come: facts at any moment, the verdict at its end.

The fold never looks back, with one exception. The limit depends on the practitioner, and a badge
may be read when work has already been done; until a badge is known the readings are therefore kept,
and counted again under the limit that the badge brings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from needletrail_gateway.core.clock import BootClock
from needletrail_gateway.core.judging import findings
from needletrail_gateway.core.judging import judge as judging
from needletrail_gateway.core.judging.cartridge import Cartridge, read_tag
from needletrail_gateway.core.judging.facts import Facts, Override, Visit
from needletrail_gateway.core.judging.judge import Verdict
from needletrail_gateway.core.judging.scope import Scope, decide
from needletrail_gateway.core.packs.model import Code, Policy
from needletrail_gateway.core.registry.model import Pen, Registry, um
from needletrail_protocol import messages
from needletrail_protocol.measure import BREACH_LEAST_MS, Meter
from needletrail_protocol.readings import Readings
from needletrail_protocol.tables import Message

HOLE_LEAST_MS = 1_000  # a longer time without readings inside a session is a gap in the record

_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rules:
    """What a session is judged by: the pack and the registry as they stood when it opened.

    The numbers are those of the ledger's entries that hold them.
    """

    policy: Policy
    registry: Registry
    policy_entry: int = 0
    registry_entry: int = 0


# Given a time (None: now), the rules in force then.
RulesAt = Callable[[int | None], Rules]


@dataclass(frozen=True)
class Alert:
    """Something that practitioner and clinic must know now. Depths in micrometres.

    told_by: "gateway" if its judge found it, "pen" if it is the pen's word until the records come.
    """

    session_id: str
    session: int
    code: Code
    t_ms: int
    raised_utc_ms: int | None
    limit_um: int
    depth_um: int | None
    told_by: str = "gateway"


@dataclass(frozen=True)
class Fault:
    """A part of the pen that failed: when it was told in the session, or None if it was before."""

    part: str
    fault: str
    t_ms: int | None
    is_over: bool = False

    @property
    def is_doubt(self) -> bool:
        """Whether what was recorded may be wrong or incomplete because of it.

        The verdict needs no battery, no grant (who worked without one is another finding) and no
        newest firmware. The motor's current is a second opinion: that there is none is no doubt, a
        contradiction is. Of a part that is not known here the worst is thought.
        """
        if self.part == "current":
            return self.fault == "disagrees"
        return self.part not in ("battery", "firmware", "grant")


@dataclass(frozen=True)
class Elsewhere:
    """What is known beside a session's own records. Each is asked when it is needed, given the session.

    used_in: another session in which its cartridge has worked, or None. visit: what the clinic noted
    of it. overrides: what a person has set aside in it. is_tampered: two different records claim one
    place in it.
    """

    used_in: "Callable[[Treatment], str | None]"
    visit: "Callable[[Treatment], Visit | None]" = lambda _treatment: None
    overrides: "Callable[[Treatment], Mapping[Code, Override]]" = lambda _treatment: {}
    is_tampered: "Callable[[Treatment], bool]" = lambda _treatment: False


def session_name(pen_id: str, epoch: int, session: int) -> str:
    """The session's id: PEN-EPOCH-NUMBER."""
    return f"{pen_id}-{epoch}-{session}"


class Treatment:
    """A session of one pen, from its `open` record on."""

    def __init__(
        self,
        rules: Rules,
        pen: Pen,
        epoch: int,
        opened: Message,
        clock: BootClock,
        received_on: date,
        use_id: str | None = None,
        standing_faults: Mapping[str, str] | None = None,
    ) -> None:
        """`standing_faults`: parts that have failed before and do not yet work again."""
        self.rules = rules
        self.pen = pen
        self.epoch = epoch
        self.session: int = opened.session
        self.session_id = session_name(pen.id, epoch, opened.session)
        self.opened_by: int = opened.cause
        self.opened_t_ms: int = opened.t_ms
        self.last_t_ms: int = opened.t_ms
        self.clock = clock
        self.boot_utc_ms = boot_utc_ms = clock.boot_utc_ms
        self.badge: bytes | None = opened.badge
        self.tag: bytes | None = opened.cartridge
        self.cartridge: Cartridge | None = None if self.tag is None else read_tag(self.tag)
        # One use of a cartridge may span sessions: another practitioner, the cartridge never left.
        self.use_id = self.session_id if use_id is None else use_id
        self.has_gap = False
        self.is_over = False
        self.visit: Visit | None = None  # as the clinic had noted it when it was last asked
        # (from when on, issue time) of the grants that were in force.
        self.grants: list[tuple[int, int | None]] = [(opened.t_ms, opened.grant_utc_ms)]
        self.has_grant = True
        self.standing_faults = dict(standing_faults or {})
        self.faults = [Fault(part, what, None) for part, what in self.standing_faults.items()]
        self.alerted: set[Code] = set()
        self._on = received_on if boot_utc_ms is None else utc(self._utc_ms(opened.t_ms)).date()
        self._opened = opened
        self._calibration = pen.counts_to_depth()
        self._tolerance_um = um(pen.reading_tolerance_mm)
        self._unattributed: list[Readings] | None = [] if self.badge is None else None
        self.meter = self._new_meter()

    def _over_counts(self) -> int:
        """Decide the scope; what the dial may read under it, tolerance included."""
        self.scope: Scope = decide(
            self.rules.policy, self.rules.registry, self.pen, self.badge, self.cartridge, self._on
        )
        return self._calibration.highest_counts(self.scope.um + self._tolerance_um)

    def _new_meter(self) -> Meter:
        return Meter(self._opened.lead, self._opened.strokes, self._over_counts(), True)

    def _utc_ms(self, t_ms: int) -> int:
        return (self.boot_utc_ms or 0) + t_ms

    def utc_ms(self, t_ms: int) -> int | None:
        """UTC of a time since boot; None if it is not known."""
        return None if self.boot_utc_ms is None else self._utc_ms(t_ms)

    def read(self, readings: Readings) -> None:
        """The next readings, in order of time."""
        before = self._work_done()
        self._count(readings)
        if self._work_done() != before and not self._is_granted(readings.t_ms[-1]):
            self.has_grant = False

    def _work_done(self) -> tuple[bool, int]:
        meter = self.meter
        return meter.has_worked(), meter.work.total_ms + meter.work.open_ms(meter.t_ms)

    def _is_granted(self, t_ms: int) -> bool:
        """Whether there is a grant and it is good at that time, as far as that is known."""
        issued_utc_ms = self.grants[-1][1]
        if issued_utc_ms is None:
            return False
        utc_ms = None if self.clock.is_simulated else self.utc_ms(t_ms)
        return utc_ms is None or utc_ms < issued_utc_ms + self.rules.policy.grant.life_ms

    def take_grant(self, t_ms: int, issued_utc_ms: int | None) -> None:
        """Another grant is in force from now on."""
        self.grants.append((t_ms, issued_utc_ms))

    def note_fault(self, fault: Fault) -> None:
        """A part failed during the session, or works again."""
        self.faults.append(fault)

    def _has_clock(self) -> bool:
        """Whether it is known when the session was. A clock from before the grant's issue is wrong."""
        if self.boot_utc_ms is None:
            return False
        if self.clock.is_simulated:
            return True
        opened_utc_ms = self._utc_ms(self.opened_t_ms)
        issued_utc_ms = self.grants[0][1] or 0
        return opened_utc_ms + self.rules.policy.clock.agrees_within_ms >= issued_utc_ms

    def _count(self, readings: Readings) -> None:
        self.meter.steps(
            readings.t_ms, readings.dial, readings.strokes, readings.contact, len(readings.t_ms)
        )
        self.last_t_ms = readings.t_ms[-1]
        if self._unattributed is not None:
            self._unattributed.append(readings)

    def identify(self, badge: bytes) -> None:
        """A badge was read during the session: its holder is the practitioner of it all."""
        self.badge = badge
        kept, self._unattributed = self._unattributed, None
        if not self.meter.has_worked():
            self.meter.over_counts = self._over_counts()
        elif kept is not None:
            self.meter = self._new_meter()
            for readings in kept:
                self._count(readings)
        else:
            self.has_gap = True  # a pen closes the session instead; who did which part is not known

    def facts(self, elsewhere: Elsewhere) -> Facts:
        """What is known now."""
        meter = self.meter
        self.visit = elsewhere.visit(self)
        return Facts(
            on=self._on,
            scope=self.scope,
            tolerance_um=self._tolerance_um,
            peak_um=self.peak_um(),
            breach_ms=meter.breach_ms(),
            has_tag=self.tag is not None,
            cartridge=self.cartridge,
            used_in=elsewhere.used_in(self) if self.cartridge is not None else None,
            has_gap=self.has_gap or meter.longest_hole_ms > HOLE_LEAST_MS,
            has_clock=self._has_clock(),
            has_grant=self.has_grant,
            has_fault=any(one.is_doubt for one in self.faults),
            is_tampered=elsewhere.is_tampered(self),
            duration_ms=self.last_t_ms - self.opened_t_ms if self.is_over else None,
            visit=self.visit,
            overrides=elsewhere.overrides(self),
        )

    def peak_um(self) -> int | None:
        """The deepest setting while working, or None without work."""
        peak_counts = self.meter.peak_counts
        return self._calibration.depth_um(peak_counts) if peak_counts >= 0 else None

    def tiers_touched(self) -> int:
        """How many tiers of the permit the work has reached; each may have demands of its own."""
        peak_um = self.peak_um()
        if peak_um is None:
            return 0
        return len(findings.tiers_at(self.rules.policy, self.scope, peak_um + self._tolerance_um))

    def new_alerts(self, elsewhere: Elsewhere) -> list[Alert]:
        """Alerts that are due and were not raised before."""
        facts = self.facts(elsewhere)
        raised = []
        for code in judging.alerts(self.rules.policy, self.rules.registry, facts):
            if code in self.alerted:
                continue
            self.alerted.add(code)
            is_depth = code == "DEPTH_EXCEEDED" or code in self.scope.findings_beyond
            t_ms = self._breach_t_ms() if is_depth else self.last_t_ms
            raised.append(
                Alert(
                    session_id=self.session_id,
                    session=self.session,
                    code=code,
                    t_ms=t_ms,
                    raised_utc_ms=self.utc_ms(t_ms),
                    limit_um=self.scope.um,
                    depth_um=facts.peak_um,
                )
            )
        return raised

    def _breach_t_ms(self) -> int:
        """When the first excursion had lasted long enough to be a breach."""
        spans = self.meter.breaches.spans
        from_ms = spans[0][0] if spans else self.meter.breaches.open_from_ms()
        return from_ms + BREACH_LEAST_MS

    def close(self, t_ms: int, elsewhere: Elsewhere) -> Verdict:
        """The session is over: what is still open ends here, and the judge speaks."""
        self.last_t_ms = max(self.last_t_ms, t_ms)
        self.is_over = True
        self.meter.finish()
        return judging.judge(self.rules.policy, self.rules.registry, self.facts(elsewhere))

    def is_marked(self) -> bool:
        """True if a cartridge's tag marks the session's start, so that its length means something."""
        return self.tag is not None and self.opened_by != messages.OPENED_BY_MOTOR


def utc(utc_ms: int) -> datetime:
    """An aware datetime of milliseconds since 1970, exact to the millisecond."""
    return _EPOCH_UTC + timedelta(milliseconds=utc_ms)


def iso(utc_ms: int | None) -> str | None:
    """RFC 3339 with milliseconds and Z, or None."""
    if utc_ms is None:
        return None
    return utc(utc_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
