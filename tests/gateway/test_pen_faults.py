"""What a pen tells of itself: a part that failed, and that it did not start."""

import pytest
import structlog
from gateway_clinic import badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from structlog.testing import capture_logs

EST = badge("est-01")
COMPLIANT: tuple[str, list[str]] = ("compliant", [])
FAULTY: tuple[str, list[str]] = ("review", ["SENSOR_FAULT"])


@pytest.fixture
def pen() -> HonestPen:
    """A pen that has booted."""
    pen = HonestPen()
    pen.boot()
    return pen


def session(pen: HonestPen, serial: str = "000001") -> None:
    pen.open(EST, cartridge_tag(serial))
    pen.work(300)
    pen.close()


def test_a_part_that_fails_in_a_session_is_named(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.work(300)
    pen.fault("dial", "no magnet")
    pen.work(300)
    pen.fault("dial", "no magnet", is_over=True)
    pen.close()
    session(pen, "000002")
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": FAULTY, "pen-01-1-2": COMPLIANT}
    assert desk.statement("pen-01-1-1")["faults"] == [
        {"part": "dial", "fault": "no magnet", "t_ms": 1020, "is_over": False},
        {"part": "dial", "fault": "no magnet", "t_ms": 2020, "is_over": True},
    ]
    assert desk.statement("pen-01-1-2")["faults"] == []
    kinds = [entry.kind for entry in desk.ledger.session_entries("pen-01-1-1")]
    assert kinds == ["record"] * 6 + ["verdict"], "the fault is among the session's entries"


def test_a_part_that_failed_and_saw_no_work_is_told_too(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.rest()
    pen.fault("tachometer")
    pen.close()
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": FAULTY}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_fault_that_stood_before_the_session_counts_in_it(
    is_restarted: bool, desk: Desk, pen: HonestPen
) -> None:
    pen.fault("dial", "too weak")
    desk.take(pen.sent)
    if is_restarted:
        desk.restart()
    pen.open(EST, cartridge_tag())
    pen.work(300)
    desk.take(pen.sent)
    if is_restarted:
        desk.restart()
    pen.work(300)
    pen.close()
    pen.fault("dial", "too weak", is_over=True)
    session(pen, "000002")
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": FAULTY, "pen-01-1-2": COMPLIANT}
    assert desk.statement("pen-01-1-1")["faults"] == [
        {"part": "dial", "fault": "too weak", "t_ms": None, "is_over": False}
    ]


def test_one_part_that_works_again_does_not_heal_another(desk: Desk, pen: HonestPen) -> None:
    pen.fault("dial")
    pen.fault("skin")
    pen.fault("dial", is_over=True)
    session(pen)
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": FAULTY}
    found = desk.statement("pen-01-1-1")["faults"]
    assert isinstance(found, list)
    assert [fault["part"] for fault in found] == ["skin"]


def test_a_boot_looks_at_every_part_anew(desk: Desk, pen: HonestPen) -> None:
    pen.fault("dial")
    pen.boot()
    session(pen)
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}


def test_outside_of_sessions_both_are_kept_and_logged(desk: Desk, pen: HonestPen) -> None:
    structlog.reset_defaults()
    sent = [
        pen.fault("battery", "low"),
        pen.fault("battery", "low", is_over=True),
        pen.not_armed("no_grant"),
    ]
    with capture_logs() as logs:
        desk.take(pen.sent)
    assert [
        (line["event"], line.get("part", line.get("reason")))
        for line in logs
        if line["log_level"] == "warning"
    ] == [
        ("a part of a pen failed", "battery"),
        ("a part works again", "battery"),
        ("a pen was not armed", "no_grant"),
    ]
    kept = [entry for entry in desk.ledger.records("pen-01", 1, 2)]
    assert [entry.body for entry in kept] == [one.message for one in sent]
    assert {(entry.kind, entry.session_id) for entry in kept} == {("record", None)}
    assert desk.verdicts() == {}
    assert desk.ledger.quarantined() == []


def test_a_warning_instead_of_a_refusal_changes_no_verdict(desk: Desk, pen: HonestPen) -> None:
    pen.open(EST, cartridge_tag())
    pen.not_armed("grant_expired")
    pen.work(300)
    pen.close()
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}
    assert [entry.seq for entry in desk.ledger.session_entries("pen-01-1-1")][:2] == [2, 3]


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("battery", "low"),
        ("battery", "range"),
        ("current", "bus"),
        ("current", "stuck"),
        ("current", "range"),
        ("grant", "damaged"),
        ("grant", "write"),
        ("firmware", "rolled_back"),
    ],
)
@pytest.mark.parametrize("is_before", [False, True])
def test_a_part_that_the_record_does_not_need_is_named_and_raises_no_doubt(
    part: str, fault: str, is_before: bool, desk: Desk, pen: HonestPen
) -> None:
    if is_before:
        pen.fault(part, fault)
    pen.open(EST, cartridge_tag())
    pen.work(300)
    if not is_before:
        pen.fault(part, fault)
    pen.close()
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}
    found = desk.statement("pen-01-1-1")["faults"]
    assert isinstance(found, list)
    assert [(one["part"], one["fault"]) for one in found] == [(part, fault)]


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("dial", "magnet_weak"),
        ("strokes", "range"),
        ("skin", "stuck"),
        ("current", "disagrees"),
        ("tags", "bus"),
        ("calibration", "drift"),
        ("journal", "lost"),
        ("journal", "full"),
        ("clock", "range"),
        ("a part of next year", "gone"),
    ],
)
def test_a_part_that_the_record_needs_leaves_no_session_compliant(
    part: str, fault: str, desk: Desk, pen: HonestPen
) -> None:
    pen.fault(part, fault)
    session(pen)
    desk.take(pen.sent)
    assert desk.verdicts() == {"pen-01-1-1": FAULTY}
