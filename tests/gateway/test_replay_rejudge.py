"""A period under another pack or registry: what changes, why, and that nothing is written."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import GTIN, KEYS, NOW_UTC_MS, badge, cartridge_tag, clinic, person
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen
from sqlalchemy.exc import OperationalError
from test_replay_refold import Forgetful, morning
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.retention import expire
from needletrail_gateway.replay import rejudge as replay
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.rejudge import Compared, Summary, rejudge
from needletrail_gateway.shell.documents import DocumentError, read_policy

HOUR_MS = 3_600_000


def treat(desk: Desk, pen: HonestPen, who: str, depth_um: int, serial: int, **tag: str) -> str:
    """One session; its name."""
    desk.take(pen.open(badge(who), cartridge_tag(f"{serial:06}", **tag)))
    desk.take(pen.rest(100), pen.work(depth_um), pen.rest(), pen.close())
    return f"{pen.pen_id}-1-{pen.session}"


def compared(ledger: Ledger, policy: Policy) -> dict[str, Compared]:
    knowledge = Knowledge(ledger)
    found = rejudge(ledger, lambda row: knowledge.rules_by(policy, row), knowledge)
    return {one.session_id: one for one in found}


@pytest.fixture
def desk(new_ledger: NewLedger, policy: Policy) -> Desk:
    """Three sessions: compliant, too deep by an esthetician, with a recalled cartridge."""
    desk = Desk(new_ledger(), policy)
    pen = HonestPen()
    desk.take(pen.boot())
    treat(desk, pen, "md-01", 1_000, 1)
    treat(desk, pen, "est-01", 900, 2)
    treat(desk, pen, "md-01", 1_000, 3, lot="BAD")
    return desk


def with_rule(policy: Policy, code: str, **more: Any) -> Policy:
    """The pack with one rule changed, as its next version."""
    document = policy.model_dump(mode="json")
    (rule,) = (one for one in document["rule"] if one["code"] == code)
    rule.update(more)
    return Policy.model_validate(document | {"version": "next"})


def test_under_the_same_pack_nothing_changes(new_ledger: NewLedger, policy: Policy) -> None:
    desk = Desk(new_ledger(), policy)
    morning(desk, 11, 400)
    found = compared(desk.ledger, policy)
    assert len(found) > 10
    assert not [one for one in found.values() if one.is_change or one.causes]
    summary = Summary()
    for one in found.values():
        assert one.after is not None
        assert one.after.alerts == one.before.alerts
        summary.add(one)
    said = summary.document()
    assert said["verdicts"]["before"] == said["verdicts"]["after"]
    assert (said["changed"], said["causes"], said["sessions"]) == (0, {}, len(found))


def test_another_pack_changes_what_it_says_otherwise(desk: Desk, policy: Policy) -> None:
    milder = with_rule(policy, "CARTRIDGE_RECALLED", outcome="review", severity="soft")
    found = compared(desk.ledger, milder)
    changed = {name: one for name, one in found.items() if one.is_change}
    assert changed.keys() == {"pen-01-1-3"}
    one = changed["pen-01-1-3"]
    assert one.causes == ("policy",)
    assert one.before.verdict == "violation"
    assert one.after is not None
    assert (one.after.verdict, one.after.reasons) == ("review", ("CARTRIDGE_RECALLED",))
    assert (one.before.alerts, one.after.alerts) == ({"CARTRIDGE_RECALLED"}, frozenset())


def test_a_summary_counts_by_verdict_reason_and_practitioner(desk: Desk, policy: Policy) -> None:
    milder = with_rule(policy, "CARTRIDGE_RECALLED", outcome="review", severity="soft")
    summary = Summary()
    for one in compared(desk.ledger, milder).values():
        summary.add(one)
    said = summary.document()
    assert said["verdicts"] == {
        "before": {"compliant": 1, "violation": 2},
        "after": {"compliant": 1, "violation": 1, "review": 1},
    }
    assert said["reasons"] == {
        "CARTRIDGE_RECALLED": {"before": 1, "after": 1},
        "DEPTH_EXCEEDED": {"before": 1, "after": 1},
    }
    assert said["alerts"] == {
        "before": 2,
        "after": 1,
        "per_100_sessions_before": 66.67,
        "per_100_sessions_after": 33.33,
    }
    assert [(one["practitioner"], one["sessions"]) for one in said["practitioners"]] == [
        ("est-01", 1),
        ("md-01", 2),
    ]
    (physician,) = (one for one in said["practitioners"] if one["practitioner"] == "md-01")
    assert physician["before"] == {"compliant": 1, "violation": 1}
    assert physician["after"] == {"compliant": 1, "review": 1}
    assert physician["alerts_per_100_sessions_before"] == 50
    assert physician["alerts_per_100_sessions_after"] == 0


def test_another_registry_is_a_cause_of_its_own(desk: Desk, policy: Policy) -> None:
    """The recall, as if it had never been; and with it a milder pack."""
    knowledge = Knowledge(desk.ledger)
    lots = [{"gtin": GTIN, "lot": lot, "received": 40} for lot in ("LOT24A", "BAD")]
    registry = clinic(
        cartridge_lot=lots, cartridge_product=clinic().model_dump()["cartridge_product"][:1]
    )
    for pack, causes in (
        (policy, ("registry",)),
        (with_rule(policy, "CARTRIDGE_RECALLED", outcome="review"), ("policy", "registry")),
    ):
        rules = knowledge.rules_of(pack, registry)
        found = {
            one.session_id: one.causes
            for one in rejudge(desk.ledger, lambda _row, rules=rules: rules, knowledge)  # type: ignore[misc]
            if one.is_change
        }
        assert found == {"pen-01-1-3": causes}


def test_a_pen_that_a_registry_lacks_is_told(desk: Desk, policy: Policy) -> None:
    knowledge = Knowledge(desk.ledger)
    rules = knowledge.rules_of(policy, clinic(pen=[]))
    summary = Summary()
    for one in rejudge(desk.ledger, lambda _row: rules, knowledge):
        assert one.document()["after"] is None
        summary.add(one)
    assert summary.document()["not_judged"] == {"the registry does not have its pen": 3}
    assert summary.sessions == 0


def test_sessions_whose_readings_have_expired_are_told(desk: Desk, policy: Policy) -> None:
    pen = HonestPen("pen-02")
    desk.now_utc_ms = NOW_UTC_MS + 2 * HOUR_MS
    desk.take(pen.boot())
    treat(desk, pen, "md-01", 1_000, 4)
    gone = expire(desk.ledger, NOW_UTC_MS + HOUR_MS, "md-01", "five years", NOW_UTC_MS + 3 * HOUR_MS)
    assert gone.sessions == 3
    summary = Summary()
    for one in compared(desk.ledger, policy).values():
        summary.add(one)
    said = summary.document()
    assert said["not_judged"] == {"its readings have been removed": 3}
    assert (said["sessions"], said["verdicts"]["after"]) == (1, {"compliant": 1})


def test_a_note_that_came_later_is_a_cause(desk: Desk, policy: Policy) -> None:
    note = {
        "who": "desk",
        "at_utc_ms": NOW_UTC_MS,
        "practitioner": "md-01",
        "client": "c-7k2m9qxa",
        "session": "pen-01-1-1",
        "screening": {policy.refusals_for("medical")[0].condition: True},
    }
    desk.ledger.note("note", note, NOW_UTC_MS + HOUR_MS, "pen-01-1-1")
    found = compared(desk.ledger, policy)
    assert {name: one.causes for name, one in found.items() if one.is_change} == {
        "pen-01-1-1": ("note",)
    }


def test_an_override_that_came_later_is_a_cause(new_ledger: NewLedger, policy: Policy) -> None:
    soft = with_rule(policy, "CARTRIDGE_RECALLED", outcome="review", severity="soft")
    desk = Desk(new_ledger(), soft)
    pen = HonestPen()
    desk.take(pen.boot())
    name = treat(desk, pen, "md-01", 1_000, 3, lot="BAD")
    word = {
        "who": "md-01",
        "session": name,
        "code": "CARTRIDGE_RECALLED",
        "why": "the recall was lifted",
    }
    desk.ledger.note("override", word, NOW_UTC_MS + HOUR_MS, name)
    one = compared(desk.ledger, soft)[name]
    assert (one.causes, one.before.verdict) == (("override",), "review")
    assert one.after is not None
    assert (one.after.verdict, one.after.reasons) == ("compliant", ("CARTRIDGE_RECALLED",))


def test_records_that_came_late_are_a_cause(new_ledger: NewLedger, policy: Policy) -> None:
    desk = Forgetful(new_ledger(), policy)
    early, late = HonestPen("pen-01"), HonestPen("pen-02")
    for pen, utc_ms in ((late, NOW_UTC_MS), (early, NOW_UTC_MS - HOUR_MS)):
        pen.grant_utc_ms = utc_ms - 1_000
        desk.take(pen.boot(utc_ms))
        treat(desk, pen, "md-01", 500, 7)
    found = compared(desk.ledger, policy)
    assert {name: one.causes for name, one in found.items()} == {
        "pen-01-1-1": (),
        "pen-02-1-1": ("late record",),
    }


def test_wild_mornings_differ_for_late_records_only(new_ledger: NewLedger, policy: Policy) -> None:
    """Cartridges wander between pens whose clocks are hours apart."""
    changes = 0
    for seed in range(6):
        desk = Forgetful(new_ledger(), policy)
        morning(desk, seed, 300, share=True)
        for one in compared(desk.ledger, policy).values():
            assert one.causes == (("late record",) if one.is_change else ())
            changes += one.is_change
    assert changes > 5


def test_a_ledger_that_may_not_be_written_is_not(desk: Desk, policy: Policy) -> None:
    ledger = desk.ledger
    before = ledger.last_entry_id()
    replay.forbid_writing(ledger)
    assert len(compared(ledger, read_policy("us-ca"))) == 3
    with pytest.raises(OperationalError, match="readonly"):
        ledger.note("note", {}, 0)
    assert ledger.last_entry_id() == before


def test_a_gateway_goes_on_beside_it(desk: Desk, policy: Policy) -> None:
    """While sessions are judged again, from a connection of its own, others are judged live."""
    location = desk.ledger.engine.url.database
    assert location is not None
    beside = Ledger.open(location)
    replay.forbid_writing(beside)
    knowledge = Knowledge(beside)
    pen = HonestPen("pen-02")
    desk.take(pen.boot())
    names, live = [], []
    for one in rejudge(beside, lambda row: knowledge.rules_by(policy, row), knowledge):
        names.append(one.session_id)
        assert one.causes == ()
        if one.session_id.startswith("pen-01"):  # its turn comes first, by the pens' names
            live.append(treat(desk, pen, "md-01", 1_000, 10 + len(live)))
    beside.close()
    assert names[:3] == ["pen-01-1-1", "pen-01-1-2", "pen-01-1-3"]
    assert [desk.verdicts()[name] for name in live] == [("compliant", [])] * 3
    assert names[3:] == live, "what was committed by then is judged again as well"


# ---- the command ----


@pytest.fixture
def path(desk: Desk) -> Path:
    """The ledger's file, with a registry that changed since."""
    others = [person("est-01", "esthetician", "cosmetic", license_expires=date(2026, 6, 1))]
    registry = clinic(
        practitioner=[one.model_dump() for one in clinic().practitioner if one.id != "est-01"] + others
    )
    desk.ledger.import_registry(registry, KEYS, NOW_UTC_MS + HOUR_MS, "md-01", "she let it lapse")
    desk.ledger.close()
    location = desk.ledger.engine.url.database
    assert location is not None
    return Path(location)


