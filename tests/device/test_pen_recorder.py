"""From readings and tags to records: what stands in the journal after each small story."""

# This file also runs on MicroPython, which lacks what these rules ask for.

import gc

from limit_fakes import AIR, CONTACT, Pen
from pen_fakes import (
    BADGE_1,
    BADGE_1_AGAIN,
    BADGE_2,
    CARTRIDGE_1,
    CARTRIDGE_2,
    grant_message,
)

from needletrail_protocol import conversation, messages
from needletrail_protocol.readings import Readings

B, O, S, C = messages.BADGE, messages.OPEN, messages.SAMPLES, messages.CLOSE  # noqa: E741
LOCAL_BREACH = messages.LOCAL_BREACH


def test_the_opening_row_and_the_removal_row_belong_to_the_session():
    pen = Pen()
    pen.run(7, counts=450)
    pen.run(60, event="cartridge", tag=CARTRIDGE_1)
    pen.run(5, event="removed")
    assert pen.kinds() == [O, S, S, C]
    opened, close = pen.of(O)[0], pen.of(C)[0]
    assert (opened.t_ms, opened.cause, opened.cartridge) == (140, 0, CARTRIDGE_1)
    assert (opened.badge, opened.lead, opened.strokes) == (None, [450] * 4, 0)
    assert pen.times() == list(range(140, 140 + 61 * 20, 20))
    assert (close.t_ms, close.cause) == (140 + 60 * 20, messages.CLOSED_BY_REMOVAL)
    assert (close.passes, close.peak_counts, close.breach_ms) == (0, None, 0)
    assert pen.told == ["opened", "closed"]


def test_lead_holds_the_readings_just_before_and_never_more_than_there_are():
    for before in range(7):
        pen = Pen()
        for counts in range(before):
            pen.run(1, counts=counts)
        pen.run(1, event="cartridge", tag=CARTRIDGE_1)
        assert pen.of(O)[0].lead == list(range(before))[-4:]


def test_the_motor_opens_with_its_first_stroke_inside():
    pen = Pen()
    pen.run(3)
    pen.run(10, motor=True)
    pen.recorder.power_off()
    opened = pen.of(O)[0]
    assert (opened.t_ms, opened.cause, opened.cartridge, opened.strokes) == (60, 1, None, 0)
    assert Readings(pen.of(S)[0]).strokes[0] == 2
    assert pen.times()[0] == 60
    close = pen.of(C)[0]
    assert (close.cause, close.t_ms) == (messages.CLOSED_BY_POWER_OFF, 240)


def test_strokes_before_the_first_reading_are_no_motor_start():
    pen = Pen()
    pen.strokes = 5000
    pen.recorder.begin(5000)
    pen.run(5)
    assert pen.kinds() == []
    pen.run(1, event="cartridge", tag=CARTRIDGE_1)
    assert pen.of(O)[0].strokes == 5000


def test_a_full_second_is_written_at_once():
    pen = Pen()
    pen.run(49, event="cartridge", tag=CARTRIDGE_1)
    assert pen.kinds() == [O]
    pen.run(1)
    assert pen.kinds() == [O, S]
    assert pen.journal.open_t_ms == 49 * 20


def test_a_hole_and_a_stray_reading_begin_another_record():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.t_ms += 20
    pen.run(5)
    pen.t_ms += 8
    pen.run(5)
    pen.t_ms -= 7
    pen.run(5, event=None)
    pen.recorder.power_off()
    counts = [record.count for record in pen.of(S)]
    assert counts == [5, 5, 10]
    assert pen.times() == [0, 20, 40, 60, 80, 120, 140, 160, 180, 200, 228, 248, 268, 288, 308] + [
        321,
        341,
        361,
        381,
        401,
    ]


