"""Grants: what the policy makes of them, and what the record says of the one that was in force."""

from collections.abc import Callable
from typing import Any

import pytest
from gateway_clinic import (
    NOW_UTC_MS,
    TODAY,
    TOLERANCE_UM,
    badge,
    cartridge_tag,
    clinic,
    person,
    the_pen,
)
from gateway_desk import Desk
from honest_pen import HonestPen

from needletrail_gateway.core.grants import MAX_LENGTH, grant_for
from needletrail_gateway.core.judging.scope import decide
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import Rules, iso
from needletrail_protocol import conversation
from needletrail_protocol.conversation import EXCLUSIVE, HARD, REFUSE_EXPIRED, REFUSE_UNKNOWN
from needletrail_protocol.tables import Message

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EST = badge("est-01")
COMPLIANT: tuple[str, list[str]] = ("compliant", [])
STALE: tuple[str, list[str]] = ("review", ["GRANT_STALE"])


def changed(policy: Policy, change: Callable[[dict[str, Any]], None]) -> Policy:
    document = policy.model_dump()
    change(document)
    return Policy.model_validate(document)


def grant(policy: Policy, registry: Registry) -> Message:
    payload = grant_for(Rules(policy, registry), "pen-01", NOW_UTC_MS).payload
    assert len(payload) <= MAX_LENGTH
    return conversation.decode_grant(payload)


def flags(found: Message) -> dict[str, int]:
    return {permit[0]: permit[3] if len(permit) > 3 else 0 for permit in found.permits}


# ---- what a grant says ----


def test_a_permit_says_whether_its_bound_is_exclusive_and_hard(
    policy: Policy, registry: Registry
) -> None:
    found = flags(grant(policy, registry))
    assert found["est-01"] == EXCLUSIVE | HARD, "cosmetic: less than 0.5 mm"
    assert found["md-01"] == HARD, "medical: up to 2.5 mm"
    assert found["rn-02"] == EXCLUSIVE | HARD, "a fallback to cosmetic"
    assert found["me-01"] == HARD, "does not exceed 1.5 mm"
    assert found["old-01"] == HARD


def test_hard_is_what_the_tier_says_and_soft_if_it_says_nothing(
    policy: Policy, registry: Registry
) -> None:
    def soften(document: dict[str, Any]) -> None:
        del document["tier"][0]["hard"]
        document["tier"][1]["hard"] = False

    found = flags(grant(changed(policy, soften), registry))
    assert found["est-01"] == EXCLUSIVE
    assert found["md-01"] == 0


def test_where_nothing_is_permitted_the_limit_is_hard(policy: Policy) -> None:
    nobody = clinic(practitioner=[person("md-01", "physician", "medical"), person("x", "y", "medical")])

    def soften(document: dict[str, Any]) -> None:
        for tier in document["tier"]:
            tier["hard"] = False

    [_, permit] = grant(changed(policy, soften), nobody).permits
    assert (permit[0], permit[1], permit[3]) == ("x", 0, HARD)


@pytest.mark.parametrize(
    ("setting", "bits"),
    [
        ({}, 0),
        ({"when_expired": "refuse"}, REFUSE_EXPIRED),
        ({"unknown_badge": "refuse"}, REFUSE_UNKNOWN),
    ],
)
def test_the_policy_says_warn_or_refuse(
    setting: dict[str, str], bits: int, policy: Policy, registry: Registry
) -> None:
    lenient = changed(policy, lambda document: document["grant"].update(setting))
    assert grant(policy, registry).rules == 0
    assert grant(lenient, registry).rules == bits


def test_the_policy_says_how_long_a_grant_is_good(policy: Policy, registry: Registry) -> None:
    found = grant(policy, registry)
    assert found.expires_utc_ms - found.issued_utc_ms == DAY_MS
    short = changed(policy, lambda document: document["grant"].update(life_hours=2))
    found = grant(short, registry)
    assert found.expires_utc_ms - found.issued_utc_ms == 2 * HOUR_MS


def test_a_pack_that_says_nothing_of_grants_and_clocks_warns(policy: Policy) -> None:
    def forget(document: dict[str, Any]) -> None:
        del document["grant"], document["clock"]

    found = changed(policy, forget)
    assert (found.grant.when_expired, found.grant.unknown_badge, found.grant.without_grant) == (
        *("warn", "warn", "warn"),
    )
    assert (found.grant.life_ms, found.clock.agrees_within_ms) == (DAY_MS, 10_000)