def run(path: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["rejudge", "--ledger", str(path), *arguments])
    if isinstance(done.exception, DocumentError):
        raise done.exception
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_the_command_says_what_would_change(path: Path) -> None:
    before = path.read_bytes()
    said = json.loads(run(path, "--policy", "default", "--registry-at", "2026-07-02", "--json"))
    assert said["policy"]["pack"] == "default"
    assert said["registry"] == "2026-07-02"
    assert said["sessions"] == 3
    assert [(one["session_id"], one["causes"]) for one in said["changes"]] == [
        ("pen-01-1-2", ["registry"])
    ]
    assert said["changes"][0]["after"]["reasons"] == ["DEPTH_EXCEEDED", "LICENSE_EXPIRED"]
    assert path.read_bytes() == before


def test_the_command_judges_by_the_registry_of_the_time(path: Path) -> None:
    said = json.loads(run(path, "--policy", "default", "--json"))
    assert (said["changed"], said["changes"]) == (0, [])
    assert said["registry"] == "as it stood at each session"


def test_the_command_speaks_to_people(path: Path) -> None:
    said = " ".join(run(path, "--policy", "default", "--registry-at", "2026-07-02").split())
    assert "of 3 sessions 1 would be judged differently. Nothing was written." in said
    assert "alerts for 100 sessions" in said
    assert "pen-01-1-2" in said
    assert "registry" in said