def test_five_idle_minutes_close_and_the_motor_opens_again_with_the_same_cartridge():
    pen = Pen()
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.run(10, motor=True)
    last_stroke_ms = pen.t_ms - 20
    pen.run(messages.IDLE_CLOSE_MS // 20 + 10)
    close = pen.of(C)[0]
    assert close.cause == messages.CLOSED_BY_IDLE
    assert close.t_ms == last_stroke_ms + messages.IDLE_CLOSE_MS
    assert pen.times()[-1] == close.t_ms - 20
    pen.run(3, motor=True)
    opened = pen.of(O)[1]
    assert (opened.session, opened.cause) == (2, messages.OPENED_BY_MOTOR)
    assert (opened.cartridge, opened.badge) == (CARTRIDGE_1, BADGE_1)


def test_idle_is_settled_before_what_happens_after_a_hole():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.t_ms += messages.IDLE_CLOSE_MS + 1000
    pen.run(1, event="cartridge", tag=CARTRIDGE_2)
    close = pen.of(C)[0]
    assert (close.cause, close.t_ms) == (messages.CLOSED_BY_IDLE, messages.IDLE_CLOSE_MS)
    assert pen.times(1) == [0, 20, 40, 60, 80]
    assert pen.of(O)[1].cartridge == CARTRIDGE_2


def test_a_badge_before_work_replaces_and_after_work_divides():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.run(5, event="badge", tag=BADGE_1)
    pen.run(5, event="badge", tag=BADGE_1_AGAIN)
    assert pen.kinds() == [O, S, B]
    assert (pen.of(B)[0].badge, pen.of(B)[0].t_ms) == (BADGE_1, 100)
    pen.run(20, adc=CONTACT, motor=True)
    pen.run(5, event="badge", tag=BADGE_1, motor=True)
    assert len(pen.of(C)) == 0
    change_ms = pen.t_ms
    pen.run(5, event="badge", tag=BADGE_2, motor=True)
    pen.recorder.power_off()
    assert [record.cause for record in pen.of(C)] == [3, 2]
    second = pen.of(O)[1]
    assert (second.cause, second.badge, second.cartridge) == (2, BADGE_2, CARTRIDGE_1)
    assert second.t_ms == pen.of(C)[0].t_ms == change_ms
    assert pen.times(1)[-1] == change_ms - 20
    assert pen.times(2)[0] == change_ms


def test_removal_and_a_new_cartridge_within_one_reading():
    pen = Pen()
    pen.run(3, event="cartridge", tag=CARTRIDGE_1)
    pen.recorder.cartridge_removed(60)
    pen.run(3, event="cartridge", tag=CARTRIDGE_2)
    assert pen.of(C)[0].cause == messages.CLOSED_BY_REMOVAL
    assert pen.times(1) == [0, 20, 40]
    assert pen.of(O)[1].cartridge == CARTRIDGE_2


def work(pen, counts):
    """A second of work at this dial setting, beginning with contact."""
    pen.run(50, counts=counts, adc=CONTACT, motor=True)


def test_a_local_breach_is_shown_within_its_reading_and_once_for_each_stretch():
    pen = Pen(grant_message(permits=(("est-01", 500),)))
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 930)  # 530 um: limit and tolerance
    assert pen.shown == []
    work(pen, 931)
    assert pen.shown == ["breach"]
    breach = pen.of(LOCAL_BREACH)[0]
    assert (breach.limit_um, breach.depth_um, breach.grant_utc_ms) == (500, 531, 1000)
    begin_ms = 120 + 50 * 20 + 2 * 20  # the median follows at the third reading
    assert breach.t_ms == begin_ms + 200
    before = [record for record in pen.records() if record.seq < breach.seq and record.kind == S]
    assert Readings(before[-1]).t_ms[-1] == breach.t_ms
    work(pen, 900)
    work(pen, 1000)
    assert pen.shown == ["breach", "breach_over", "breach"]
    pen.recorder.power_off()
    assert pen.shown == ["breach", "breach_over", "breach", "breach_over"]
    close = pen.of(C)[0]
    assert (close.passes, close.peak_counts, close.breach_ms) == (1, 1000, 1940)


def test_limits_by_who_is_there():
    for badge, permits, counts, is_breach in (
        (None, (), 461, True),  # nobody: 30 um and the tolerance
        (None, (), 460, False),
        (BADGE_2, (), 431, True),  # unknown: 0
        (BADGE_2, (), 430, False),
        (BADGE_2, (("md-01", 900),), 1330, False),
        (BADGE_2, (("md-01", 900),), 1331, True),
    ):
        pen = Pen(grant_message(nobody_um=30, permits=permits))
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        if badge is not None:
            pen.run(1, event="badge", tag=badge)
        work(pen, counts)
        assert ("breach" in pen.shown) == is_breach, (badge, counts)
        assert ("badge_unknown" in pen.shown) == (badge is not None and not permits)


def test_without_a_grant_nothing_is_a_breach():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 4095)
    assert pen.shown == ["no_grant"]
    assert pen.of(O)[0].grant_utc_ms is None


def test_a_grant_that_arrives_counts_from_the_next_reading():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 1000)
    pen.take_grant(grant_message())
    work(pen, 1000)
    assert pen.shown == ["no_grant", "breach"]
    (taken,) = pen.of(messages.GRANT_TAKEN)
    assert (taken.session, taken.grant_utc_ms, taken.t_ms) == (1, 1000, 54 * 20)
    before = [record for record in pen.records() if record.seq < taken.seq and record.kind == S]
    assert Readings(before[-1]).t_ms[-1] == taken.t_ms
    pen.take_grant(grant_message())
    assert len(pen.of(messages.GRANT_TAKEN)) == 1, "it was not newer"
    pen.run(1, event="removed")
    pen.take_grant(grant_message(issued=2000))
    assert len(pen.of(messages.GRANT_TAKEN)) == 1, "no session was open"
    pen.run(1, event="cartridge", tag=CARTRIDGE_1)
    assert [record.grant_utc_ms for record in pen.of(O)] == [None, 2000]


def test_an_exclusive_bound_does_not_move_the_breach():
    for counts, is_breach in ((930, False), (931, True)):
        pen = Pen(grant_message(permits=(("est-01", 500, None, conversation.EXCLUSIVE),)))
        pen.run(1, event="badge", tag=BADGE_1)
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        work(pen, counts)
        assert ("breach" in pen.shown) == is_breach, counts


