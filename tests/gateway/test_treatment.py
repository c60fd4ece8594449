"""Sessions as a pen's records tell them: badges early and late, ends that never came, gaps."""

from datetime import date

import pytest
from gateway_clinic import (
    GTIN,
    KEYS,
    NOW_UTC_MS,
    OTHER_GTIN,
    TODAY,
    badge,
    cartridge_tag,
    clinic,
)
from gateway_desk import Desk
from honest_pen import HonestPen

from needletrail_gateway.core.lane import Lane
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import Elsewhere, Rules, RulesAt
from needletrail_protocol import messages
from needletrail_protocol.errors import PAYLOAD_INVALID, STATE_INVALID, ProtocolError
from needletrail_protocol.readings import decode_record
from needletrail_protocol.tables import Message

EST, MD, NURSE = badge("est-01"), badge("md-01"), badge("rn-02")
COMPLIANT: tuple[str, list[str]] = ("compliant", [])


@pytest.fixture
def pen() -> HonestPen:
    """A pen that has booted."""
    pen = HonestPen()
    pen.boot()
    return pen


def verdict(desk: Desk, pen: HonestPen, session: int = 1) -> tuple[str, list[str]]:
    """What becomes of everything that the pen has sealed."""
    desk.take(pen.sent)
    return desk.verdicts()[f"{pen.pen_id}-{pen.epoch}-{session}"]


# ---- a session, counted ----


def test_a_session_is_counted_by_the_definitions(desk: Desk, pen: HonestPen) -> None:
    pen.open(MD, cartridge_tag())
    pen.work(1200, 2000)
    pen.rest(600)
    pen.work(800, 1000)
    pen.rest(600)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    said = desk.statement("pen-01-1-1")
    assert said["peak_mm"] == 1.2
    assert said["passes"] == 2
    assert said["samples"] == said["session_samples"] == 100 + 30 + 50 + 30
    assert said["strokes"] == 2 * 150
    assert said["breach_ms"] == 0
    assert said["policy"] == {"pack": "default", "version": "2026.12.1", "extends": []}
    assert desk.ledger.entries(said["policy_entry"] - 1, most=1)[0].json()["version"] == "2026.12.1"
    assert said["started"] == "2026-07-01T09:00:00.020Z"
    assert said["limited_by"] == "tier medical, pen label, cartridge"
    assert said["alerts"] == []


