"""What becomes known late amends the verdicts made without it, also if the gateway is killed between.

Strategy: one client, treated twice within the interval of the tier. Whatever order the two become known
in, and whoever is killed meanwhile, the later treatment ends as
INTERVAL_SHORT and the earlier one does not.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.notes import NOTE, OVERRIDE, OverrideNote, TreatmentNote, body_of
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.treatment import iso, utc
from needletrail_gateway.record.ledger import Group, Ledger, NewEntry, to_json
from needletrail_gateway.record.proof import prove
from needletrail_gateway.record.retention import redact
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.replay.knowledge import Knowledge

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
CLIENT = "c-7k2m9qxa"
EARLIER, LATER = "pen-01-1-1", "pen-02-1-1"
SHORT = ("review", ["INTERVAL_SHORT"])
FINE: tuple[str, list[str]] = ("compliant", [])


def interval(policy: Policy) -> Policy:
    """The pack without its questionnaire, and with an interval for cosmetic work as well."""
    document = policy.model_dump(mode="json")
    (course,) = (tier["course"] for tier in document["tier"] if tier["name"] == "medical")
    for tier in document["tier"]:
        tier["screening"] = None
        tier["course"] = course
    return Policy.model_validate(document)


class Killed(Desk):
    """A gateway that is killed after each commit, before it amends anything; until it may live."""

    is_killed = False

    def _amend(self, sessions: dict[str, str]) -> None:
        if not self.is_killed:
            super()._amend(sessions)

    def live_again(self) -> None:
        self.is_killed = False
        self.restart()


@pytest.fixture
def desk(desk: Desk, policy: Policy) -> Killed:
    killed = Killed(desk.ledger, interval(policy))
    killed.now_utc_ms = NOW_UTC_MS + 30 * DAY_MS
    return killed


def place(desk: Desk) -> Path:
    return Path(str(desk.ledger.engine.url.database))


def note(desk: Desk, at_utc_ms: int, written_utc_ms: int | None = None, **more: str) -> int:
    """The clinic's note on a treatment then; written at that moment or later."""
    made = TreatmentNote(who="desk", at_utc_ms=at_utc_ms, practitioner="md-01", client=CLIENT, **more)
    written = at_utc_ms if written_utc_ms is None else written_utc_ms
    return desk.ledger.note(NOTE, body_of(made), written, more.get("session"))


def treatment(pen_id: str, at_utc_ms: int, depth_um: int = 1_000) -> HonestPen:
    """A treatment, sealed and not yet heard."""
    pen = HonestPen(pen_id)
    pen.grant_utc_ms = at_utc_ms - 1_000
    pen.boot(at_utc_ms)
    pen.open(badge("md-01"), cartridge_tag(pen_id))
    pen.work(depth_um)
    pen.close()
    return pen


MORNING_UTC_MS = NOW_UTC_MS
NEXT_DAY_UTC_MS = NOW_UTC_MS + DAY_MS


def both_noted(desk: Desk) -> tuple[HonestPen, HonestPen]:
    note(desk, MORNING_UTC_MS - 1)
    note(desk, NEXT_DAY_UTC_MS - 1)
    return treatment("pen-01", MORNING_UTC_MS), treatment("pen-02", NEXT_DAY_UTC_MS)


def test_in_their_order_the_later_one_is_too_early(desk: Killed) -> None:
    first, second = both_noted(desk)
    desk.take(first.sent)
    desk.take(second.sent)
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}
    assert len(desk.statements()) == 2, "nothing had to be amended"


@pytest.mark.parametrize("at_once", [False, True], ids=["two commits", "one commit"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["lives", "is killed"])
def test_an_earlier_treatment_that_arrives_late_amends_the_later_one(
    at_once: bool, is_killed: bool, desk: Killed
) -> None:
    first, second = both_noted(desk)
    desk.is_killed = is_killed
    desk.receive(second.sent)
    if not at_once:
        desk.commit()
        assert desk.verdicts() == {LATER: FINE}
    desk.receive(first.sent)
    group = desk.commit()
    assert group.amend == {LATER: "late record"}
    assert desk.verdicts()[LATER] == (FINE if is_killed else SHORT)
    if is_killed:
        desk.live_again()
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}
    assert desk.statement(LATER)["because"] == "late record"
    assert desk.intake.left_to_amend() == {}
    assert prove(place(desk)).findings == []


def test_two_in_one_commit_know_of_each_other(desk: Killed) -> None:
    """The first one's visit is not in the ledger yet when the second is judged."""
    first, second = both_noted(desk)
    desk.receive(first.sent)
    desk.receive(second.sent)
    assert desk.commit().amend == {}
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}


def test_one_under_way_to_the_disk_is_known_as_well(desk: Killed) -> None:
    """The committing thread has taken the group; the receiving one goes on meanwhile."""
    first, second = both_noted(desk)
    desk.receive(first.sent)
    under_way, desk.intake.group = desk.intake.group, Group()
    desk.receive(second.sent)
    for group in (under_way, desk.intake.group):
        assert desk.ledger.commit(group, desk.now_utc_ms) == {}
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}