def test_a_permit_that_has_run_out_by_the_pens_clock():
    for boot_utc_ms, is_breach in ((None, False), (899_000, False), (900_000, True)):
        pen = Pen(grant_message(expires=2_000_000, permits=(("est-01", 500, 900_000),)))
        pen.recorder.boot(boot_utc_ms, "virtual")
        pen.run(1, event="badge", tag=BADGE_1)
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        work(pen, 800)
        assert ("breach" in pen.shown) == is_breach, boot_utc_ms


def test_an_alert_is_shown_and_recorded():
    pen = Pen()
    pen.run(3)
    pen.recorder.alert(7, "DEPTH_EXCEEDED")
    assert pen.shown == ["DEPTH_EXCEEDED"]
    (record,) = pen.records()
    assert (record.kind, record.t_ms) == (messages.ALERT_SHOWN, 40)
    assert (record.session, record.code) == (7, "DEPTH_EXCEEDED")


def test_boot_comes_first():
    pen = Pen()
    pen.journal.boot = 9
    pen.recorder.boot(12345, "virtual")
    (record,) = pen.records()
    assert (record.kind, record.t_ms, record.boot, record.utc_ms) == (1, 0, 9, 12345)
    assert record.board == "virtual"


def test_power_off_settles_a_removal_first():
    pen = Pen()
    pen.run(3, event="cartridge", tag=CARTRIDGE_1)
    pen.recorder.cartridge_removed(pen.t_ms)
    pen.recorder.power_off()
    assert [record.cause for record in pen.of(C)] == [messages.CLOSED_BY_REMOVAL]


def test_power_off_without_a_session():
    pen = Pen()
    pen.run(3)
    pen.recorder.power_off()
    assert pen.records() == []


def test_a_reading_allocates_nothing():
    if not hasattr(gc, "mem_alloc"):
        return  # CPython cannot tell
    pen = Pen(grant_message(permits=(("est-01", 500),)))
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(35)
    pen.run(1, event="cartridge", tag=CARTRIDGE_1)
    pen.run(20, adc=CONTACT, motor=True)
    reading = pen.recorder.reading
    t_ms, strokes = pen.t_ms, pen.strokes
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(28):  # the batch is not full, but the pen looked around once
        strokes += 2
        reading(t_ms, 700, strokes, CONTACT)
        t_ms += 20
    after = gc.mem_alloc()
    gc.enable()
    assert after == before, after - before


# ---- readings that can not be ----


F = messages.FAULT


def faults(pen):
    return [(record.part, record.fault, record.is_over) for record in pen.of(F)]


def test_a_reading_that_can_not_be_is_left_out_and_told_once():
    for part, bad in (
        ("clock", lambda pen: (pen.t_ms - 20, 500, pen.strokes)),
        ("clock", lambda pen: (pen.t_ms - 500, 500, pen.strokes)),
        ("dial", lambda pen: (pen.t_ms, 4096, pen.strokes)),
        ("dial", lambda pen: (pen.t_ms, -1, pen.strokes)),
        ("strokes", lambda pen: (pen.t_ms, 500, pen.strokes - 1)),
        ("strokes", lambda pen: (pen.t_ms, 500, pen.strokes + 21)),
    ):
        pen = Pen()
        pen.run(20, event="cartridge", tag=CARTRIDGE_1, motor=True)
        for _ in range(3):
            t_ms, counts, strokes = bad(pen)
            pen.recorder.reading(t_ms, counts, strokes, AIR)
        bad_ms = pen.t_ms
        pen.t_ms += 20
        assert pen.shown[-1] == "fault"
        pen.run(49)
        assert faults(pen) == [(part, "range", 0)]
        pen.run(60)  # it has been well for a second, and the pen has looked
        assert faults(pen) == [(part, "range", 0), (part, "range", 1)]
        assert pen.shown[-2:] == ["fault", "fault_over"]
        pen.run(59)
        pen.run(1, event="removed")
        pen.recorder.power_off()
        assert bad_ms not in pen.times()
        assert len(pen.times()) == 20 + 109 + 60
        assert pen.of(C)[0].cause == messages.CLOSED_BY_REMOVAL


def test_one_bad_column_after_another():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.recorder.reading(pen.t_ms, 4096, 0, AIR)
    pen.recorder.reading(pen.t_ms + 20, 500, 9999, AIR)
    pen.t_ms += 40
    pen.run(110)
    assert faults(pen) == [
        ("dial", "range", 0),
        ("strokes", "range", 0),
        ("dial", "range", 1),
        ("strokes", "range", 1),
    ]
    assert pen.shown == ["no_grant", "fault", "fault", "fault_over"]


def test_a_drivers_good_word_does_not_end_a_range_fault():
    pen = Pen()
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    for _ in range(100):
        pen.recorder.fault(pen.t_ms, "dial", None)
        pen.recorder.reading(pen.t_ms, 4096, 0, AIR)
        pen.t_ms += 20
    assert faults(pen) == [("dial", "range", 0)]
