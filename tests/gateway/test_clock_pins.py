"""Clock pins: a pen without a clock, or with a wrong one, is judged by the time that it really was."""

from typing import Any

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen

from needletrail_gateway.core.clock import BootClock, Pin, boot_clock, new_pin
from needletrail_gateway.core.packs.model import ClockRule, Policy
from needletrail_gateway.core.treatment import iso
from needletrail_gateway.series.making import Lines, Maker, time_of
from needletrail_protocol import conversation
from needletrail_protocol.tables import Message

RULE = ClockRule(agrees_within_s=10)
NEAR_MS = RULE.agrees_within_ms
YEAR_MS = 365 * 86_400_000
DAY_MS = 86_400_000
EST, OLD = badge("est-01"), badge("old-01")
COMPLIANT: tuple[str, list[str]] = ("compliant", [])


def hello(t_ms: int | None, utc_ms: int | None = None, boot: int = 1) -> Message:
    fields = (1, 1, boot, "test", None, 0, 1, t_ms, utc_ms)
    return conversation.decode_hello(conversation.encode_hello(fields))


# ---- which clock counts ----


@pytest.mark.parametrize(
    ("device", "pinned", "source", "counts", "offset_ms"),
    [
        (None, None, "none", None, None),
        (1_000_000, None, "pen", 1_000_000, None),
        (None, 1_000_000, "gateway", 1_000_000, None),
        (1_000_000, 1_000_000 + NEAR_MS, "pen", 1_000_000, NEAR_MS),
        (1_000_000, 1_000_000 - NEAR_MS, "pen", 1_000_000, -NEAR_MS),
        (1_000_000, 1_000_001 + NEAR_MS, "gateway", 1_000_001 + NEAR_MS, NEAR_MS + 1),
        (1_000_000, 999_999 - NEAR_MS, "gateway", 999_999 - NEAR_MS, -NEAR_MS - 1),
    ],
)
def test_the_pens_clock_counts_while_it_agrees_with_the_gateways(
    device: int | None, pinned: int | None, source: str, counts: int | None, offset_ms: int | None
) -> None:
    clock = BootClock(device, pinned, NEAR_MS)
    assert (clock.source, clock.boot_utc_ms, clock.offset_ms) == (source, counts, offset_ms)


def test_a_hello_pins_its_boot_once_until_the_clocks_drift_apart() -> None:
    first = new_pin(hello(5_000, 77), 1_000_000, [], RULE)
    assert first == Pin(1, 5_000, 1_000_000, 77)
    assert first.boot_utc_ms == 995_000
    for late_ms in (0, NEAR_MS, -NEAR_MS):
        assert new_pin(hello(65_000), 1_060_000 + late_ms, [first], RULE) is None
    drifted = new_pin(hello(65_000), 1_060_001 + NEAR_MS, [first], RULE)
    assert drifted == Pin(1, 65_000, 1_060_001 + NEAR_MS, None)
    assert new_pin(hello(66_000), 1_061_001 + NEAR_MS, [first, drifted], RULE) is None
    assert new_pin(hello(5_000, boot=2), 1_000_000, [first], RULE) == Pin(2, 5_000, 1_000_000, None)


def test_a_simulated_time_and_one_from_before_1970_pin_nothing() -> None:
    assert new_pin(hello(None, 77), 1_000_000, [], RULE) is None
    assert new_pin(hello(1_000_001), 1_000_000, [], RULE) is None
    assert new_pin(hello(1_000_000), 1_000_000, [], RULE) == Pin(1, 1_000_000, 1_000_000, None)


def test_what_begins_takes_the_newest_pin_until_then() -> None:
    pins = [Pin(1, 1_000, 100_000, None), Pin(2, 1_000, 500_000, None), Pin(1, 9_000, 200_000, None)]

    def pinned(boot: int, t_ms: int) -> int | None:
        return boot_clock(None, "esp32-s3", boot, t_ms, pins, RULE).boot_utc_ms

    assert pinned(1, 0) == pinned(1, 8_999) == 99_000, "before the first pin: the first"
    assert pinned(1, 9_000) == 191_000
    assert pinned(2, 50_000) == 499_000
    assert pinned(3, 0) is None
    assert boot_clock(7, "virtual", None, 0, [], RULE).is_simulated


# ---- through the intake ----


def session(pen: HonestPen, who: bytes = EST, serial: str = "000001", expires: str = "271231") -> None:
    pen.open(who, cartridge_tag(serial, expires=expires))
    pen.work(300)
    pen.close()


def pins(desk: Desk) -> list[dict[str, Any]]:
    return [entry.json() for entry in desk.ledger.entries(kind="pin")]


def clock_of(desk: Desk, session_id: str = "pen-01-1-1") -> Any:
    return desk.statement(session_id)["clock"]