def test_the_command_takes_a_period_a_file_and_a_registry(path: Path, tmp_path: Path) -> None:
    pack = tmp_path / "mine.toml"
    pack.write_text(
        'name = "mine"\nversion = "1"\neffective = 2026-01-01\nextends = "default"\n'
        'describes = "Ours."\n'
    )
    registry = tmp_path / "registry.toml"
    registry.write_text('[clinic]\nid = "harbor"\nname = "Harbor"\npolicy = "default"\n')
    said = json.loads(run(path, "--policy", str(pack), "--from", "2026-07-02", "--json"))
    assert (said["policy"]["pack"], said["sessions"], said["from"]) == ("mine", 0, "2026-07-02")
    said = json.loads(run(path, "--policy", str(pack), "--to", "2026-07-02", "--json"))
    assert said["sessions"] == 3
    said = json.loads(run(path, "--policy", "default", "--registry", str(registry), "--json"))
    assert said["not_judged"] == {"the registry does not have its pen": 3}
    told = " ".join(run(path, "--policy", "default", "--registry", str(registry)).split())
    assert "3 sessions could not be judged again: the registry does not have its pen." in told


def test_the_command_refuses_what_it_can_not_use(path: Path) -> None:
    for options, words in (
        (["--policy", "nowhere"], "no policy pack"),
        (["--policy", "default", "--from", "soon"], "--from"),
        (["--policy", "default", "--registry", "x", "--registry-at", "2026-07-02"], "either"),
    ):
        with pytest.raises(DocumentError, match=words):
            run(path, *options)
