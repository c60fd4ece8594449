"""Registry and ledger through any day: changes, sessions, notes, overrides, late records, restarts.

Strategy: a machine that does what a clinic and its gateway may do, in any order, beside a model that is
a list of registry states and a short oracle for verdicts. After each step the history is the model's,
at each entry and at each time; what was closed has its verdict, and what is open has none; each verdict
was made under the registry as it stood when its session began. At the end the ledger proves itself.
"""

from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from gateway_clinic import KEYS, NOW_UTC_MS, TODAY, badge, cartridge_tag, clinic_document, person
from gateway_desk import Desk
from honest_pen import HonestPen, Sent
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from quick_ledgers import QuickLedgers

from needletrail_gateway.core.notes import NOTE, OVERRIDE, OverrideNote, TreatmentNote, body_of
from needletrail_gateway.core.registry.changes import state_of
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.proof import prove
from needletrail_gateway.shell.documents import read_policy
from needletrail_gateway.shell.intake import Intake

PACKS = {name: read_policy(name) for name in ("default", "document-002", "us-ca")}
COSMETIC_UM = {"default": 500, "document-002": 250, "us-ca": 500}
MEDICAL_UM = {"default": 2500, "document-002": 2000, "us-ca": 2500}
TOLERANCE_UM = 30
YESTERDAY, TOMORROW = date(2026, 6, 30), date(2026, 7, 2)
WHO, PEN_IDS = "md-09", ("pen-01", "pen-02")


@dataclass(frozen=True)
class State:
    """What the model knows of the registry: whatever the machine changes."""

    license_expires: date = TOMORROW
    max_mm: float | None = None
    recalled: date | None = None
    has_director: bool = True
    pack: str = "default"

    def registry(self) -> Registry:
        document = clinic_document()
        own: dict[str, Any] = {"license_expires": self.license_expires}
        if self.max_mm is not None:
            own["max_mm"] = self.max_mm
        document["practitioner"].append(person(WHO, "physician", "medical", **own))
        document["clinic"]["policy"] = self.pack
        if not self.has_director:
            del document["clinic"]["medical_director"]
        if self.recalled is not None:
            document["cartridge_lot"][0]["recalled"] = self.recalled
        return Registry.model_validate(document)


@dataclass
class Session:
    """A session as the model has it. peak_um: None without work."""

    session_id: str
    started_utc_ms: int
    has_tag: bool
    peak_um: int | None = None
    is_over: bool = False


@dataclass
class OnePen:
    """A pen, what it is doing, and how much of what it sealed has reached the gateway."""

    pen: HonestPen
    session: Session | None = None
    delivered: int = 0
    is_held: bool = False


@dataclass(frozen=True)
class Verdict:
    outcome: str
    reasons: list[str] = field(default_factory=list)


HARD = {
    "CARTRIDGE_RECALLED",
    "CONTRAINDICATION",
    "DEPTH_EXCEEDED",
    "DIRECTOR_MISSING",
    "LICENSE_EXPIRED",
}