def test_a_pen_without_a_clock_is_pinned_by_its_hello(desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot(utc_ms=None)
    desk.take(pen.hello(oldest_seq=1, t_ms=4_000), boot)
    session(pen)
    desk.take(pen.sent[2:])
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}
    started = iso(NOW_UTC_MS - 4_000 + 20)
    assert clock_of(desk) == {
        "source": "gateway",
        "device": None,
        "corrected": started,
        "offset_ms": None,
    }
    assert desk.statement("pen-01-1-1")["started"] == started
    assert desk.ledger.session("pen-01-1-1")["started_utc_ms"] == NOW_UTC_MS - 4_000 + 20
    assert pins(desk) == [
        {
            "pen": "pen-01",
            "epoch": 1,
            "boot": 1,
            "t_ms": 4_000,
            "gateway_utc_ms": NOW_UTC_MS,
            "device_utc_ms": None,
            "offset_ms": None,
        }
    ]
    kinds = [entry.kind for entry in desk.ledger.entries() if entry.pen == "pen-01"]
    assert kinds.index("pin") < kinds.index("record"), "it comes before what it is about"


def test_a_clock_that_is_a_year_behind_is_corrected(desk: Desk) -> None:
    """By its own clock the pen worked under a good licence and with a fresh cartridge."""
    pen = HonestPen()
    boot = pen.boot(NOW_UTC_MS - YEAR_MS)
    desk.take(pen.hello(oldest_seq=1, t_ms=4_000, utc_ms=NOW_UTC_MS - YEAR_MS + 4_000), boot)
    session(pen, OLD, expires="260630")
    desk.take(pen.sent[2:])
    assert desk.verdicts() == {
        "pen-01-1-1": ("violation", ["CARTRIDGE_EXPIRED", "DEPTH_EXCEEDED", "LICENSE_EXPIRED"])
    }
    offset_ms = YEAR_MS - 4_000
    assert clock_of(desk) == {
        "source": "gateway",
        "device": iso(NOW_UTC_MS - YEAR_MS + 20),
        "corrected": iso(NOW_UTC_MS - 4_000 + 20),
        "offset_ms": offset_ms,
    }
    assert pins(desk)[0]["offset_ms"] == offset_ms


def test_a_clock_that_is_a_year_ahead_does_not_accuse_anybody(desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot(NOW_UTC_MS + 2 * YEAR_MS)
    desk.take(pen.hello(oldest_seq=1, t_ms=0, utc_ms=NOW_UTC_MS + 2 * YEAR_MS), boot)
    session(pen)
    desk.take(pen.sent[2:])
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}
    assert desk.statement("pen-01-1-1")["started"] == iso(NOW_UTC_MS + 20)


