"""A session refolded from the ledger and judged again says, byte for byte, what was said live.

Random mornings of two pens (those of test_lane_restored): late and second badges, faults, grants, gaps,
what is impossible, clocks that are far off. Only where a cartridge worked in two sessions can a replay
know better than whoever judged first; these mornings are apart.
"""

from random import Random

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lane_restored import act

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Group, Ledger, to_json
from needletrail_gateway.replay import sessions
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.refold import Judged, UnknownPenError, judge
from needletrail_gateway.replay.sessions import Period, count_sessions, find_session, sessions_in
from needletrail_protocol import cbor, messages

REUSED = "CARTRIDGE_REUSED"


def morning(desk: Desk, seed: int, steps: int, share: bool = False) -> None:
    """A random morning. Without `share`, no cartridge works in two sessions."""
    random = Random(seed)
    pens = [HonestPen("pen-01"), HonestPen("pen-02")]
    serials = iter(range(100, 1_000_000))
    opens = [pen.open for pen in pens]
    for pen, plain in zip(pens, opens, strict=True):

        def fresh(who: bytes | None, tag: bytes | None, cause: int, plain=plain):  # type: ignore[no-untyped-def]
            return plain(who, None if tag is None else cartridge_tag(f"{next(serials):06d}"), cause)

        if not share:
            pen.open = fresh  # type: ignore[method-assign]
    for _ in range(steps):
        desk.receive(act(random, random.choice(pens)))
        if random.random() < 0.3:
            desk.commit()
    desk.commit()


def again(ledger: Ledger) -> list[Judged]:
    """Every judged session, judged once more by what it was judged by."""
    knowledge = Knowledge(ledger)
    found = []
    for recorded in sessions_in(ledger):
        rules = knowledge.rules_then(recorded.row)
        assert rules is not None
        found.append(judge(recorded, rules, knowledge.elsewhere(recorded.row)))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 32), st.sampled_from([3, 40, 500]))
def test_a_refolded_session_says_what_was_said_live(
    new_ledger: NewLedger, policy: Policy, seed: int, page: int
) -> None:
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    morning(desk, seed, 120)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "PAGE", page)
        judged = again(ledger)
    assert len(judged) == count_sessions(ledger)
    for one in judged:
        live = desk.statement(one.treatment.session_id)
        raised = live.pop("alerts")
        assert to_json(one.statement()) == to_json(live)
        assert isinstance(raised, list)
        assert one.alerts == {row["code"] for row in raised}


class Forgetful(Desk):
    """A gateway that is killed each time before it could amend what late records bring."""

    def commit(self) -> Group:
        group, self.intake.group = self.intake.group, Group()
        self.ledger.commit(group, self.now_utc_ms)
        return group


def test_a_verdict_that_was_amended_says_the_same_as_a_replay(
    new_ledger: NewLedger, policy: Policy
) -> None:
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    morning(desk, 5, 400, share=True)
    amended = 0
    for one in again(ledger):
        live = desk.statement(one.treatment.session_id)
        del live["alerts"]
        amended += live.pop("amends", None) is not None
        live.pop("because", None)
        assert to_json(one.statement()) == to_json(live)
    assert amended > 0


def test_of_two_sessions_with_a_cartridge_the_later_treatment_reused_it(
    new_ledger: NewLedger, policy: Policy
) -> None:
    """Whoever is judged first can not know of the other; a replay goes by when they treated."""
    ledger = new_ledger()
    desk = Forgetful(ledger, policy)
    early, late = HonestPen("pen-01"), HonestPen("pen-02")
    for pen, utc_ms in ((late, NOW_UTC_MS), (early, NOW_UTC_MS - 3_600_000)):
        pen.grant_utc_ms = utc_ms - 1_000
        desk.take(
            pen.boot(utc_ms),
            pen.open(badge("md-01"), cartridge_tag("000007")),
            pen.work(500),
            pen.close(),
        )
    reused = {name: REUSED in reasons for name, (_, reasons) in desk.verdicts().items()}
    assert reused == {"pen-02-1-1": False, "pen-01-1-1": False}
    judged = {one.treatment.session_id: REUSED in one.verdict.reasons for one in again(ledger)}
    assert judged == {"pen-02-1-1": True, "pen-01-1-1": False}