def test_a_session_lasts_to_its_end_and_not_to_its_last_reading(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.work(300, 1000)
    pen.t_ms += 500
    pen.close()
    verdict(desk, pen)
    assert desk.statement("pen-01-1-1")["session_ms"] == 1500
    assert desk.statement("pen-01-1-1")["ended"] == "2026-07-01T09:00:01.520Z"


def test_depth_counts_only_while_working(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.readings([2000] * 50, contact=False)
    pen.rest(200)  # the motor is on for 100 ms after its last stroke
    pen.readings([2000] * 50, motor=False)
    pen.rest(400, depth_um=300)
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    assert desk.statement("pen-01-1-1")["peak_mm"] == 0.3


@pytest.mark.parametrize(("spike", "peak_mm"), [(1, 0.3), (2, 0.3), (3, 0.9)])
def test_one_or_two_readings_are_no_depth(
    spike: int, peak_mm: float, desk: Desk, pen: HonestPen
) -> None:
    pen.open(EST, cartridge_tag())
    pen.readings([300] * 20 + [900] * spike + [300] * 20)
    pen.close()
    verdict(desk, pen)
    assert desk.statement("pen-01-1-1")["peak_mm"] == peak_mm


@pytest.mark.parametrize(
    ("readings", "expected"),
    [(9, ("review", ["DEPTH_AT_LIMIT"])), (10, ("violation", ["DEPTH_EXCEEDED"]))],
    ids=["180 ms", "200 ms"],
)
def test_a_breach_lasts_200_ms(
    readings: int, expected: tuple[str, list[str]], desk: Desk, pen: HonestPen
) -> None:
    pen.open(EST, cartridge_tag())
    pen.readings([300] * 30 + [900] * readings + [300] * 30)
    pen.close()
    assert verdict(desk, pen) == expected
    assert desk.statement("pen-01-1-1")["breach_ms"] == (200 if readings == 10 else 0)
    assert desk.statement("pen-01-1-1")["over_limit_ms"] == 20 * readings


def test_a_session_without_work_is_compliant_whoever_held_the_pen(desk: Desk, pen: HonestPen) -> None:
    pen.open(badge("nobody"), cartridge_tag(lot="BAD", expires="200101"))
    pen.rest()
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    assert [code for _, code in desk.alert_codes()] == [
        "CARTRIDGE_EXPIRED",
        "CARTRIDGE_RECALLED",
        "PRACTITIONER_UNKNOWN",
    ], "told all the same, before anything happens"


@pytest.mark.parametrize(
    ("silence_ms", "expected"), [(980, COMPLIANT), (1000, ("review", ["RECORD_GAP"]))]
)
def test_a_second_without_readings_is_a_gap(
    silence_ms: int, expected: tuple[str, list[str]], desk: Desk, pen: HonestPen
) -> None:
    pen.open(EST, cartridge_tag())
    pen.work(300)
    pen.t_ms += silence_ms  # the next reading comes 20 ms later still
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == expected


def test_without_a_clock_the_day_of_arrival_is_taken(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot(utc_ms=None)
    pen.open(EST, cartridge_tag(expires="260630"))
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == ("violation", ["CARTRIDGE_EXPIRED", "CLOCK_UNCERTAIN"])
    said = desk.statement("pen-01-1-1")
    assert said["started"] is None
    assert said["session_ms"] == 1000


def test_days_are_those_of_the_treatment_not_of_its_arrival(desk: Desk) -> None:
    pen = HonestPen(grant_utc_ms=NOW_UTC_MS - 30 * 86_400_000)
    pen.boot(pen.grant_utc_ms)  # its records come a month late
    pen.open(badge("old-01"), cartridge_tag(expires="260602"))
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == ("violation", ["DEPTH_EXCEEDED", "LICENSE_EXPIRED"])
    pen.grant_utc_ms = NOW_UTC_MS - 31 * 86_400_000
    pen.boot(pen.grant_utc_ms)
    pen.open(badge("old-01"), cartridge_tag("000009", expires="260531"))
    pen.work(300)
    pen.close()
    assert verdict(desk, pen, 2) == COMPLIANT


# ---- badges ----


def test_a_badge_before_any_work_replaces_the_practitioner(desk: Desk, pen: HonestPen) -> None:
    pen.open(badge("nobody"), cartridge_tag())
    pen.rest()
    pen.badge(EST)
    pen.badge(MD)
    pen.work(1500)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    assert desk.statement("pen-01-1-1")["practitioner"] == "md-01"
    assert desk.ledger.session("pen-01-1-1")["practitioner"] == "md-01"
    assert desk.ledger.session("pen-01-1-1")["limit_um"] == 2500


def test_a_badge_after_work_by_nobody_counts_for_the_whole_session(desk: Desk, pen: HonestPen) -> None:
    pen.open(None, cartridge_tag())
    pen.work(1500)
    desk.take(pen.sent)
    assert desk.alert_codes() == [("pen-01-1-1", "DEPTH_EXCEEDED")], "deeper than without a badge"
    pen.badge(MD)
    pen.work(1500)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    assert desk.statement("pen-01-1-1")["breach_ms"] == 0
    assert desk.statement("pen-01-1-1")["samples"] == 100


def test_a_late_badge_finds_the_breach_in_what_came_before_it(desk: Desk, pen: HonestPen) -> None:
    pen.open(None, cartridge_tag())
    pen.work(480)
    pen.badge(badge("nobody"))
    pen.close()
    assert verdict(desk, pen) == ("violation", ["DEPTH_EXCEEDED", "PRACTITIONER_UNKNOWN"])
    assert ("pen-01-1-1", "DEPTH_EXCEEDED") in desk.alert_codes()


def test_a_session_without_any_badge_goes_to_review(desk: Desk, pen: HonestPen) -> None:
    pen.open(None, cartridge_tag())
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == ("review", ["PRACTITIONER_MISSING"])


def test_a_second_badge_after_work_leaves_a_doubt(desk: Desk, pen: HonestPen) -> None:
    """A pen ends the session instead; if one does not, nobody knows who did which part."""
    pen.open(EST, cartridge_tag())
    pen.work(300)
    pen.badge(MD)
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == ("review", ["RECORD_GAP"])
    assert desk.statement("pen-01-1-1")["practitioner"] == "est-01"


def test_two_people_may_use_one_cartridge_that_never_left_the_pen(desk: Desk, pen: HonestPen) -> None:
    for who, cause in ((EST, messages.OPENED_BY_CARTRIDGE), (MD, messages.OPENED_BY_BADGE)):
        pen.open(who, cartridge_tag(), cause)
        pen.work(300)
        pen.close(messages.CLOSED_BY_BADGE)
    assert verdict(desk, pen, 1) == verdict(desk, pen, 2) == COMPLIANT


# ---- cartridges over sessions ----


def work_with(pen: HonestPen, tag: bytes | None) -> None:
    pen.open(EST, tag)
    pen.work(300)
    pen.close()


def test_a_cartridge_used_again_is_a_reuse(desk: Desk, pen: HonestPen) -> None:
    work_with(pen, cartridge_tag())
    work_with(pen, cartridge_tag())
    work_with(pen, cartridge_tag("000002"))
    assert verdict(desk, pen, 1) == COMPLIANT
    assert verdict(desk, pen, 2) == ("violation", ["CARTRIDGE_REUSED"])
    assert verdict(desk, pen, 3) == COMPLIANT


def test_a_cartridge_that_never_worked_can_still_be_used(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.rest()
    pen.close()
    work_with(pen, cartridge_tag())
    assert verdict(desk, pen, 2) == COMPLIANT


def test_a_multi_use_cartridge_is_never_a_reuse(desk: Desk, pen: HonestPen) -> None:
    for _ in range(2):
        work_with(pen, cartridge_tag(gtin=OTHER_GTIN, lot="LOT25Q"))
    assert verdict(desk, pen, 1) == verdict(desk, pen, 2) == COMPLIANT


@pytest.mark.parametrize("first_to_arrive", ["pen-01", "pen-02"])
def test_of_two_pens_with_one_cartridge_a_reuse_is_seen_whoever_arrives_first(
    first_to_arrive: str, desk: Desk
) -> None:
    pens = [HonestPen("pen-01"), HonestPen("pen-02")]
    for number, pen in enumerate(pens):
        pen.boot(NOW_UTC_MS + 600_000 * number)
        work_with(pen, cartridge_tag())
    for pen in sorted(pens, key=lambda pen: pen.pen_id != first_to_arrive):
        desk.take(pen.sent)
    outcomes = [desk.verdicts()[f"{pen.pen_id}-1-1"] for pen in pens]
    assert outcomes == [COMPLIANT, ("violation", ["CARTRIDGE_REUSED"])], "the later one is the reuse"
    assert desk.alert_codes() == [("pen-02-1-1", "CARTRIDGE_REUSED")]


def test_the_same_serial_of_another_product_is_another_cartridge(desk: Desk, pen: HonestPen) -> None:
    work_with(pen, cartridge_tag(gtin=OTHER_GTIN, lot="LOT25Q"))
    work_with(pen, cartridge_tag(gtin=GTIN))
    assert verdict(desk, pen, 2) == COMPLIANT


def test_without_a_tag_single_use_can_not_be_shown(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, None, messages.OPENED_BY_MOTOR)
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == ("review", ["CARTRIDGE_MISSING"])
    said = desk.statement("pen-01-1-1")
    assert (said["cartridge"], said["session_samples"]) == (None, None)
    assert said["samples"] == 50


# ---- ends that never came ----


@pytest.mark.parametrize("what", ["boot", "open"])
def test_a_session_that_another_beginning_cuts_off_has_a_gap(
    what: str, desk: Desk, pen: HonestPen
) -> None:
    pen.open(EST, cartridge_tag())
    pen.work(300)
    if what == "boot":
        pen.boot()
    else:
        pen.open(EST, cartridge_tag("000002"))
    assert verdict(desk, pen) == ("review", ["RECORD_GAP"])
    assert desk.statement("pen-01-1-1")["samples"] == 50


# ---- the lane: what is impossible leaves it as it was ----


def by(rules: Rules) -> RulesAt:
    """The same rules at any time."""
    return lambda _utc_ms: rules


def no_use(_treatment: object) -> None:
    return None


def on_the_day() -> date:
    return TODAY


def state(lane: Lane) -> tuple[object, ...]:
    treatment = lane.treatment
    if treatment is None:
        return lane.next_seq, lane.boot_utc_ms, lane.last_use_id, lane.last_session, None
    meter = treatment.meter
    inside = (
        treatment.session_id,
        treatment.has_gap,
        treatment.badge,
        treatment.last_t_ms,
        treatment.scope,
        meter.samples,
        meter.strokes,
        meter.peak_counts,
        meter.breach_ms(),
        frozenset(treatment.alerted),
    )
    return lane.next_seq, lane.boot_utc_ms, lane.last_use_id, lane.last_session, inside


def record(kind: int, *fields: object) -> Message:
    return decode_record(messages.encode_record(kind, fields))


COLUMN = b"\x88"
IMPOSSIBLE = [
    (record(messages.CLOSE, 4, 5_000, 9, 0, 0, None, 0), STATE_INVALID),
    (record(messages.BADGE, 4, 5_000, 9, MD), STATE_INVALID),
    (record(messages.OPEN, 4, 5_000, 1, 0, EST, None, [], 0, None), STATE_INVALID),
    (record(messages.GRANT_TAKEN, 4, 5_000, 9, 1), STATE_INVALID),
    (
        record(messages.SAMPLES, 4, 5_000, 9, 20, 1, 300, COLUMN, 0, COLUMN, b"\x01"),
        STATE_INVALID,
    ),
    (record(messages.SAMPLES, 4, 10, 1, 20, 1, 300, COLUMN, 0, COLUMN, b"\x01"), STATE_INVALID),
    (
        record(messages.SAMPLES, 4, 5_000, 1, 20, 1, 300, b"\x81", 0, COLUMN, b"\x01"),
        PAYLOAD_INVALID,
    ),
    (
        record(messages.SAMPLES, 4, 5_000, 1, 20, 1, 300, COLUMN, 0, COLUMN, b"\x07"),
        PAYLOAD_INVALID,
    ),
    (
        record(messages.SAMPLES, 4, 5_000, 1, 20, 1, 0, b"\x18", 0, COLUMN, b"\x01"),
        PAYLOAD_INVALID,
    ),
]


@pytest.fixture
def lane(policy: Policy, registry: Registry) -> Lane:
    """A lane with a session open in which there was work; it awaits record 4."""
    pen = HonestPen()
    pen.boot()
    pen.open(EST, cartridge_tag())
    pen.work(300)
    lane = Lane("pen-01", 1)
    for sent in pen.sent:
        one = decode_record(sent.payload)
        lane.advance(one, by(Rules(policy, registry)), on_the_day, Elsewhere(no_use))
    return lane


def test_two_readings_of_a_session_have_two_times(
    lane: Lane, policy: Policy, registry: Registry
) -> None:
    """Else a time series, which knows them by their times, would keep one of them."""
    assert lane.treatment is not None
    last_t_ms = lane.treatment.last_t_ms
    again, next_one = (
        record(messages.SAMPLES, 4, t_ms, 1, 20, 1, 300, COLUMN, 0, COLUMN, b"\x01")
        for t_ms in (last_t_ms, last_t_ms + 1)
    )
    before = state(lane)
    with pytest.raises(ProtocolError, match="not after those already sent"):
        lane.advance(again, by(Rules(policy, registry)), on_the_day, Elsewhere(no_use))
    assert state(lane) == before
    lane.advance(next_one, by(Rules(policy, registry)), on_the_day, Elsewhere(no_use))
    assert lane.next_seq == 5


@pytest.mark.parametrize(("impossible", "reason"), IMPOSSIBLE)
def test_what_is_impossible_leaves_the_lane_as_it_was(
    impossible: Message, reason: str, lane: Lane, policy: Policy, registry: Registry
) -> None:
    before = state(lane)
    with pytest.raises(ProtocolError) as caught:
        lane.advance(impossible, by(Rules(policy, registry)), on_the_day, Elsewhere(no_use))
    assert caught.value.reason == reason
    assert state(lane) == before


def test_skipping_marks_the_session_and_goes_on(lane: Lane) -> None:
    lane.skip()
    assert lane.next_seq == 5
    assert lane.treatment is not None
    assert lane.treatment.has_gap


def test_losing_goes_on_behind_what_was_lost(lane: Lane) -> None:
    lane.lose(9)
    assert lane.next_seq == 9
    assert lane.treatment is not None
    assert lane.treatment.has_gap


def test_between_sessions_there_is_nothing_to_mark(desk: Desk, pen: HonestPen, lane: Lane) -> None:
    work_with(pen, cartridge_tag())
    pen.lose(2)
    work_with(pen, cartridge_tag("000002"))
    assert verdict(desk, pen, 1) == verdict(desk, pen, 2) == COMPLIANT


def test_a_record_out_of_turn_is_the_callers_mistake(
    lane: Lane, policy: Policy, registry: Registry
) -> None:
    later = record(messages.CLOSE, 5, 5_000, 1, 0, 0, None, 0)
    with pytest.raises(ValueError, match="5 where 4 is awaited"):
        lane.advance(later, by(Rules(policy, registry)), on_the_day, Elsewhere(no_use))


def test_the_opening_of_a_pen_that_left_the_registry_is_refused(desk: Desk, pen: HonestPen) -> None:
    lane = Lane("pen-77", 1)
    boot = record(messages.BOOT, 1, 0, 1, None, "x", "x")
    rules = Rules(desk.intake.rules.policy, clinic())
    lane.advance(boot, by(rules), on_the_day, Elsewhere(no_use))
    with pytest.raises(ProtocolError, match="left the registry"):
        lane.advance(
            record(messages.OPEN, 2, 0, 1, 0, None, None, [], 0, None),
            by(rules),
            on_the_day,
            Elsewhere(no_use),
        )
    assert "pen-77" not in KEYS


def test_two_records_for_one_place_are_found_while_the_session_runs(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.work(300)
    desk.take(pen.sent)
    pen.seq -= 1
    other = pen.work(200)[-1]
    assert desk.take(other).repeats
    pen.close()
    desk.take(pen.sent[-1])
    assert desk.verdicts()["pen-01-1-1"] == ("violation", ["RECORD_TAMPERED"])


def test_two_records_for_one_place_are_found_after_the_session(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.work(300)
    pen.close()
    assert verdict(desk, pen) == COMPLIANT
    pen.seq -= 2
    other = pen.work(200)[-1]
    for _ in range(2):
        desk.take(other)
    assert desk.verdicts()["pen-01-1-1"] == ("violation", ["RECORD_TAMPERED"])
    assert desk.statement("pen-01-1-1")["because"] == "conflict"
    kinds = [entry.kind for entry in desk.ledger.session_entries("pen-01-1-1")]
    assert (kinds.count("conflict"), kinds.count("verdict")) == (1, 2), "said once"


def test_a_gateway_that_was_killed_amends_when_it_comes_back(desk: Desk) -> None:
    first, second = HonestPen("pen-01"), HonestPen("pen-02")
    for number, pen in enumerate((first, second)):
        pen.boot(NOW_UTC_MS + 600_000 * number)
        work_with(pen, cartridge_tag())
    desk.take(second.sent)
    desk.receive(first.sent)
    group, desk.intake.group = desk.intake.group, type(desk.intake.group)()
    assert desk.ledger.commit(group, desk.now_utc_ms) == {"pen-02-1-1": "late record"}
    assert desk.verdicts()["pen-02-1-1"] == COMPLIANT
    desk.restart()
    assert desk.verdicts()["pen-02-1-1"] == ("violation", ["CARTRIDGE_REUSED"])