def test_the_limit_of_a_grant_and_that_of_the_judge_are_one(policy: Policy, registry: Registry) -> None:
    pen = the_pen(registry)
    for badge_id, limit_um, _until, bits in grant(policy, registry).permits:
        if badge_id != "old-01":  # whose permit has ended: it is sent with its end, not with 0
            scope = decide(policy, registry, pen, badge(badge_id), None, TODAY)
            assert (scope.um, not scope.inclusive) == (limit_um, bool(bits & EXCLUSIVE))


@pytest.mark.parametrize("who", ["est-01", "md-01"], ids=["exclusive", "inclusive"])
@pytest.mark.parametrize("above_um", [0, 1])
def test_a_breach_begins_above_limit_and_tolerance_exclusive_or_not(
    who: str, above_um: int, desk: Desk
) -> None:
    """A count is a micrometre on these pens, so this is the very edge."""
    limit_um = 500 if who == "est-01" else 2500
    pen = HonestPen()
    pen.boot()
    pen.open(badge(who), cartridge_tag())
    pen.work(limit_um + TOLERANCE_UM + above_um)
    pen.close()
    desk.take(pen.sent)
    at_limit = ("review", ["DEPTH_AT_LIMIT"]) if who == "est-01" else COMPLIANT
    expected = ("violation", ["DEPTH_EXCEEDED"]) if above_um else at_limit
    assert desk.verdicts() == {"pen-01-1-1": expected}


# ---- which grant was in force ----


def session(pen: HonestPen, who: bytes = EST, serial: str = "000001") -> None:
    pen.open(who, cartridge_tag(serial))
    pen.work(300)
    pen.close()


def verdict(desk: Desk, pen: HonestPen) -> tuple[str, list[str]]:
    desk.take(pen.sent)
    return desk.verdicts()[f"{pen.pen_id}-{pen.epoch}-{pen.session}"]


@pytest.mark.parametrize(
    ("issued_utc_ms", "expected"),
    [
        (None, STALE),
        (NOW_UTC_MS, COMPLIANT),
        (NOW_UTC_MS - DAY_MS + 1021, COMPLIANT),
        (NOW_UTC_MS - DAY_MS + 1020, STALE),  # good until the end of the work, not including it
        (NOW_UTC_MS - 30 * DAY_MS, STALE),
    ],
)
def test_work_without_a_good_grant_goes_to_review(
    issued_utc_ms: int | None, expected: tuple[str, list[str]], desk: Desk
) -> None:
    pen = HonestPen(grant_utc_ms=issued_utc_ms)
    pen.boot()
    session(pen)
    assert verdict(desk, pen) == expected
    assert desk.statement("pen-01-1-1")["grant"] == {"issued": iso(issued_utc_ms), "taken": []}


def test_the_grants_age_is_told_by_the_corrected_time(desk: Desk) -> None:
    """By its own clock, two days behind, the pen's grant is still good."""
    pen = HonestPen(grant_utc_ms=NOW_UTC_MS - 2 * DAY_MS)
    boot = pen.boot(NOW_UTC_MS - 2 * DAY_MS)
    desk.take(pen.hello(oldest_seq=1, t_ms=0), boot)
    session(pen)
    assert verdict(desk, pen) == STALE