def test_a_part_of_the_year_brings_its_boots_faults_and_pins_with_it(
    new_ledger: NewLedger, policy: Policy
) -> None:
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    pen = HonestPen()
    desk.take(pen.hello(t_ms=0, utc_ms=NOW_UTC_MS), pen.boot())
    for number in range(4):
        desk.take(pen.fault("skin", is_over=number % 2 == 1))
        pen.t_ms += 60_000
        desk.take(pen.open(badge("md-01"), cartridge_tag(f"{number:06}")), pen.work(500), pen.close())
        if number == 2:
            pen.boots += 3
            desk.take(pen.boot(NOW_UTC_MS + 600_000))
    whole = {one.treatment.session_id: to_json(one.statement()) for one in again(ledger)}
    rows = ledger.sessions()
    knowledge = Knowledge(ledger)
    for row in rows:
        period = Period(row["started_utc_ms"], row["started_utc_ms"] + 1)
        (recorded,) = sessions_in(ledger, period)
        assert count_sessions(ledger, period) == 1
        rules = knowledge.rules_then(row)
        assert rules is not None
        found = judge(recorded, rules, knowledge.elsewhere(row)).statement()
        assert to_json(found) == whole[row["session_id"]]
    faults = [find_session(ledger, row["session_id"]).standing_faults for row in rows]
    assert faults == [{"skin": "no answer"}, {}, {"skin": "no answer"}, {}]


def test_a_session_whose_start_nobody_knows_is_in_no_part(
    new_ledger: NewLedger, policy: Policy
) -> None:
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    pen = HonestPen()
    desk.take(pen.boot(None), pen.open(badge("md-01"), cartridge_tag()), pen.work(500), pen.close())
    assert count_sessions(ledger) == len(list(sessions_in(ledger))) == 1
    for period in (Period(from_utc_ms=0), Period(to_utc_ms=1 << 50)):
        assert count_sessions(ledger, period) == len(list(sessions_in(ledger, period))) == 0


def test_work_under_a_grant_that_ran_out_is_found_record_by_record(
    new_ledger: NewLedger, policy: Policy
) -> None:
    """It ran out during the session: work before does not count, and rest after does not either."""
    for work_after in (False, True):
        ledger = new_ledger()
        desk = Desk(ledger, policy)
        pen = HonestPen(grant_utc_ms=NOW_UTC_MS - policy.grant.life_ms + 10_000)
        desk.take(pen.boot(), pen.open(badge("md-01"), cartridge_tag()), pen.work(500, 6_000))
        desk.take(pen.rest(6_000))
        desk.take(pen.work(500, 3_000) if work_after else pen.rest(3_000), pen.close())
        (one,) = again(ledger)
        assert ("GRANT_STALE" in one.verdict.reasons) == work_after
        assert list(one.verdict.reasons) == desk.verdicts()["pen-01-1-1"][1]


@pytest.mark.parametrize("items", [13, 23, 24, 40])
def test_a_samples_record_of_a_later_version_is_read(
    new_ledger: NewLedger, policy: Policy, items: int
) -> None:
    """With elements that this version does not know, few or many."""
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    pen = HonestPen()
    desk.take(pen.boot(), pen.open(badge("md-01"), cartridge_tag()), pen.work(500))
    times = [pen.t_ms + 20 * number for number in range(1, 51)]
    strokes = [pen.strokes + 2 * number for number in range(1, 51)]
    plain = messages.encode_samples(
        pen.seq + 1, 1, 50, 20, times, [700] * 50, pen.strokes, strokes, [True] * 50
    )
    known = cbor.decode(plain)
    assert isinstance(known, list)
    desk.take(pen.raw(cbor.encode([*known, None, *range(items - 1 - len(known))])))
    pen.t_ms, pen.strokes = times[-1], strokes[-1]
    desk.take(pen.work(600), pen.close())
    (one,) = again(ledger)
    live = desk.statement("pen-01-1-1")
    del live["alerts"]
    assert to_json(one.statement()) == to_json(live)
    assert live["samples"] == 150


def test_an_open_session_is_not_judged_again(new_ledger: NewLedger, policy: Policy) -> None:
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    pen = HonestPen()
    desk.take(pen.boot(), pen.open(badge("md-01"), cartridge_tag()), pen.work(500))
    assert again(ledger) == []
    with pytest.raises(LedgerError, match="still open"):
        find_session(ledger, "pen-01-1-1")
    with pytest.raises(LedgerError, match="no session"):
        find_session(ledger, "pen-01-1-2")


def test_a_registry_without_the_pen_judges_nothing(new_ledger: NewLedger, policy: Policy) -> None:
    ledger = new_ledger()
    desk = Desk(ledger, policy)
    pen = HonestPen()
    desk.take(
        pen.boot(), pen.open(badge("md-01"), cartridge_tag(), messages.OPENED_BY_CARTRIDGE), pen.close()
    )
    (recorded,) = sessions_in(ledger)
    knowledge = Knowledge(ledger)
    registry = ledger.registry_at(recorded.row["registry_entry"])
    without = registry.model_copy(update={"pen": []})
    rules = knowledge.rules_of(policy, type(registry).model_validate(without.model_dump()))
    with pytest.raises(UnknownPenError, match="pen-01"):
        judge(recorded, rules, knowledge.elsewhere(recorded.row))
