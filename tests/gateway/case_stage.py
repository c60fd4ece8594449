"""Plays a case: honest pens seal what its script says, the real intake judges it on a real ledger.

Strategy: a case is played once, under its own pack, by the code that judges live. Under every other
pack its last session is judged again from the ledger, as `needletrail rejudge` does, so that one case
shows how ten packs differ without ten plays. Under its own pack both must say the same.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from case_folder import (
    Amend,
    BadgeRead,
    Boot,
    Case,
    CaseError,
    Close,
    Deliver,
    Dial,
    FaultTold,
    Forge,
    Hold,
    Import,
    Lose,
    NoteWritten,
    Open,
    OverrideWritten,
    PassDays,
    PassSeconds,
    Repeat,
    Rest,
    Restart,
    Said,
    Silent,
    Tag,
    TakeGrant,
    Work,
)
from gateway_clinic import badge, uri_tag
from gateway_desk import Desk
from honest_pen import BATCH, HonestPen, Sent
from quick_ledgers import QuickLedgers

from needletrail_gateway.core.judging.facts import Override, Visit
from needletrail_gateway.core.notes import NOTE, OVERRIDE, OverrideNote, TreatmentNote, body_of
from needletrail_gateway.core.packs.model import Code, Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import Elsewhere, Rules, Treatment
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay import refold
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.sessions import Recorded, find_session
from needletrail_gateway.shell.intake import Intake
from needletrail_protocol import messages, topics

GTIN, LOT = "09506000134352", "LOT24A"  # what a fresh cartridge is, unless its tag says otherwise
LAST_DAY = "271231"
UNREADABLE = "unreadable"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass
class _Pen:
    pen: HonestPen
    booted_utc_ms: int = 0
    is_on: bool = False
    is_held: bool = False
    sent: int = 0  # messages that have reached the gateway


@dataclass
class Staged:
    """What came of a case. live: statements by session. alerts: codes by session."""

    case: Case
    last_session: str
    live: Mapping[str, Mapping[str, Any]]
    alerts: Mapping[str, list[str]]
    recorded: Recorded
    registry: Registry
    elsewhere: Elsewhere
    screening: Mapping[str, bool] = field(default_factory=dict)
    _again: dict[int, tuple[Policy, dict[str, Any]]] = field(default_factory=dict)

    @property
    def own_pack(self) -> str:
        """The pack in force at its last session."""
        return str(self.live[self.last_session]["policy"]["pack"])

    def again(self, policy: Policy) -> dict[str, Any]:
        """The statement on the last session under a pack."""
        known = self._again.get(id(policy))
        if known is not None and known[0] is policy:
            return known[1]
        return refold.judge(self.recorded, Rules(policy, self.registry), self.elsewhere).statement()

    def remember(self, policies: Iterable[Policy]) -> None:
        """Judge by these now, since they will be asked for again."""
        for policy in policies:
            self._again[id(policy)] = (policy, self.again(policy))


def outcome_of(statement: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    """Verdict, reasons, and what was overridden."""
    overridden = [one["code"] for one in statement["overridden"]]
    return statement["verdict"], list(statement["reasons"]), overridden


def differences(
    said: Said, statement: Mapping[str, Any], alerts: Mapping[str, list[str]] | None
) -> list[str]:
    """What a statement says otherwise than was expected, a line each."""
    got: dict[str, Any] = {
        **statement,
        "overridden": [one["code"] for one in statement["overridden"]],
        "undecided": [one["code"] for one in statement["rules"] if one["outcome"] == "review"],
        "clock": statement["clock"]["source"],
        "amended": "amends" in statement,
        "alerts": None if alerts is None else alerts.get(statement["session_id"], []),
    }
    lines = []
    for name, wanted in said.model_dump(include=set(Said.model_fields), exclude_none=True).items():
        if name in ("alerts", "amended") and alerts is None:
            continue  # nobody was there to be told, and nothing is entered
        if got[name] != wanted:
            lines.append(f"  {name}: expected {wanted!r}, got {got[name]!r}")
    return lines


def problems(case: Case, stage: "Stage") -> list[str]:
    """What came of a case otherwise than its folder says, pack by pack; nothing if all is well."""
    staged = stage.play(case)
    expected, own = case.expected, staged.own_pack
    lines = _under(own, differences(expected, staged.live[staged.last_session], staged.alerts))
    for session, said in expected.also.items():
        lines += _under(
            f"{own}, session {session}", differences(said, staged.live[session], staged.alerts)
        )
    for name in stage.packs_of(staged):
        said = expected.under.get(name, expected)
        if name != own and said is expected:
            said = Said(verdict=expected.verdict, reasons=expected.reasons)
        statement = staged.again(case.policy(stage.shipped, name))
        lines += _under(f"{name}, judged again", differences(said, statement, None))
    return lines


def _under(title: str, lines: list[str]) -> list[str]:
    return [f"under {title}:", *lines] if lines else []


class Stage:
    """Where cases are played. folder: for ledgers. shipped: the packs that come with Needletrail."""

    def __init__(self, folder: Path, shipped: Mapping[str, Policy]) -> None:
        self.shipped = shipped
        self._ledgers = QuickLedgers(folder)
        self._staged: dict[str, Staged] = {}

    def play(self, case: Case) -> Staged:
        """Play it, or what came of it before."""
        if case.name not in self._staged:
            registry = case.registry
            ledger = self._ledgers.fresh(registry, _keys(registry), _utc_ms(case.begins))
            self._staged[case.name] = _Play(case, ledger, self.shipped).run()
        return self._staged[case.name]

    def close(self) -> None:
        """Let go of the ledger."""
        self._ledgers.close()

    def packs_of(self, staged: Staged) -> list[str]:
        """The packs under which its last session is judged; its own is the first."""
        case, own = staged.case, staged.own_pack
        packs = case.expected.packs
        named = sorted(self.shipped) if packs == "every" else packs
        unknown = {*named, *case.expected.under} - self.shipped.keys()
        if unknown - {own}:
            raise CaseError(f"{case.folder}: there is no pack {', '.join(sorted(unknown))}")
        stray = case.expected.under.keys() - set(named)
        if stray:
            raise CaseError(f"{case.folder}: it is not run under {', '.join(sorted(stray))}")
        return list(dict.fromkeys([own, *named]))


def _keys(registry: Registry) -> dict[str, bytes]:
    return {pen.id: _key(pen.id) for pen in registry.pen}


def _key(pen_id: str) -> bytes:
    return hashlib.sha256(pen_id.encode()).digest()


def _utc_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


class _CaseDesk(Desk):
    """A desk whose packs go by name."""

    def __init__(self, ledger: Ledger, find_policy: Callable[[str], Policy]) -> None:
        self._find_policy = find_policy
        super().__init__(ledger, find_policy(""))

    def restart(self) -> None:
        self.intake = Intake(self.ledger, self._find_policy, lambda: self.now_utc_ms)


class _Play:
    """One case on its ledger. There is one clock; pens that are on follow it."""

    def __init__(self, case: Case, ledger: Ledger, shipped: Mapping[str, Policy]) -> None:
        self._case = case
        self._ledger = ledger
        self._registry = case.registry
        self._now_utc_ms = _utc_ms(case.begins)
        self._policy = lambda name: case.policy(shipped, name or case.own_pack)
        self._desk = _CaseDesk(ledger, self._policy)
        self._desk.now_utc_ms = self._now_utc_ms
        self._pens: dict[str, _Pen] = {}
        self._current = ""
        self._session = ""
        self._screening: dict[str, bool] = {}
        self._acts: dict[type, Callable[[Any], None]] = {
            Boot: self._boot,
            Open: self._open,
            Work: self._work,
            Dial: self._dial,
            Rest: self._rest,
            Silent: self._silent,
            BadgeRead: self._badge,
            TakeGrant: self._take_grant,
            FaultTold: self._fault,
            Lose: self._lose,
            Forge: self._forge,
            Close: self._close,
            PassDays: self._pass_days,
            PassSeconds: self._pass_seconds,
            NoteWritten: self._note,
            OverrideWritten: self._override,
            Import: self._import,
            Restart: self._restart,
            Hold: self._hold,
            Deliver: self._deliver,
            Repeat: self._repeat,
            Amend: self._amend,
        }

    def run(self) -> Staged:
        for number, step in enumerate(self._case.steps):
            try:
                self._acts[type(step)](step)
            except (AssertionError, KeyError) as error:
                where = self._case.folder / "records.toml"
                raise CaseError(f"{where}: step {number}: {step!r}: {error}") from error
        refused = self._ledger.quarantined()
        forged = any(isinstance(step, Forge) for step in self._case.steps)
        if refused and not forged:
            raise CaseError(f"{self._case.folder}: the gateway refused: {refused[0]['detail']}")
        last = self._case.expected.session or self._session
        wanted = {last, *self._case.expected.also}
        live = {name: self._desk.statement(name) for name in wanted}
        alerts: dict[str, list[str]] = {name: [] for name in wanted}
        for name, code in self._desk.alert_codes():
            alerts.setdefault(name, []).append(code)
        recorded = find_session(self._ledger, last)
        row = recorded.row
        elsewhere = Knowledge(self._ledger).elsewhere(row)
        registry = self._ledger.registry_at(row["registry_entry"])
        known = _Known()
        own = self._policy(live[last]["policy"]["pack"])
        known.take(recorded, Rules(own, registry), elsewhere)
        return Staged(
            self._case, last, live, alerts, recorded, registry, known.elsewhere(), self._screening
        )

    # ---- pens ----

    def _pen(self, name: str | None = None) -> _Pen:
        """A pen that is on, at the present time."""
        name = name or self._current
        assert name, "no pen was named yet"
        if name not in self._pens:
            assert self._registry.find_pen(name), f"the registry has no pen {name}"
            self._pens[name] = _Pen(HonestPen(name, key=_key(name)))
        one = self._pens[name]
        self._current = name
        if not one.is_on:
            self._boot(Boot(boot=name))
        one.pen.t_ms = max(one.pen.t_ms, self._now_utc_ms - one.booted_utc_ms)
        return one

    def _done(self, one: _Pen) -> None:
        """Whatever the pen has sealed reaches the gateway, unless it is held back."""
        self._now_utc_ms = max(self._now_utc_ms, one.booted_utc_ms + one.pen.t_ms)
        self._desk.now_utc_ms = self._now_utc_ms
        if not one.is_held:
            self._receive(one.pen.sent[one.sent :])
            one.sent = len(one.pen.sent)

    def _receive(self, sent: list[Sent]) -> None:
        self._desk.receive(sent)
        self._desk.commit()

    def _boot(self, step: Boot) -> None:
        one = self._pens.get(step.boot)
        if one is None:
            assert self._registry.find_pen(step.boot), f"the registry has no pen {step.boot}"
            one = self._pens[step.boot] = _Pen(HonestPen(step.boot, key=_key(step.boot)))
        self._current = step.boot
        one.is_on = True
        one.booted_utc_ms = self._now_utc_ms
        one.pen.grant_utc_ms = self._now_utc_ms
        off_ms = round(step.clock_off_s * 1000)
        clock_utc_ms = None if step.clock == "unset" else self._now_utc_ms + off_ms
        one.pen.boot(clock_utc_ms)
        if step.pinned:
            one.pen.hello(oldest_seq=1, t_ms=one.pen.t_ms, utc_ms=clock_utc_ms)
        self._done(one)

    def _open(self, step: Open) -> None:
        one = self._pen(step.open)
        pen = one.pen
        if step.grant_hours is not None:
            pen.grant_utc_ms = self._issued(step.grant_hours)
        who = None if step.badge is None else _badge(step.badge)
        pen.open(who, self._tag(step, pen), messages.OPEN_CAUSES.index(step.cause))
        self._session = f"{pen.pen_id}-{pen.epoch}-{pen.session}"
        self._done(one)

    def _tag(self, step: Open, pen: HonestPen) -> bytes | None:
        if step.cartridge == "none":
            return None
        if step.cartridge == "blank":
            return uri_tag("https://example.com/")
        assert isinstance(step.cartridge, Tag)
        said = step.cartridge
        serial = f"{pen.pen_id}-{pen.session + 1}" if said.serial is None else said.serial
        lot = LOT if said.lot is None else said.lot
        parts = [f"01/{said.gtin or GTIN}", *([f"10/{lot}"] if lot else [])]
        parts += [f"21/{serial}"] if serial else []
        last_day = LAST_DAY
        if said.expires is not None:
            last_day = said.expires if isinstance(said.expires, str) else f"{said.expires:%y%m%d}"
        return uri_tag(
            f"https://id.gs1.org/{'/'.join(parts)}" + (f"?17={last_day}" if last_day else "")
        )

    def _issued(self, hours: float | str) -> int | None:
        return None if isinstance(hours, str) else self._now_utc_ms - round(hours * HOUR_MS)

    def _work(self, step: Work) -> None:
        one = self._pen(step.pen)
        one.pen.work(round(step.work_mm * 1000), step.lasts_ms)
        self._done(one)

    def _dial(self, step: Dial) -> None:
        one = self._pen(step.pen)
        depths = [round(step.dial_mm * 1000)] * (step.lasts_ms // 20)
        one.pen.readings(depths, step.contact, step.motor)
        self._done(one)

    def _rest(self, step: Rest) -> None:
        one = self._pen(step.pen)
        pen = one.pen
        left = round(step.rest_s * 1000) // step.each_ms
        while left:
            count = min(left, BATCH)
            left -= count
            times = [pen.t_ms + step.each_ms * (index + 1) for index in range(count)]
            still = [pen.strokes] * count
            pen.raw(
                messages.encode_samples(
                    pen.seq + 1,
                    pen.session,
                    count,
                    step.each_ms,
                    times,
                    [0] * count,
                    pen.strokes,
                    still,
                    [False] * count,
                )
            )
            pen.t_ms = times[-1]
        self._done(one)

    def _silent(self, step: Silent) -> None:
        one = self._pen(step.pen)
        one.pen.t_ms += step.silent_ms
        self._done(one)

    def _badge(self, step: BadgeRead) -> None:
        one = self._pen(step.pen)
        one.pen.badge(_badge(step.badge))
        self._done(one)

    def _take_grant(self, step: TakeGrant) -> None:
        one = self._pen(step.pen)
        one.pen.grant_taken(self._issued(step.take_grant_hours))
        self._done(one)

    def _fault(self, step: FaultTold) -> None:
        one = self._pen(step.pen)
        one.pen.fault(step.fault, step.says, step.is_over)
        self._done(one)

    def _lose(self, step: Lose) -> None:
        one = self._pen(step.pen)
        one.pen.lose(step.lose)
        self._done(one)

    def _forge(self, step: Forge) -> None:
        one = self._pen(step.pen)
        pen = one.pen
        payload = messages.encode_record(
            messages.ALERT_SHOWN, (pen.seq, pen.t_ms, pen.session, "FORGED")
        )
        self._receive([pen.seal(topics.RECORD, payload)])

    def _close(self, step: Close) -> None:
        one = self._pen(step.pen)
        one.pen.close(messages.CLOSE_CAUSES.index(step.close))
        self._done(one)

    # ---- the clinic ----

    def _pass_days(self, step: PassDays) -> None:
        self._now_utc_ms += step.pass_days * DAY_MS
        self._desk.now_utc_ms = self._now_utc_ms
        for one in self._pens.values():
            one.is_on = False

    def _pass_seconds(self, step: PassSeconds) -> None:
        self._now_utc_ms += round(step.pass_s * 1000)
        self._desk.now_utc_ms = self._now_utc_ms

    def _note(self, step: NoteWritten) -> None:
        conditions = [one.condition for one in self._policy(self._case.own_pack).refusal]
        no = [one for one in conditions if one not in step.yes] if step.no == "all" else step.no
        answers = dict.fromkeys(step.yes, True) | dict.fromkeys(no, False)
        unknown = answers.keys() - set(conditions)
        assert not unknown, f"the pack asks nothing of {sorted(unknown)}"
        self._screening = answers
        note = TreatmentNote(
            who="desk",
            at_utc_ms=self._now_utc_ms,
            practitioner=step.practitioner,
            client=step.note,
            session=step.session,
            screening=answers or None,
            prevented=tuple(step.prevented),
            area=step.area,
        )
        self._ledger.note(NOTE, body_of(note), self._now_utc_ms, step.session)

    def _override(self, step: OverrideWritten) -> None:
        session = step.session or self._session
        note = OverrideNote(who=step.who, session=session, code=step.override, why=step.why)
        self._ledger.note(OVERRIDE, body_of(note), self._now_utc_ms, session)

    def _import(self, step: Import) -> None:
        self._registry = self._case.later[step.import_]
        self._ledger.import_registry(self._registry, _keys(self._registry), self._now_utc_ms)
        self._desk.intake.reload()

    def _restart(self, _step: Restart) -> None:
        self._desk.restart()

    def _hold(self, step: Hold) -> None:
        self._pen(step.hold).is_held = True

    def _deliver(self, step: Deliver) -> None:
        one = self._pens[step.deliver]
        one.is_held = False
        self._done(one)

    def _repeat(self, _step: Repeat) -> None:
        for one in self._pens.values():
            if not one.is_held:
                self._receive([sent for sent in one.pen.sent if sent.topic.endswith(topics.RECORD)])

    def _amend(self, step: Amend) -> None:
        amend(self._ledger, step.session or self._session, step.amend, self._now_utc_ms)


def _badge(who: str) -> bytes:
    return uri_tag("https://clinic.example/") if who == UNREADABLE else badge(who)


class _Known:
    """What was known beside a session's records, kept when its ledger is closed."""

    def __init__(self) -> None:
        self._used_in: str | None = None
        self._visits: dict[str | None, Visit | None] = {}
        self._overrides: Mapping[Code, Override] = {}
        self._is_tampered = False

    def take(self, recorded: Recorded, rules: Rules, source: Elsewhere) -> None:
        """Judge once, and keep each answer."""

        def used_in(treatment: Treatment) -> str | None:
            self._used_in = source.used_in(treatment)
            return self._used_in

        def visit(treatment: Treatment) -> Visit | None:
            found = self._visits[treatment.scope.practitioner] = source.visit(treatment)
            return found

        def overrides(treatment: Treatment) -> Mapping[Code, Override]:
            self._overrides = source.overrides(treatment)
            return self._overrides

        def is_tampered(treatment: Treatment) -> bool:
            self._is_tampered = source.is_tampered(treatment)
            return self._is_tampered

        refold.judge(recorded, rules, Elsewhere(used_in, visit, overrides, is_tampered))

    def elsewhere(self) -> Elsewhere:
        """The same answers. Who worked does not hang on the pack."""
        return Elsewhere(
            lambda _treatment: self._used_in,
            lambda treatment: self._visits.get(treatment.scope.practitioner),
            lambda _treatment: self._overrides,
            lambda _treatment: self._is_tampered,
        )
