"""A verdict amended: another entry beside the first, the row points to it, the chain holds."""

from pathlib import Path

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen
from sqlalchemy import update
from test_replay_refold import Forgetful
from test_replay_rejudge import treat, with_rule

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.proof import prove
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.replay.knowledge import Knowledge

LATER_UTC_MS = NOW_UTC_MS + 3_600_000
RECALLED = "CARTRIDGE_RECALLED"


def override(ledger: Ledger, name: str) -> None:
    word = {"who": "md-01", "session": name, "code": RECALLED, "why": "the recall was lifted"}
    ledger.note("override", word, LATER_UTC_MS, name)


@pytest.fixture
def desk(new_ledger: NewLedger, policy: Policy) -> Desk:
    """A session with a recalled cartridge, under a pack in which that can be overridden."""
    desk = Desk(new_ledger(), with_rule(policy, RECALLED, outcome="review", severity="soft"))
    pen = HonestPen()
    desk.take(pen.boot())
    treat(desk, pen, "md-01", 1_000, 1, lot="BAD")
    return desk


def test_an_override_amends_the_verdict_and_the_first_one_stays(desk: Desk) -> None:
    ledger = desk.ledger
    first = ledger.session("pen-01-1-1")["verdict_entry"]
    override(ledger, "pen-01-1-1")
    entry = amend(ledger, "pen-01-1-1", "override", LATER_UTC_MS)
    assert entry == ledger.last_entry_id()
    row = ledger.session("pen-01-1-1")
    assert (row["verdict"], row["verdict_entry"]) == ("compliant", entry)
    before, after = desk.statements()
    assert (after["amends"], after["because"]) == (first, "override")
    assert (before["verdict"], after["verdict"]) == ("review", "compliant")
    assert after["reasons"] == before["reasons"] == [RECALLED]
    assert [one["code"] for one in after["overridden"]] == [RECALLED]
    same = before.keys() - {"verdict", "overridden"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_the_ledger_still_verifies(desk: Desk) -> None:
    override(desk.ledger, "pen-01-1-1")
    amend(desk.ledger, "pen-01-1-1", "override", LATER_UTC_MS)
    location = desk.ledger.engine.url.database
    assert location is not None
    proof = prove(Path(location))
    assert proof.findings == []
    assert proof.is_intact


def test_what_would_say_the_same_is_not_entered(desk: Desk) -> None:
    ledger = desk.ledger
    before = ledger.last_entry_id()
    assert amend(ledger, "pen-01-1-1", "note", LATER_UTC_MS) is None
    assert ledger.last_entry_id() == before
    override(ledger, "pen-01-1-1")
    assert amend(ledger, "pen-01-1-1", "override", LATER_UTC_MS) is not None
    entries = ledger.last_entry_id()
    assert amend(ledger, "pen-01-1-1", "override", LATER_UTC_MS) is None
    assert ledger.last_entry_id() == entries


def test_a_note_that_was_forgotten_is_taken_up(desk: Desk, policy: Policy) -> None:
    ledger = desk.ledger
    condition = policy.refusals_for("medical")[0].condition
    note = {
        "who": "desk",
        "at_utc_ms": NOW_UTC_MS,
        "practitioner": "md-01",
        "client": "c-7k2m9qxa",
        "session": "pen-01-1-1",
        "screening": {condition: True},
    }
    noted = ledger.note("note", note, LATER_UTC_MS, "pen-01-1-1")
    amend(ledger, "pen-01-1-1", "note", LATER_UTC_MS)
    said = desk.statement("pen-01-1-1")
    assert said["note_entry"] == noted
    assert "CONTRAINDICATION" in said["reasons"]  # type: ignore[operator]
    (visit,) = ledger.visits("c-7k2m9qxa", LATER_UTC_MS)
    assert (visit["session_id"], visit["note_entry"]) == ("pen-01-1-1", noted)


def test_a_record_that_came_late_amends_whoever_was_judged_before(
    new_ledger: NewLedger, policy: Policy
) -> None:
    desk = Forgetful(new_ledger(), policy)
    early, late = HonestPen("pen-01"), HonestPen("pen-02")
    for pen, utc_ms in ((late, NOW_UTC_MS), (early, NOW_UTC_MS - 3_600_000)):
        pen.grant_utc_ms = utc_ms - 1_000
        desk.take(pen.boot(utc_ms))
        treat(desk, pen, "md-01", 500, 7)
    assert amend(desk.ledger, "pen-01-1-1", "late record", LATER_UTC_MS) is None
    assert amend(desk.ledger, "pen-02-1-1", "late record", LATER_UTC_MS) is not None
    rows = {row["session_id"]: row for row in desk.ledger.sessions()}
    assert (rows["pen-01-1-1"]["verdict"], rows["pen-01-1-1"]["reused"]) == ("compliant", False)
    assert (rows["pen-02-1-1"]["verdict"], rows["pen-02-1-1"]["reused"]) == ("violation", True)


def test_a_knowledge_that_is_kept_reads_on(desk: Desk) -> None:
    ledger = desk.ledger
    knowledge = Knowledge(ledger, is_for_all=False)
    assert amend(ledger, "pen-01-1-1", "note", LATER_UTC_MS, knowledge) is None
    override(ledger, "pen-01-1-1")
    pen = HonestPen("pen-02")
    others = Forgetful(ledger, desk.intake.rules.policy)
    pen.grant_utc_ms = NOW_UTC_MS - 7_200_000
    others.take(pen.boot(NOW_UTC_MS - 3_600_000))
    treat(others, pen, "md-01", 500, 1, lot="BAD")  # the same cartridge, an hour before
    assert amend(ledger, "pen-01-1-1", "override", LATER_UTC_MS, knowledge) is not None
    said = desk.statement("pen-01-1-1")
    assert said["reasons"] == [RECALLED, "CARTRIDGE_REUSED"]
    assert [one["code"] for one in said["overridden"]] == [RECALLED]  # type: ignore[index]


def test_it_is_judged_by_the_pack_of_its_time(desk: Desk, policy: Policy) -> None:
    """The gateway has moved to a harder pack meanwhile; the session has not."""
    desk._policy = policy
    desk.restart()
    override(desk.ledger, "pen-01-1-1")
    amend(desk.ledger, "pen-01-1-1", "override", LATER_UTC_MS)
    assert desk.statement("pen-01-1-1")["verdict"] == "compliant"


def test_what_can_not_be_judged_again_is_refused(desk: Desk) -> None:
    ledger = desk.ledger
    pen = HonestPen("pen-02")
    desk.take(pen.boot(), pen.open(badge("md-01"), cartridge_tag("000009")), pen.work(500))
    with pytest.raises(LedgerError, match="still open"):
        amend(ledger, "pen-02-1-1", "note", LATER_UTC_MS)
    with pytest.raises(LedgerError, match="no session"):
        amend(ledger, "pen-03-1-1", "note", LATER_UTC_MS)
    with ledger.engine.begin() as connection:
        connection.execute(update(schema.session).values(policy_entry=None))
    with pytest.raises(LedgerError, match="by which one is not known"):
        amend(ledger, "pen-01-1-1", "note", LATER_UTC_MS)
    with ledger.engine.begin() as connection:
        connection.execute(
            update(schema.entry)
            .where(schema.entry.c.session_id == "pen-01-1-1", schema.entry.c.seq == 4)
            .values(body=b"", body_sha256=bytes(32))
        )
    with pytest.raises(LedgerError, match="have been removed"):
        amend(ledger, "pen-01-1-1", "note", LATER_UTC_MS)