def test_a_later_one_under_way_to_the_disk_is_amended_after_it(desk: Killed) -> None:
    first, second = both_noted(desk)
    desk.receive(second.sent)
    under_way, desk.intake.group = desk.intake.group, Group()
    desk.receive(first.sent)
    assert desk.ledger.commit(under_way, desk.now_utc_ms) == {}
    desk.commit()
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}


def test_other_clients_and_earlier_sessions_are_left_alone(desk: Killed) -> None:
    """The same person treated somebody else in between, and the client once before."""
    first, second = both_noted(desk)
    before = treatment("pen-03", MORNING_UTC_MS - 60 * DAY_MS)
    note(desk, MORNING_UTC_MS - 60 * DAY_MS - 1)
    desk.take(before.sent)
    desk.take(second.sent)
    desk.receive(first.sent)
    assert desk.commit().amend == {LATER: "late record"}
    assert desk.verdicts()["pen-03-1-1"] == FINE


def test_parts_of_one_treatment_do_not_amend_each_other(desk: Killed) -> None:
    note(desk, MORNING_UTC_MS - 1)
    first, second = treatment("pen-01", MORNING_UTC_MS), treatment("pen-02", MORNING_UTC_MS + HOUR_MS)
    desk.take(second.sent)
    desk.receive(first.sent)
    assert desk.commit().amend == {}
    assert desk.intake.left_to_amend() == {}
    assert desk.verdicts() == {EARLIER: FINE, LATER: FINE}


def test_a_verdict_amended_for_another_reason_asks_for_nothing(desk: Killed) -> None:
    """Only the first verdict on the earlier one counts: a newer one brings the later one no news."""
    first, second = both_noted(desk)
    desk.take(first.sent)
    desk.take(second.sent)
    word = OverrideNote(who="md-01", session=EARLIER, code="DURATION_LONG", why="for the test")
    desk.ledger.note(OVERRIDE, body_of(word), desk.now_utc_ms, EARLIER)
    assert desk.intake.left_to_amend() == {EARLIER: "override"}
    _enter_again(desk.ledger, EARLIER)
    assert desk.intake.left_to_amend() == {}


def _enter_again(ledger: Ledger, session_id: str) -> None:
    """Another verdict on a session, as an amendment enters one."""
    row = ledger.session(session_id)
    said = ledger.statement(row) or {}
    said.pop("alerts")
    body = to_json(said | {"amends": row["verdict_entry"], "because": "override"})
    change = {"session_id": session_id, "verdict": row["verdict"], "verdict_entry": 0}
    entries = [NewEntry("verdict", body, row["pen"], session_id=session_id)]
    ledger.commit(Group(entries=entries, session_changes=[change]), NOW_UTC_MS)


# ---- notes that come late ----


def by_command(desk: Killed, *more: str) -> dict[str, object]:
    who = ("--client", CLIENT, "--practitioner", "md-01", "--json")
    done = CliRunner().invoke(app, ["treatment", "note", *who, *more, "--ledger", str(place(desk))])
    assert done.exit_code == 0, done.output + repr(done.exception)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def moment(utc_ms: int) -> str:
    return str(iso(utc_ms))


def first_unnoted(desk: Killed) -> None:
    """Both are judged; of the earlier one nobody has said who the client was."""
    note(desk, NEXT_DAY_UTC_MS - 1)
    for pen in (treatment("pen-01", MORNING_UTC_MS), treatment("pen-02", NEXT_DAY_UTC_MS)):
        desk.take(pen.sent)
    assert desk.verdicts() == {EARLIER: FINE, LATER: FINE}


@pytest.mark.parametrize("of", ["time", "session"])
def test_a_note_written_late_amends_its_session_and_the_client_s_later_ones(
    of: str, desk: Killed
) -> None:
    first_unnoted(desk)
    which = ("--at", moment(MORNING_UTC_MS - 1000)) if of == "time" else ("--session", EARLIER)
    said = by_command(desk, *which, *(("--at", moment(MORNING_UTC_MS)) if of == "session" else ()))
    assert said.get("judged_again") == ([EARLIER] if of == "time" else None)
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}
    assert desk.statement(EARLIER)["note_entry"] == said["entry"]
    assert desk.statement(LATER)["because"] == "note"
    assert desk.intake.left_to_amend() == {}
    assert prove(place(desk)).findings == []


