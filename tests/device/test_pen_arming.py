"""When the pen starts, when its motor stops, what failed, and what happens while flash is full."""

import gc

from chip_fakes import allocated_bytes
from limit_fakes import AIR, CONTACT, RESERVE_BYTES, Pen, Strict
from pen_fakes import BADGE_1, BADGE_2, CARTRIDGE_1, CARTRIDGE_2, MemoryFolder, grant_message

from needletrail_device.arming import Faults, Interlock
from needletrail_device.guard import Guard
from needletrail_device.limits import FILE
from needletrail_device.recorder import PENDING_MAX
from needletrail_protocol import conversation, messages
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.readings import Readings

BOOT, O, S, B, C = messages.BOOT, messages.OPEN, messages.SAMPLES, messages.BADGE, messages.CLOSE  # noqa: E741
BREACH, F, REFUSED = messages.LOCAL_BREACH, messages.FAULT, messages.NOT_ARMED
HARD = conversation.HARD
ENOSPC = 28


def reasons(pen):
    return [record.reason for record in pen.of(REFUSED)]


def faults(pen):
    return [(record.part, record.fault, record.is_over) for record in pen.of(F)]


def work(pen, readings=50, counts=420):
    pen.run(readings, counts=counts, adc=CONTACT, motor=True)


# ---- reasons not to begin ----


def not_permitted():
    """(reason, a pen with an interlock that may not begin for it). The badge is to be BADGE_1."""
    yield "no_grant", Pen(settings=Strict, has_interlock=True)
    expired = grant_message(expires=9000, rules=conversation.REFUSE_EXPIRED)
    pen = Pen(expired, has_interlock=True)
    pen.recorder.boot(9000, "virtual")
    yield "grant_expired", pen
    unknown = grant_message(permits=(), rules=conversation.REFUSE_UNKNOWN)
    yield "badge_unknown", Pen(unknown, has_interlock=True)
    run_out = grant_message(permits=(("est-01", 500, 8000),), rules=conversation.REFUSE_UNKNOWN)
    pen = Pen(run_out, has_interlock=True)
    pen.recorder.boot(8000, "virtual")
    yield "badge_unknown", pen
    pen = Pen(grant_message(), has_interlock=True)
    pen.journal.free_bytes = RESERVE_BYTES - 1
    yield "journal_full", pen
    pen = Pen(grant_message(), has_interlock=True)
    pen.recorder.fault(0, "dial", "bus")
    yield "fault", pen
    yield "no_grant", Pen(settings=Strict, has_interlock=True, folder=MemoryFolder({FILE: b"no"}))


def test_a_pen_that_is_not_armed_opens_no_session_and_keeps_its_motor_off():
    for reason, pen in not_permitted():
        pen.run(1, event="badge", tag=BADGE_1)
        assert pen.recorder.not_armed == reason
        pen.run(2)
        pen.run(2, event="cartridge", tag=CARTRIDGE_1)
        pen.run(200)
        pen.run(2, event="removed")
        pen.run(2, event="cartridge", tag=CARTRIDGE_2)
        pen.recorder.power_off()
        assert reasons(pen) == [reason], "once for each cause"
        assert pen.motor[-1] is False and True not in pen.motor[1:]
        assert pen.shown.count("refused") == 2, pen.shown  # two tags in one moment are one refusal
        assert pen.of(O) == []
        assert "opened" not in pen.told


def test_a_pen_that_is_not_armed_and_can_not_stop_its_motor_warns_and_records_the_truth():
    for reason, with_interlock in not_permitted():
        pen = Pen(settings=Strict)
        pen.limits, pen.journal = with_interlock.limits, with_interlock.journal
        pen.recorder._limits, pen.recorder._journal = pen.limits, pen.journal
        pen.folder = with_interlock.folder
        pen.recorder.boot(9000 if "expired" in reason else 8000, "virtual")
        if reason == "fault":
            continue  # without a dial there are no readings to record
        pen.run(1, event="badge", tag=BADGE_1)
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        pen.run(20, motor=True)
        assert pen.of(O) == [], "a motor in the air treats nobody"
        work(pen)
        pen.run(400, motor=True)
        assert pen.recorder.not_armed == reason
        pen.recorder.power_off()
        (opened,) = pen.of(O)
        assert (opened.cause, opened.cartridge) == (messages.OPENED_BY_MOTOR, CARTRIDGE_1)
        assert opened.badge == BADGE_1
        assert pen.times() == list(range(opened.t_ms, pen.t_ms, 20))
        assert opened.t_ms == 26 * 20 + 60, "from the first reading on that touches skin"
        assert reasons(pen) == [reason]
        assert pen.shown.count("refused") >= 1
        assert pen.motor == []