class AnyDay(RuleBasedStateMachine):
    """The machine. Time moves on with each step, so that no two things happen at once."""

    ledgers: QuickLedgers

    @initialize()
    def begin(self) -> None:
        self.state = State()
        self.now_utc_ms = NOW_UTC_MS
        ledger = self.ledgers.fresh(self.state.registry(), KEYS, NOW_UTC_MS)
        self.desk = _ByName(ledger)
        newest = ledger.newest_version()
        assert newest is not None
        self.versions = [(newest, NOW_UTC_MS, self.state)]
        self.pens = {pen_id: OnePen(HonestPen(pen_id)) for pen_id in PEN_IDS}
        self.notes: list[tuple[int, bool]] = []
        self.overridden: set[str] = set()
        self.closed: list[Session] = []
        self.expected: dict[str, Verdict] = {}
        for one in self.pens.values():
            one.pen.boot(NOW_UTC_MS)
            self.deliver(one)

    # ---- what may happen ----

    def move_on(self) -> None:
        self.now_utc_ms += 1_000
        self.desk.now_utc_ms = self.now_utc_ms

    @rule(
        change=st.sampled_from(
            [
                {"license_expires": YESTERDAY},
                {"license_expires": TODAY},
                {"max_mm": 0.8},
                {"max_mm": None},
                {"recalled": TODAY},
                {"recalled": TOMORROW},
                {"recalled": None},
                {"has_director": False},
                {"has_director": True},
                {"pack": "document-002"},
                {"pack": "us-ca"},
                {"pack": "default"},
            ]
        )
    )
    def change_the_registry(self, change: dict[str, Any]) -> None:
        self.move_on()
        before, self.state = self.state, replace(self.state, **change)
        entry = self.desk.ledger.import_registry(self.state.registry(), KEYS, self.now_utc_ms)
        if before == self.state:
            assert entry == self.versions[-1][0], "an import that changes nothing appends nothing"
        else:
            assert entry > self.versions[-1][0]
            self.versions.append((entry, self.now_utc_ms, self.state))
        self.desk.intake.reload()

    @rule(pen_id=st.sampled_from(PEN_IDS), has_tag=st.booleans())
    def open_a_session(self, pen_id: str, has_tag: bool) -> None:
        one = self.pens[pen_id]
        if one.session is not None:
            return
        self.move_on()
        pen = one.pen
        pen.t_ms = max(pen.t_ms, self.now_utc_ms - NOW_UTC_MS)
        tag = cartridge_tag(f"{pen_id}-{pen.session + 1}") if has_tag else None
        pen.open(badge(WHO), tag)
        session_id = f"{pen_id}-1-{pen.session}"
        one.session = Session(session_id, NOW_UTC_MS + pen.t_ms, has_tag)
        self.deliver(one)

    @rule(pen_id=st.sampled_from(PEN_IDS), depth_um=st.sampled_from([200, 1000, 2200]))
    def work(self, pen_id: str, depth_um: int) -> None:
        one = self.pens[pen_id]
        if one.session is None:
            return
        one.pen.work(depth_um, 400)
        self.now_utc_ms = max(self.now_utc_ms, NOW_UTC_MS + one.pen.t_ms)
        # What the dial says is a median of five, and a step down does not lower the peak.
        one.session.peak_um = max(one.session.peak_um or 0, depth_um)
        self.deliver(one)

    @rule(pen_id=st.sampled_from(PEN_IDS))
    def close_the_session(self, pen_id: str) -> None:
        one = self.pens[pen_id]
        if one.session is None:
            return
        one.pen.close()
        one.session.is_over = True
        self.closed.append(one.session)
        one.session = None
        self.deliver(one)

    @rule(declares_rosacea=st.booleans())
    def write_a_note(self, declares_rosacea: bool) -> None:
        self.move_on()
        note = TreatmentNote(
            who="desk",
            at_utc_ms=self.now_utc_ms,
            practitioner=WHO,
            client=f"c-{len(self.notes):08}",
            screening={"rosacea": declares_rosacea},
        )
        self.desk.ledger.note(NOTE, body_of(note), self.now_utc_ms)
        self.notes.append((self.now_utc_ms, declares_rosacea))

    @precondition(lambda self: any(one.session for one in self.pens.values()))
    @rule(
        pen_id=st.sampled_from(PEN_IDS), code=st.sampled_from(["CARTRIDGE_MISSING", "LICENSE_EXPIRED"])
    )
    def override(self, pen_id: str, code: Any) -> None:
        session = self.pens[pen_id].session
        if session is None:
            return
        self.move_on()
        note = OverrideNote(who="md-01", session=session.session_id, code=code, why="for the test")
        self.desk.ledger.note(OVERRIDE, body_of(note), self.now_utc_ms, session.session_id)
        if code == "CARTRIDGE_MISSING":
            self.overridden.add(session.session_id)

    @rule(pen_id=st.sampled_from(PEN_IDS))
    def lose_the_network_or_find_it(self, pen_id: str) -> None:
        one = self.pens[pen_id]
        one.is_held = not one.is_held
        self.deliver(one)

    @rule()
    def kill_the_gateway(self) -> None:
        self.desk.restart()

    @rule(pen_id=st.sampled_from(PEN_IDS))
    def tell_everything_again(self, pen_id: str) -> None:
        one = self.pens[pen_id]
        self.desk.take(one.pen.sent[: one.delivered])

    def deliver(self, one: OnePen) -> None:
        """Whatever the pen has sealed, unless the network is gone."""
        if one.is_held:
            return
        sent: list[Sent] = one.pen.sent[one.delivered :]
        self.desk.take(sent)
        one.delivered = len(one.pen.sent)
        for session in self.closed:
            if (
                session.session_id.startswith(one.pen.pen_id)
                and session.session_id not in self.expected
            ):
                self.expected[session.session_id] = self.verdict_on(session)

    # ---- what must be so ----

    def state_at(self, utc_ms: int) -> tuple[int, State]:
        then = [(entry, state) for entry, since, state in self.versions if since <= utc_ms]
        return then[-1] if then else (self.versions[0][0], self.versions[0][2])

    def verdict_on(self, session: Session) -> Verdict:
        """By the rules of three packs, for one physician."""
        _, state = self.state_at(session.started_utc_ms)
        peak_um, found = session.peak_um, set()
        if peak_um is None:
            return Verdict("compliant", [])
        cosmetic_um = COSMETIC_UM[state.pack]
        limit_um = min(2500, MEDICAL_UM[state.pack])
        if state.license_expires < TODAY:
            found |= {"LICENSE_EXPIRED"}
            limit_um = 0
        elif not state.has_director:
            limit_um = cosmetic_um
        if state.max_mm is not None:
            limit_um = min(limit_um, round(state.max_mm * 1000))
        if peak_um > limit_um + TOLERANCE_UM:
            found |= {"DEPTH_EXCEEDED"}
            if state.license_expires >= TODAY and not state.has_director:
                found |= {"DIRECTOR_MISSING"}
        if not session.has_tag:
            found |= {"CARTRIDGE_MISSING"}
        elif state.recalled is not None and state.recalled <= TODAY:
            found |= {"CARTRIDGE_RECALLED"}
        notes = [rosacea for at, rosacea in self.notes if at <= session.started_utc_ms]
        if notes and notes[-1] and peak_um > cosmetic_um:
            found |= {"CONTRAINDICATION"}
        left = found - ({"CARTRIDGE_MISSING"} if session.session_id in self.overridden else set())
        outcome = "violation" if left & HARD else "review" if left else "compliant"
        return Verdict(outcome, sorted(found))

    @invariant()
    def the_history_is_the_model_s(self) -> None:
        ledger = self.desk.ledger
        assert [one.entry for one in ledger.versions()] == [entry for entry, _, _ in self.versions]
        for entry, since_utc_ms, state in self.versions[-4:]:
            assert state_of(ledger.registry_at(entry)) == state_of(state.registry())
            assert ledger.version_at(since_utc_ms) == entry
        middle_utc_ms = (NOW_UTC_MS + self.now_utc_ms) // 2
        assert ledger.version_at(middle_utc_ms) == self.state_at(middle_utc_ms)[0]

    @invariant()
    def what_is_closed_is_judged_and_what_is_open_is_not(self) -> None:
        found = self.desk.verdicts()
        assert found == {name: (one.outcome, one.reasons) for name, one in self.expected.items()}
        rows = {row["session_id"]: row for row in self.desk.ledger.sessions()}
        assert {name for name, row in rows.items() if row["verdict"]} == self.expected.keys()

    @invariant()
    def each_was_judged_by_the_registry_as_it_stood(self) -> None:
        for session in self.closed:
            if session.session_id in self.expected:
                entry, state = self.state_at(session.started_utc_ms)
                said = self.desk.statement(session.session_id)
                assert said["registry_entry"] == entry
                assert said["policy"]["pack"] == state.pack

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            proof = prove(self.ledgers.path)
            assert proof.findings == [], [str(one) for one in proof.findings]


class _ByName(Desk):
    """A desk whose packs go by name."""

    def __init__(self, ledger: Any) -> None:
        super().__init__(ledger, PACKS["default"])

    def restart(self) -> None:
        self.intake = Intake(self.ledger, PACKS.__getitem__, lambda: self.now_utc_ms)


def test_any_day_leaves_the_ledger_as_the_model_has_it(tmp_path: Path) -> None:
    class Here(AnyDay):
        ledgers = QuickLedgers(tmp_path)

    Here.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
    Here.TestCase().runTest()
    Here.ledgers.close()