@pytest.mark.parametrize("of", ["time", "session"])
@pytest.mark.parametrize("amended", [0, 1], ids=["before both", "between the two"])
def test_whoever_is_killed_after_a_late_note_leaves_it_to_the_next_start(
    of: str, amended: int, desk: Killed
) -> None:
    """The note is committed; then the power fails, before or after the first amendment."""
    first_unnoted(desk)
    more = {"session": EARLIER} if of == "session" else {}
    note(desk, MORNING_UTC_MS - 1_000, desk.now_utc_ms, **more)
    if amended:
        only_the_first = _WithoutCascade(desk.ledger, is_for_all=False)
        with pytest.raises(_PowerCutError):
            amend(desk.ledger, EARLIER, "note", desk.now_utc_ms, only_the_first)
        assert desk.intake.left_to_amend() == {LATER: "note"}
    else:
        assert desk.intake.left_to_amend() == {EARLIER: "note"}
    desk.live_again()
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}
    assert desk.intake.left_to_amend() == {}


class _PowerCutError(Exception):
    """The end of the process."""


class _WithoutCascade(Knowledge):
    """A knowledge whose process ends when it is to read on for the second time."""

    reads = 0

    def read_on(self) -> None:
        self.reads += 1
        if self.reads > 1:
            raise _PowerCutError
        super().read_on()


def test_a_note_in_time_overtakes_nothing(desk: Killed) -> None:
    first, second = both_noted(desk)
    desk.take(first.sent)
    desk.take(second.sent)
    note(desk, NEXT_DAY_UTC_MS + HOUR_MS)
    assert desk.intake.left_to_amend() == {}


def test_a_late_note_that_a_nearer_one_precedes_belongs_to_nothing(desk: Killed) -> None:
    first, second = both_noted(desk)
    desk.take(first.sent)
    desk.take(second.sent)
    said = by_command(desk, "--at", moment(NEXT_DAY_UTC_MS - HOUR_MS))
    assert "judged_again" not in said
    assert desk.verdicts() == {EARLIER: FINE, LATER: SHORT}


def test_a_late_note_that_is_forgotten_asks_for_nothing(desk: Killed) -> None:
    first_unnoted(desk)
    for session in ({}, {"session": EARLIER}):
        entry = note(desk, MORNING_UTC_MS - 1_000, desk.now_utc_ms, **session)
        redact(desk.ledger, [entry], "asked for it", "md-01", desk.now_utc_ms)
    assert desk.intake.left_to_amend() == {}
    assert desk.verdicts() == {EARLIER: FINE, LATER: FINE}


def test_a_treatment_without_a_pen_that_is_told_late_counts_for_later_ones(desk: Killed) -> None:
    note(desk, NEXT_DAY_UTC_MS - 1)
    desk.take(treatment("pen-02", NEXT_DAY_UTC_MS, 300).sent)
    assert desk.verdicts() == {LATER: FINE}
    attest = ("attest", "--client", CLIENT, "--practitioner", "md-01", "--device", "roller")
    how = ("--needle-mm", "0.3", "--minutes", "20", "--at", moment(MORNING_UTC_MS))
    arguments = ["treatment", *attest, *how, "--ledger", str(place(desk))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert desk.verdicts() == {LATER: SHORT}
    assert desk.intake.left_to_amend() == {}


def test_a_session_that_is_open_takes_up_what_was_said_meanwhile(desk: Killed) -> None:
    """What is remembered of a session's note is dropped when another one comes."""
    pen = HonestPen("pen-01")
    pen.boot(MORNING_UTC_MS)
    pen.open(badge("md-01"), cartridge_tag("1"))
    desk.take(pen.sent)
    entry = note(desk, MORNING_UTC_MS - 2)
    desk.take(pen.work(300))
    newer = note(desk, MORNING_UTC_MS - 1)
    desk.take(pen.work(300))
    assert newer > entry
    desk.take(pen.close())
    assert desk.statement(EARLIER)["note_entry"] == newer


def test_an_attested_treatment_and_its_place_in_the_history_are_one_commit(desk: Killed) -> None:
    row = {"client": CLIENT, "started_utc_ms": MORNING_UTC_MS, "tier": "cosmetic"}
    entry = desk.ledger.note("attested", {"client": CLIENT}, NOW_UTC_MS, visit=row)
    (found,) = desk.ledger.visits(CLIENT, desk.now_utc_ms)
    assert (found["session_id"], found["note_entry"]) == (f"attested-{entry}", entry)
    assert utc(found["started_utc_ms"]) + timedelta(days=1) == utc(NEXT_DAY_UTC_MS)


def test_a_kept_knowledge_is_read_on_and_not_anew(
    desk: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway keeps one for all its amendments: notes are read once."""
    first_unnoted(desk)
    note(desk, MORNING_UTC_MS - 1_000, desk.now_utc_ms)
    knowledge = Knowledge(desk.ledger, is_for_all=False)
    read: list[int] = []
    original: Callable[..., TreatmentNote] = TreatmentNote.model_validate
    monkeypatch.setattr(TreatmentNote, "model_validate", lambda said: read.append(1) or original(said))
    for _ in range(3):
        amend(desk.ledger, EARLIER, "note", desk.now_utc_ms, knowledge)
    assert len(read) == 2, "of two notes"