def test_the_policy_may_only_warn():
    for word, grant, boot_utc_ms in (
        ("no_grant", None, None),
        ("grant_expired", grant_message(expires=9000), 9000),
        ("badge_unknown", grant_message(permits=()), None),
        ("badge_unknown", grant_message(permits=(("est-01", 500, 8000),)), 8000),
    ):
        pen = Pen(grant, has_interlock=True)
        pen.recorder.boot(boot_utc_ms, "virtual")
        pen.run(1, event="badge", tag=BADGE_1)
        assert pen.shown == []
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        assert pen.shown == [word]
        assert len(pen.of(O)) == 1
        assert pen.motor == [True]
        assert reasons(pen) == []


def test_of_two_concerns_the_one_that_is_refused_counts():
    grant = grant_message(expires=9000, permits=(), rules=conversation.REFUSE_UNKNOWN)
    pen = Pen(grant)
    pen.recorder.boot(9000, "virtual")
    pen.run(1, event="badge", tag=BADGE_1)
    assert reasons(pen) == ["badge_unknown"]


def test_an_unset_clock_expires_nothing():
    pen = Pen(grant_message(expires=1, rules=conversation.REFUSE_EXPIRED), has_interlock=True)
    pen.recorder.boot(None, "virtual")
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    assert (len(pen.of(O)), pen.shown, pen.motor) == (1, [], [True])


def test_nothing_that_changes_later_ends_a_session_that_runs():
    rules = conversation.REFUSE_EXPIRED
    pen = Pen(grant_message(expires=2000, rules=rules), has_interlock=True)
    pen.recorder.boot(0, "virtual")
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.run(150)
    assert (pen.motor, len(pen.of(O))) == ([True], 1), "not even one that has not worked yet"
    work(pen, 100)
    pen.journal.free_bytes = 0
    work(pen, 100)
    assert pen.motor == [True]
    assert pen.shown == ["journal_full"]
    pen.run(1, event="removed")
    assert pen.of(C)[0].cause == messages.CLOSED_BY_REMOVAL
    assert pen.motor == [True, False]
    pen.run(5, event="cartridge", tag=CARTRIDGE_2)
    pen.journal.free_bytes = 1 << 20
    pen.run(60)
    pen.run(5, event="cartridge", tag=CARTRIDGE_2)
    assert reasons(pen) == ["journal_full", "grant_expired"], "the cause has changed"
    assert pen.motor == [True, False]
    assert len(pen.of(O)) == 1


def test_a_grant_that_comes_arms_the_pen():
    pen = Pen(settings=Strict, has_interlock=True)
    pen.recorder.boot(None, "virtual")
    assert pen.motor == [False]
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.take_grant(grant_message())
    assert (pen.motor, pen.recorder.not_armed) == ([False, True], "")
    work(pen)
    (opened,) = pen.of(O)
    assert (opened.cartridge, opened.grant_utc_ms) == (CARTRIDGE_1, 1000)
    assert reasons(pen) == ["no_grant"]


def test_another_badge_before_work_is_asked_again_and_after_work_ends_the_session():
    grant = grant_message(rules=conversation.REFUSE_UNKNOWN)
    pen = Pen(grant, has_interlock=True)
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.run(60, event="badge", tag=BADGE_2)
    assert (pen.motor, reasons(pen)) == ([True, False], ["badge_unknown"])
    assert len(pen.of(B)) == 1
    pen.run(60, event="badge", tag=BADGE_1)
    assert pen.motor == [True, False, True]
    work(pen)
    pen.run(1, event="badge", tag=BADGE_2)
    assert pen.of(C)[0].cause == messages.CLOSED_BY_BADGE
    assert pen.motor == [True, False, True, False]
    assert reasons(pen) == ["badge_unknown", "badge_unknown"], "it was armed in between"
    pen.run(3, event="removed")
    assert len(pen.of(O)) == 1