def test_a_clock_that_is_ahead_does_not_make_a_grant_old(desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot(NOW_UTC_MS + 2 * DAY_MS)
    desk.take(pen.hello(oldest_seq=1, t_ms=0), boot)
    session(pen)
    assert verdict(desk, pen) == COMPLIANT


def test_without_any_time_a_grant_is_taken_as_good(desk: Desk) -> None:
    pen = HonestPen(grant_utc_ms=NOW_UTC_MS - 30 * DAY_MS)
    pen.boot(utc_ms=None)
    session(pen)
    assert verdict(desk, pen) == ("review", ["CLOCK_UNCERTAIN"]), "the review is for another reason"


def test_a_tapes_time_makes_no_grant_old(desk: Desk) -> None:
    pen = HonestPen(board="virtual", grant_utc_ms=NOW_UTC_MS - 30 * DAY_MS)
    pen.boot()
    session(pen)
    assert verdict(desk, pen) == COMPLIANT


def test_no_work_no_finding(desk: Desk) -> None:
    pen = HonestPen(grant_utc_ms=None)
    pen.boot()
    pen.open(EST, cartridge_tag())
    pen.rest()
    pen.close()
    assert verdict(desk, pen) == COMPLIANT


def test_a_grant_that_comes_before_the_work_is_in_time(desk: Desk) -> None:
    pen = HonestPen(grant_utc_ms=None)
    pen.boot()
    pen.open(EST, cartridge_tag())
    pen.rest()
    pen.grant_taken(NOW_UTC_MS)
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    assert desk.statement("pen-01-1-1")["grant"] == {
        "issued": None,
        "taken": [{"t_ms": 420, "issued": iso(NOW_UTC_MS)}],
    }


def test_a_grant_that_comes_during_the_work_does_not_heal_what_was_before(desk: Desk) -> None:
    pen = HonestPen(grant_utc_ms=NOW_UTC_MS - 30 * DAY_MS)
    pen.boot()
    pen.open(None, cartridge_tag())
    pen.work(300)
    pen.grant_taken(NOW_UTC_MS)
    desk.take(pen.sent)
    desk.restart()
    pen.badge(EST)  # the readings are counted again for the practitioner; the grant is not
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == STALE
    [gone] = [entry for entry in desk.ledger.session_entries("pen-01-1-1") if entry.seq == 4]
    assert gone.kind == "record"


def test_what_was_done_under_a_good_grant_is_not_counted_again_under_none(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(None, cartridge_tag())
    pen.work(300)
    pen.grant_taken(None)  # flash has lost it
    pen.badge(EST)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT


def test_a_grant_taken_outside_its_session_is_refused(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    session(pen)
    pen.grant_taken(NOW_UTC_MS)
    desk.take(pen.sent)
    assert desk.ledger.quarantined(1)[0]["reason"] == "state_invalid"
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}


def test_the_pack_decides_what_a_stale_grant_is_worth(desk: Desk, policy: Policy) -> None:
    strict = changed(
        policy,
        lambda document: document.update(
            rule=[
                replaced | {"outcome": "violation"} if replaced["code"] == "GRANT_STALE" else replaced
                for replaced in document["rule"]
            ]
        ),
    )
    strict_desk = Desk(desk.ledger, strict)
    pen = HonestPen(grant_utc_ms=None)
    pen.boot()
    session(pen)
    assert verdict(strict_desk, pen) == ("violation", ["GRANT_STALE"])


# ---- who gets a grant, and when ----


def due(desk: Desk, later_ms: int = 0) -> set[str]:
    """The pens that get a grant so much later."""
    desk.now_utc_ms += later_ms
    return {answer.topic.split("/")[3] for answer in desk.intake.due_grants()}


def test_every_pen_gets_a_grant_when_the_gateway_starts(desk: Desk) -> None:
    assert due(desk) == {"pen-01", "pen-02", "pen-03"}
    assert due(desk, HOUR_MS) == set()


def test_a_grant_is_sent_again_when_half_its_life_is_over(desk: Desk) -> None:
    due(desk)
    assert due(desk, 12 * HOUR_MS - 60_001) == set()
    assert due(desk, 60_001) == {"pen-01", "pen-02", "pen-03"}


def test_a_hello_s_grant_counts(desk: Desk) -> None:
    pen = HonestPen()
    due(desk)
    desk.now_utc_ms += 11 * HOUR_MS
    desk.take(pen.boot(), pen.hello())
    assert due(desk, HOUR_MS) == {"pen-02", "pen-03"}


def test_only_pens_whose_grant_says_something_else_get_a_new_one(desk: Desk) -> None:
    due(desk)
    lower = [one.model_dump() | {"label_max_mm": 0.3} for one in desk.intake.rules.registry.pen[:1]]
    others = [one.model_dump() for one in desk.intake.rules.registry.pen[1:]]
    desk.ledger.import_registry(clinic(pen=lower + others), {}, NOW_UTC_MS)
    assert desk.intake.reload()
    assert due(desk) == {"pen-01"}


def test_a_change_that_concerns_no_grant_sends_none(desk: Desk) -> None:
    due(desk)
    place = {"id": "harbor", "name": "New", "policy": "default", "medical_director": "md-01"}
    desk.ledger.import_registry(clinic(clinic=place), {}, NOW_UTC_MS)
    assert desk.intake.reload()
    assert due(desk) == set()


def test_a_suspended_licence_permits_nothing(desk: Desk, policy: Policy) -> None:
    suspended = [person("md-01", "physician", "medical", suspended_from=TODAY)]
    permit = grant(policy, clinic(practitioner=suspended)).permits[0]
    assert permit[:3] == ["md-01", 0, 0]