@pytest.mark.parametrize("late_ms", [0, 5_000, NEAR_MS])
def test_an_honest_clock_counts_however_slow_the_network_is(late_ms: int, desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot(NOW_UTC_MS)
    desk.now_utc_ms = NOW_UTC_MS + 4_000 + late_ms
    desk.take(pen.hello(oldest_seq=1, t_ms=4_000, utc_ms=NOW_UTC_MS + 4_000), boot)
    session(pen)
    desk.take(pen.sent[2:])
    assert desk.statement("pen-01-1-1")["started"] == iso(NOW_UTC_MS + 20)
    assert clock_of(desk)["source"] == "pen"
    assert clock_of(desk)["offset_ms"] == late_ms


def test_a_boot_that_was_never_pinned_and_had_no_clock_goes_to_review(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot(utc_ms=None)
    session(pen)
    pen.boot(utc_ms=None)
    desk.take(pen.hello(oldest_seq=1, t_ms=4_000), pen.sent)  # the second boot is pinned, not the first
    session(pen, serial="000002")
    desk.take(pen.sent)
    assert desk.verdicts() == {
        "pen-01-1-1": ("review", ["CLOCK_UNCERTAIN"]),
        "pen-01-1-2": COMPLIANT,
    }
    assert desk.statement("pen-01-1-1")["started"] is None
    assert clock_of(desk) == {
        "source": "none",
        "device": None,
        "corrected": None,
        "offset_ms": None,
    }


def test_a_clock_from_before_the_grants_issue_is_not_believed(desk: Desk) -> None:
    """Nobody pinned this boot; but a grant that the pen held was issued after what its clock said."""
    for behind_ms, expected in (
        (NEAR_MS, COMPLIANT),
        (NEAR_MS + 21, ("review", ["CLOCK_UNCERTAIN"])),
    ):
        pen = HonestPen("pen-01" if expected == COMPLIANT else "pen-02")
        pen.boot(NOW_UTC_MS - behind_ms)
        session(pen, serial=pen.pen_id)
        desk.take(pen.sent)
        assert desk.verdicts()[f"{pen.pen_id}-1-1"] == expected


def test_three_boots_wait_for_one_connection_and_keep_their_own_pins(desk: Desk) -> None:
    """A backlog of boots of which two were heard and one was not."""
    pen = HonestPen()
    for number in range(3):
        desk.now_utc_ms = NOW_UTC_MS + number * 3_600_000
        pen.boot(utc_ms=None)
        if number != 1:
            desk.take(pen.hello(oldest_seq=1, t_ms=1_000))
        session(pen, serial=f"{number:06d}")
    desk.restart()
    desk.take([sent for sent in pen.sent if sent.topic.endswith("/record")])
    started = [desk.statement(f"pen-01-1-{number}")["started"] for number in (1, 2, 3)]
    assert started == [
        iso(NOW_UTC_MS - 1_000 + 20),
        None,
        iso(NOW_UTC_MS + 7_200_000 - 1_000 + 20),
    ]


def test_a_drift_within_a_boot_is_pinned_again_for_what_comes_later(desk: Desk) -> None:
    pen = HonestPen()
    desk.take(
        pen.hello(oldest_seq=1, t_ms=0), pen.boot(utc_ms=None)
    )  # boot 0's hello pins nothing here
    desk.take(pen.hello(t_ms=0))
    session(pen)
    desk.take(pen.sent[3:])
    pen.t_ms = DAY_MS  # the pen's quartz is slow: by the gateway it took 20 s longer
    desk.now_utc_ms = NOW_UTC_MS + DAY_MS + 20_000
    pen.grant_utc_ms = desk.now_utc_ms
    desk.take(pen.hello(t_ms=DAY_MS), pen.hello(t_ms=DAY_MS))
    session(pen, serial="000002")
    desk.take(pen.sent[-3:])
    assert [pin["boot"] for pin in pins(desk)] == [0, 1, 1]
    assert desk.statement("pen-01-1-1")["started"] == iso(NOW_UTC_MS + 20)
    assert desk.statement("pen-01-1-2")["started"] == iso(NOW_UTC_MS + DAY_MS + 20_000 + 20)


def test_a_hello_that_is_heard_again_pins_nothing(desk: Desk) -> None:
    """Whoever can hold a message up or send it again must not be able to move the time."""
    pen = HonestPen()
    boot = pen.boot(utc_ms=None)
    first, second = pen.hello(oldest_seq=1, t_ms=1_000), pen.hello(oldest_seq=1, t_ms=2_000)
    desk.take(second, boot)
    for is_restarted in (False, True):
        desk.now_utc_ms += DAY_MS
        if is_restarted:
            desk.restart()
        answers = desk.receive(first, second)
        assert len(answers) == 2, "answered it is"
        desk.commit()
    assert [pin["t_ms"] for pin in pins(desk)] == [2_000]
    session(pen)
    desk.take(pen.sent[-3:])
    assert desk.statement("pen-01-1-1")["started"] == iso(NOW_UTC_MS - 2_000 + 20)


def test_two_pens_have_a_time_of_their_own(desk: Desk) -> None:
    wrong, right = HonestPen("pen-01"), HonestPen("pen-02")
    for pen, utc_ms in ((wrong, NOW_UTC_MS - YEAR_MS), (right, NOW_UTC_MS)):
        boot = pen.boot(utc_ms)
        desk.take(pen.hello(oldest_seq=1, t_ms=0, utc_ms=utc_ms), boot)
        session(pen, serial="000001")
        desk.take(pen.sent[2:])
    assert desk.verdicts() == {
        "pen-01-1-1": COMPLIANT,
        "pen-02-1-1": ("violation", ["CARTRIDGE_REUSED"]),
    }, "at the same moment; by its own clock the first one was long ago"
    assert clock_of(desk, "pen-02-1-1")["offset_ms"] == 0


def test_a_session_goes_on_under_its_pin_over_a_restart(new_ledger: NewLedger, policy: Policy) -> None:
    """A pin that came when the session was already open must not move it, restart or not."""
    statements = []
    for is_restarted in (False, True):
        desk = Desk(new_ledger(), policy)
        pen = HonestPen()
        desk.take(pen.boot(utc_ms=None), pen.open(EST, cartridge_tag()))
        desk.take(pen.hello(t_ms=60_000))
        if is_restarted:
            desk.restart()
        pen.work(300)
        pen.close()
        desk.take(pen.sent)
        statements.append(desk.statement("pen-01-1-1"))
    assert statements[0] == statements[1]
    assert statements[0]["reasons"] == ["CLOCK_UNCERTAIN"]


def test_points_stand_at_the_corrected_time(desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot(NOW_UTC_MS - YEAR_MS)
    desk.take(pen.hello(oldest_seq=1, t_ms=0), boot)
    session(pen)
    desk.take(pen.sent[2:])
    lines, maker = Lines(), Maker(desk.ledger)
    maker.tell(desk.ledger.entries(), lines)
    maker.finish(lines)
    depths = [time_of(line) // 1_000_000 for line in lines.raw]
    assert depths == [NOW_UTC_MS + 40 + 20 * number for number in range(50)]
    [start] = [time_of(line) // 1_000_000 for line in lines.long if line.startswith("session,")]
    assert start == NOW_UTC_MS + 20


def test_a_tape_is_never_pinned_and_its_time_is_its_own(desk: Desk) -> None:
    pen = HonestPen(board="virtual", grant_utc_ms=NOW_UTC_MS + YEAR_MS)
    boot = pen.boot(NOW_UTC_MS)
    desk.take(pen.hello(oldest_seq=1), boot)
    session(pen)
    desk.take(pen.sent[2:])
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT}
    assert pins(desk) == []