def test_a_grant_that_takes_the_practitioner_away_before_work():
    pen = Pen(grant_message(), has_interlock=True)
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    nobody = grant_message(issued=2000, permits=(), rules=conversation.REFUSE_UNKNOWN)
    pen.take_grant(nobody)
    assert (pen.motor, reasons(pen), pen.shown) == ([True, False], ["badge_unknown"], ["refused"])
    pen.take_grant(grant_message(issued=3000, permits=()))
    assert (pen.motor, pen.shown[-1]) == ([True, False, True], "badge_unknown")
    work(pen)
    pen.take_grant(grant_message(issued=4000, permits=(), rules=conversation.REFUSE_UNKNOWN))
    work(pen)
    assert pen.motor == [True, False, True], "work that has begun goes on"


# ---- the journal's room ----


def test_the_pen_warns_at_80_percent_and_finishes_its_session_in_the_reserve():
    pen = Pen(grant_message(), has_interlock=True)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 60)
    assert pen.shown == []
    pen.journal.free_bytes = 16368 // 4 - 2
    assert pen.journal.fill_percent() == 80 and pen.journal.may_arm()
    work(pen, 60)
    assert pen.shown == ["journal_warning"]
    pen.journal.free_bytes = RESERVE_BYTES - 1
    work(pen, 60)
    assert pen.shown == ["journal_warning", "journal_warning_over", "journal_full"]
    assert pen.motor == [True]
    pen.run(1, event="removed")
    assert len(pen.times()) == 5 + 180 + 1
    pen.run(1, event="cartridge", tag=CARTRIDGE_2)
    assert reasons(pen) == ["journal_full"]
    pen.journal.free_bytes = 1 << 20
    pen.run(60)
    assert pen.shown[-1] == "journal_full_over"
    assert pen.motor == [True, False, True]


# ---- hard and soft ----


def deep(pen, flags, counts=931):
    pen.limits.offer(grant_message(permits=(("est-01", 500, None, flags),)))
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 10, 900)
    work(pen, 12, counts)  # the third has the median beyond, ten more are 200 ms


def test_a_hard_breach_stops_the_motor_within_its_reading_and_a_soft_one_does_not():
    for flags, motor in ((HARD, [True, False]), (0, [True])):
        pen = Pen(has_interlock=True)
        deep(pen, flags)
        assert (pen.motor, pen.shown) == ([True], [])
        work(pen, 1, 931)
        assert (pen.motor, pen.shown) == (motor, ["breach"])
        (breach,) = pen.of(BREACH)
        assert breach.t_ms == pen.t_ms - 20


def test_a_hard_limit_without_an_interlock_warns():
    pen = Pen()
    deep(pen, HARD)
    work(pen, 50, 931)
    assert (pen.motor, pen.shown) == ([], ["breach"])


def test_a_stopped_motor_stays_off_until_the_setting_was_within_for_200_ms():
    pen = Pen(has_interlock=True)
    deep(pen, HARD)
    work(pen, 1, 931)
    pen.run(100, counts=931, adc=CONTACT)
    assert pen.motor == [True, False], "no time gives it back"
    for _ in range(20):  # it goes to and fro around the limit
        pen.run(9, counts=930, adc=CONTACT)
        pen.run(3, counts=931, adc=CONTACT)
    assert pen.motor == [True, False]
    pen.run(2 + 9, counts=930, adc=CONTACT)  # the median follows at the third
    assert pen.motor == [True, False]
    pen.run(1, counts=930, adc=CONTACT)
    assert pen.motor == [True, False, True]
    assert len(pen.of(BREACH)) == 1


def test_no_new_session_and_no_hole_gives_the_motor_back():
    pen = Pen(has_interlock=True)
    deep(pen, HARD)
    work(pen, 1, 931)
    pen.run(30, counts=1000, event="removed")
    pen.run(30, counts=1000, event="cartridge", tag=CARTRIDGE_2)
    assert pen.motor == [True, False]
    pen.t_ms += 5000
    pen.run(1, counts=900)
    assert pen.motor == [True, False]
    pen.run(20, counts=900)
    assert pen.motor == [True, False, True]


def test_a_hard_limit_that_can_not_be_checked_stops_the_motor():
    pen = Pen(has_interlock=True)
    deep(pen, HARD, 900)
    for late_ms, motor in ((20, [True]), (100, [True]), (101, [True, False])):
        pen.recorder.fault(pen.recorder.t_ms + late_ms, "dial", "bus")
        assert pen.motor == motor, late_ms
    pen.t_ms += 100
    pen.recorder.fault(pen.t_ms, "dial", None)
    pen.run(10, counts=900)
    assert pen.motor == [True, False]
    pen.run(2, counts=900)
    assert pen.motor == [True, False, True]
    soft = Pen(has_interlock=True)
    deep(soft, 0, 900)
    soft.recorder.fault(soft.t_ms + 1000, "dial", "bus")
    assert soft.motor == [True]


# ---- faults ----


def test_a_fault_is_told_at_once_and_its_end_when_it_has_lasted():
    told = []
    faults = Faults(lambda *what: told.append(what))
    faults.step(0, "dial", None)
    assert (told, faults.has()) == ([], False)
    faults.step(10, "dial", "bus")
    faults.step(20, "dial", "bus")
    assert told == [(10, "dial", "bus", False)]
    assert faults.has("dial") and faults.has() and not faults.has("skin")
    for t_ms in range(30, 5000, 20):  # it flaps, and changes its mind
        faults.step(t_ms, "dial", (None, "bus", "magnet_weak")[t_ms // 20 % 3])
    assert len(told) == 1
    faults.step(5000, "dial", "magnet_weak")
    faults.step(5999, "dial", "magnet_weak")
    assert len(told) == 1
    faults.settle(6000)
    assert told[1:] == [(6000, "dial", "magnet_weak", False)]
    faults.step(7000, "dial", None)
    faults.step(7500, "skin", "range")
    faults.settle(8000)
    faults.settle(9000)
    assert told[2:] == [(7500, "skin", "range", False), (8000, "dial", "magnet_weak", True)]
    assert faults.has() and not faults.has("dial")


def test_a_fault_stands_in_the_row_where_it_happened_with_a_light():
    pen = Pen(grant_message())
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.run(10)
    pen.recorder.fault(pen.t_ms, "skin", "stuck")
    pen.recorder.fault(pen.t_ms, "battery", "low")
    assert pen.kinds() == [O, S, F, F]
    assert Readings(pen.of(S)[0]).t_ms[-1] == pen.t_ms - 20
    assert [record.t_ms for record in pen.of(F)] == [pen.t_ms] * 2
    for _ in range(120):
        pen.recorder.fault(pen.t_ms, "skin", None)
        pen.recorder.fault(pen.t_ms, "battery", "low")
        pen.run(1)
    assert pen.shown == ["fault", "fault"], "one of the two is still there"
    assert faults(pen)[2:] == [("skin", "stuck", 1)]
    assert pen.recorder.not_armed == "", "the pen can do without"


def test_without_its_dial_the_pen_does_not_begin_and_time_goes_on():
    pen = Pen(grant_message(), has_interlock=True)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    pen.recorder.cartridge_removed(pen.t_ms)
    for _ in range(10):
        pen.recorder.fault(pen.t_ms, "dial", "magnet_missing")
        pen.t_ms += 20
    assert pen.of(C)[0].cause == messages.CLOSED_BY_REMOVAL
    assert pen.motor == [True, False]
    assert reasons(pen) == [], "nobody wanted to begin"
    pen.recorder.cartridge_arrived(pen.t_ms, CARTRIDGE_2)
    assert reasons(pen) == ["fault"]
    pen.run(120)
    assert pen.motor == [True, False], "nobody has said yet that it is well"
    pen.recorder.fault(pen.t_ms, "dial", None)
    pen.run(120)
    assert pen.motor == [True, False, True]
    assert faults(pen) == [("dial", "magnet_missing", 0), ("dial", "magnet_missing", 1)]
    assert pen.shown[-1] == "fault_over"


def test_an_idle_session_ends_without_a_dial():
    pen = Pen(grant_message())
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    for _ in range(messages.IDLE_CLOSE_MS // 1000 + 1):
        pen.t_ms += 1000
        pen.recorder.fault(pen.t_ms, "dial", "bus")
    (close,) = pen.of(C)
    assert (close.cause, close.t_ms) == (messages.CLOSED_BY_IDLE, messages.IDLE_CLOSE_MS)


def test_a_damaged_grant_is_told_and_a_good_one_ends_it():
    pen = Pen(folder=MemoryFolder({FILE: b"no"}))
    pen.recorder.boot(None, "virtual")
    assert faults(pen) == [("grant", "damaged", 0)]
    pen.run(50)
    pen.take_grant(grant_message())
    pen.run(120)
    assert faults(pen) == [("grant", "damaged", 0), ("grant", "damaged", 1)]
    data = bytearray(pen.folder.files[FILE])
    data[-1] ^= 1
    pen.folder.files[FILE] = bytes(data)
    pen.run(1, event="badge", tag=BADGE_1)
    assert faults(pen)[2:] == [("grant", "damaged", 0)]
    pen.run(1, event="cartridge", tag=CARTRIDGE_1)
    assert pen.of(O)[0].grant_utc_ms is None


def test_a_grant_that_flash_refused_is_told():
    pen = Pen(grant_message())
    pen.run(5)
    pen.folder.is_full = True
    pen.take_grant(grant_message(issued=2000))
    pen.folder.is_full = False
    pen.run(60)
    assert faults(pen) == [("grant", "write", 0)]
    assert pen.limits.issued_utc_ms == 1000


def drift_of(pen):
    return [record for record in pen.of(F) if record.part == "calibration"]


def test_a_ring_that_rests_beyond_its_stops_has_moved():
    least, most = 340, 1460  # 400 and 1400, and twice the tolerance of 30 um further out
    for counts in (least, most):
        pen = Pen(grant_message())
        pen.run(200, counts=counts)
        assert drift_of(pen) == [], "at the stop, as far as its play and the tolerance go"
    for counts in (least - 1, most + 1):
        pen = Pen(grant_message())
        pen.run(50, counts=500)
        pen.run(49, counts=counts)
        assert drift_of(pen) == [], "not yet a second"
        pen.run(1, counts=counts)
        (drift,) = drift_of(pen)
        assert (drift.fault, drift.is_over, drift.t_ms) == ("drift", 0, 99 * 20)
        assert pen.shown == ["fault"]
        pen.run(200, counts=500)
        pen.run(200, counts=counts)
        assert len(drift_of(pen)) == 1, "within its stops it proves nothing; and it is told once"
        assert pen.recorder.not_armed == ""
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        assert len(pen.of(O)) == 1


def test_spikes_strokes_and_holes_are_no_drift():
    pen = Pen()
    for _ in range(20):
        pen.run(49, counts=300)
        pen.run(1, counts=500)
    for _ in range(20):  # the motor shakes the ring, or what holds it
        pen.run(30, counts=300)
        pen.run(1, counts=300, motor=True)
    pen.run(1, counts=500)
    for _ in range(20):
        pen.run(10, counts=300)
        pen.t_ms += 900
    assert drift_of(pen) == []


def test_drift_in_a_session_stands_where_it_was_seen():
    pen = Pen(grant_message())
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 100, 420)
    pen.run(52, counts=1600)
    pen.run(1, event="removed")
    kinds = pen.kinds()
    assert kinds.count(F) == 1 and kinds.index(O) < kinds.index(F) < kinds.index(C)


def test_parts_that_are_well_cost_no_memory_and_neither_does_a_standing_fault():
    parts = ("dial", "strokes", "skin", "current", "tags", "battery")
    pen = Pen(grant_message())
    pen.recorder.boot(None, "virtual")
    pen.recorder.fault(0, "skin", "stuck")
    pen.recorder.fault(0, "tags", "bus")
    for part in parts:
        pen.recorder.fault(0, part, None)
    for t_ms in range(0, 3000, 20):
        pen.recorder.fault(t_ms, "tags", "bus")
        for part in ("dial", "strokes", "skin", "current", "battery"):
            pen.recorder.fault(t_ms, part, None)
    assert faults(pen) == [("skin", "stuck", 0), ("tags", "bus", 0), ("skin", "stuck", 1)]
    fault = pen.recorder.fault

    def turn():
        for part in parts:
            fault(3000, part, "bus" if part == "tags" else None)

    turn()
    assert allocated_bytes(turn) == 0
    assert len(pen.of(F)) == 3


# ---- flash refuses ----


class Refusing:
    """The pen's journal, which refuses to append while `error` is set."""

    def __init__(self, journal):
        self.inner = journal
        self.error = None
        self.append_inner = journal.append
        journal.append = self.append

    def append(self, payload):
        if self.error is not None:
            raise OSError(self.error)
        return self.append_inner(payload)


def test_what_flash_refuses_waits_and_is_written_in_order():
    for error, word in ((ENOSPC, "full"), (5, "write")):
        pen = Pen(grant_message(), has_interlock=True)
        flash = Refusing(pen.journal)
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        work(pen, 60)
        before = pen.recorder.written
        flash.error = error
        work(pen, 150)
        assert pen.recorder.written == before
        assert pen.motor == [True, False], "what can not be recorded is not to go on"
        assert pen.shown[-1] == "fault"
        pen.run(1, event="removed")
        pen.run(30)
        assert pen.recorder.not_armed == "journal_full"
        flash.error = None
        pen.run(120)
        assert pen.motor == [True, False, True]
        assert pen.times() == list(range(0, 216 * 20, 20)), "nothing is missing"
        assert [record.seq for record in pen.records()] == list(range(1, pen.journal.next_seq))
        assert faults(pen) == [("journal", word, 0), ("journal", word, 1)]
        assert pen.kinds()[-2:] == [C, F]
        assert pen.shown[-1] == "fault_over"


def test_beyond_what_ram_holds_the_gap_is_told_and_the_end_kept():
    pen = Pen(grant_message(permits=(("est-01", 500),)))
    flash = Refusing(pen.journal)
    pen.run(1, event="badge", tag=BADGE_1)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    flash.error = ENOSPC
    for _ in range(30):
        work(pen, 50, 500)
        work(pen, 50, 1000)
        assert len(pen.recorder._pending) <= PENDING_MAX + 1
    assert pen.shown.count("breach") == 30, "the limit is still watched"
    pen.run(1, event="removed")
    pen.run(5, event="cartridge", tag=CARTRIDGE_2)
    work(pen, 200)
    assert len(pen.recorder._pending) <= PENDING_MAX + 3
    flash.error = None
    work(pen, 120)
    pen.recorder.power_off()
    records = pen.records()
    assert [record.seq for record in records] == list(range(1, pen.journal.next_seq))
    assert faults(pen)[:3] == [("journal", "full", 0), ("journal", "lost", 0), ("journal", "lost", 1)]
    lost = [record.seq for record in pen.of(F) if record.fault == "lost"]
    first, second = pen.of(C)
    opened = pen.of(O)
    assert len(opened) == 2 and first.session == 1 and second.session == 2
    assert lost[0] < first.seq < lost[1] < opened[1].seq
    assert first.cause == messages.CLOSED_BY_REMOVAL
    times = pen.times()
    kept = PENDING_MAX * 50
    assert times == sorted(times) and 150 < len(times) < kept
    assert opened[1].cause == messages.OPENED_BY_MOTOR, "only when it could be recorded again"
    assert opened[1].t_ms >= 3207 * 20 - 4000


def test_no_reading_is_lost_while_ram_has_room():
    for readings, is_over_first in ((50, True), (49, False)):
        pen = Pen(grant_message())
        flash = Refusing(pen.journal)
        pen.run(50, event="cartridge", tag=CARTRIDGE_1)
        flash.error = ENOSPC
        pen.run(50 * (PENDING_MAX - 1))  # and one place is the fault's
        pen.run(readings)  # one batch waits beside them
        if is_over_first:
            flash.error = None
            pen.run(60)
        pen.run(1, event="removed")
        flash.error = None
        end_ms = pen.t_ms
        pen.run(60)
        check_nothing_is_lost(pen, end_ms)


def check_nothing_is_lost(pen, end_ms):
    assert pen.times() == list(range(0, end_ms, 20))
    (close,) = pen.of(C)
    assert pen.of(S)[-1].seq < close.seq
    assert faults(pen)[:1] == [("journal", "full", 0)]
    assert ("journal", "lost", 0) not in faults(pen)


def test_a_write_that_fails_once_costs_nothing():
    for nth in range(10):
        pen = Pen(grant_message(permits=(("est-01", 500),)))
        flash = Refusing(pen.journal)
        inner = flash.append_inner
        calls = [0]

        def append(payload, calls=calls, inner=inner, nth=nth):
            calls[0] += 1
            if calls[0] == nth + 1:
                raise OSError(5)
            return inner(payload)

        pen.journal.append = append
        pen.recorder.boot(None, "virtual")
        pen.run(5, event="cartridge", tag=CARTRIDGE_1)
        pen.run(5, event="badge", tag=BADGE_1)
        work(pen, 120, 1000)
        pen.run(1, event="removed")
        pen.run(120)
        kinds = [record.kind for record in pen.records() if record.kind not in (F, S)]
        assert kinds == [BOOT, O, B, BREACH, C], kinds
        assert pen.times() == list(range(0, 131 * 20, 20)), nth
        assert len(pen.of(BREACH)) == 1 and len(pen.of(C)) == 1
        assert faults(pen) == [("journal", "write", 0), ("journal", "write", 1)], nth


# ---- the interlock alone ----


def test_an_interlock_tells_changes_only():
    told = []
    interlock = Interlock(told.append)
    interlock.allow(True)
    interlock.allow(True)
    interlock.stop(100)
    interlock.allow(True)
    assert told == [True, False]
    interlock.step(120, True)
    for t_ms in range(140, 320, 20):
        interlock.step(t_ms, False)
    assert told == [True, False]
    interlock.allow(False)
    interlock.step(320, False)
    assert told == [True, False] and not interlock.is_stopped
    interlock.allow(True)
    assert told == [True, False, True]


def test_time_without_a_reading_is_not_time_within():
    told = []
    interlock = Interlock(told.append)
    interlock.allow(True)
    interlock.stop(0)
    interlock.step(20, False)
    for t_ms in (5000, 5100, 5199):
        interlock.step(t_ms, False)
        assert interlock.is_stopped
    interlock.step(5200, False)
    assert told == [True, False, True]


def test_without_an_interlock_nothing_is_stopped():
    interlock = Interlock(None)
    interlock.allow(True)
    interlock.stop(0)
    assert not interlock.is_stopped


# ---- the guard ----


class Watch:
    """What a board's interrupt does: on and off, without allocating."""

    def __init__(self):
        self.begun = self.ended = 0
        self.guard = Guard(self.begin, self.end)

    def begin(self):
        self.begun += 1

    def end(self):
        self.ended += 1


def random_readings(state, count):
    """t_ms, counts, strokes, contact_adc of a restless hand."""
    t_ms = strokes = 0
    counts, adc, speed = 900, AIR, 2
    for _ in range(count):
        state = state * 1103515245 + 12345 & 0x3FFFFFFF
        chance = state >> 8 & 1023
        if chance < 12:
            counts = 880 + (state >> 20) % 120
        elif chance < 24:
            adc = CONTACT if adc == AIR else AIR
        elif chance < 36:
            speed = 2 if not speed else 0
        elif chance < 40:
            t_ms += 200
        t_ms += 19 + (state >> 18) % 3
        strokes += speed
        yield t_ms, counts + (state >> 22) % 9, strokes, adc


def test_the_guard_agrees_with_the_recorder_on_any_readings():
    breaches = 0
    for seed in range(1, 25):
        watch = Watch()
        pen = Pen(grant_message(), guard=watch.guard)
        pen.recorder.badge_read(0, BADGE_1)
        pen.recorder.cartridge_arrived(0, CARTRIDGE_1)
        for t_ms, counts, strokes, adc in random_readings(seed, 1000):
            watch.guard.step(t_ms, counts, strokes, adc)
            pen.recorder.reading(t_ms, counts, strokes, adc)
            assert watch.guard.is_breach == pen.recorder._meter.is_breach, (seed, t_ms)
        assert watch.begun == len(pen.of(BREACH))
        assert watch.begun - watch.ended in (0, 1)
        assert pen.shown == [], "the guard's own callables do that"
        breaches += watch.begun
    assert breaches > 30


def test_the_guard_follows_badges_grants_and_sessions():
    watch = Watch()
    guard = watch.guard
    pen = Pen(grant_message(permits=(("est-01", 500, None, HARD), ("md-01", 900))), guard=guard)
    assert (guard.over_counts, guard.is_hard) == (DIAL_MAX_COUNTS, False)
    pen.recorder.boot(None, "virtual")
    assert (guard.over_counts, guard.is_hard) == (430, False)
    pen.run(1, event="badge", tag=BADGE_1)
    assert (guard.over_counts, guard.is_hard) == (930, True)
    pen.run(5, event="cartridge", tag=CARTRIDGE_1)
    work(pen, 50, 1000)
    assert (watch.begun, watch.ended) == (1, 0)
    pen.take_grant(grant_message(issued=2000, permits=(("est-01", 700),)))
    assert (guard.over_counts, guard.is_hard) == (1130, False)
    work(pen, 1, 1000)
    assert (watch.begun, watch.ended) == (1, 1)
    work(pen, 30, 1200)
    assert watch.begun == 2
    pen.run(1, counts=1200, adc=CONTACT, motor=True, event="badge", tag=BADGE_2)
    assert watch.ended == 2, "a session of its own, and a breach of its own"
    work(pen, 30, 1200)
    assert watch.begun == 3
    assert [record.session for record in pen.of(BREACH)] == [1, 1, 2]


def test_what_the_guard_stopped_the_recorder_gives_back():
    watch = Watch()
    pen = Pen(has_interlock=True, guard=watch.guard)
    deep(pen, HARD)
    work(pen, 1, 931)
    assert (watch.begun, watch.guard.has_stopped) == (1, False)
    assert (pen.motor, len(pen.of(BREACH))) == ([True, False], 1)
    pen.run(20, counts=900)
    assert pen.motor == [True, False, True]
    watch.guard.has_stopped = True  # it knew a stricter limit for a moment
    pen.run(1, counts=900)
    assert pen.motor == [True, False, True, False]
    pen.run(20, counts=900)
    assert pen.motor[-1] is True


def test_a_guard_survives_what_sensors_may_say():
    watch = Watch()
    guard = watch.guard
    guard.over_counts = 930
    t_ms = strokes = 0
    for index in range(60):
        t_ms += 20
        guard.step(t_ms, DIAL_MAX_COUNTS + 1 if index % 5 > 1 else 900, 2 * index, CONTACT)
    assert (watch.begun, watch.ended) == (0, 0)
    for index in range(60):
        t_ms += 20
        strokes = 0 if index == 30 else strokes + 2  # the counter begins anew
        guard.step(t_ms, 1000, strokes, CONTACT)
        guard.step(t_ms + 1, -1, strokes, CONTACT)
        guard.step(t_ms + 2, DIAL_MAX_COUNTS + 1, strokes, CONTACT)
    assert (watch.begun, watch.ended) == (1, 0)


def test_a_guards_step_allocates_nothing():
    if not hasattr(gc, "mem_alloc"):
        return  # CPython cannot tell
    from micropython import heap_lock, heap_unlock

    watch = Watch()
    guard = watch.guard
    guard.over_counts = 930
    guard.is_hard = True
    readings = list(random_readings(7, 1000))
    for reading in readings:  # what these numbers need was made before
        assert len(reading) == 4
    step = guard.step
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    heap_lock()  # as in a hard interrupt: whoever allocates now gets a MemoryError
    try:
        for t_ms, counts, strokes, adc in readings:
            step(t_ms, counts, strokes, adc)
            if adc == AIR:
                guard.is_new = True
    finally:
        heap_unlock()
    after = gc.mem_alloc()
    gc.enable()
    assert after == before, after - before
    assert watch.begun > 2 and watch.ended > 1 and guard.has_stopped
