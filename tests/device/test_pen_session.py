"""The session's table: every state with every event."""

from pen_fakes import BADGE_1, BADGE_1_AGAIN, BADGE_2, CARTRIDGE_1, CARTRIDGE_2, raises

from needletrail_device import session as s
from needletrail_protocol.messages import (
    CLOSED_BY_BADGE,
    CLOSED_BY_CARTRIDGE,
    CLOSED_BY_IDLE,
    CLOSED_BY_POWER_OFF,
    CLOSED_BY_REMOVAL,
    IDLE_CLOSE_MS,
    OPENED_BY_BADGE,
    OPENED_BY_CARTRIDGE,
    OPENED_BY_MOTOR,
)

NOTHING = (None, None, False)
_ = None
# state: for each event in its order, (next state, close, open, badge), or None if impossible
EXPECTED = {
    s.CLOSED: (
        (s.FRESH, _, OPENED_BY_CARTRIDGE, False),
        None,
        (s.CLOSED, _, _, False),
        (s.CLOSED, _, _, False),
        (s.CLOSED, _, _, False),
        (s.FRESH, _, OPENED_BY_MOTOR, False),
        None,
        None,
        (s.OFF, _, _, False),
        None,
    ),
    s.FRESH: (
        (s.FRESH, CLOSED_BY_CARTRIDGE, OPENED_BY_CARTRIDGE, False),
        (s.FRESH, _, _, False),
        (s.CLOSED, CLOSED_BY_REMOVAL, _, False),
        (s.FRESH, _, _, True),
        (s.FRESH, _, _, False),
        None,
        (s.WORKED, _, _, False),
        (s.CLOSED, CLOSED_BY_IDLE, _, False),
        (s.OFF, CLOSED_BY_POWER_OFF, _, False),
        (s.CLOSED, _, _, False),
    ),
    s.WORKED: (
        (s.FRESH, CLOSED_BY_CARTRIDGE, OPENED_BY_CARTRIDGE, False),
        (s.WORKED, _, _, False),
        (s.CLOSED, CLOSED_BY_REMOVAL, _, False),
        (s.FRESH, CLOSED_BY_BADGE, OPENED_BY_BADGE, False),
        (s.WORKED, _, _, False),
        None,
        None,
        (s.CLOSED, CLOSED_BY_IDLE, _, False),
        (s.OFF, CLOSED_BY_POWER_OFF, _, False),
        None,
    ),
    s.OFF: (None,) * 10,
}


def test_every_state_with_every_event():
    for state, rows in EXPECTED.items():
        assert len(rows) == s.REFUSED + 1
        for event, row in enumerate(rows):
            session = s.Session()
            session.state = state
            if row is None:
                with raises(ValueError):
                    session.happen(event, 0)
                assert session.state == state
            else:
                assert session.happen(event, 0) == row[1:], (state, event)
                assert session.state == row[0], (state, event)


def test_a_badge_stays_in_force_and_the_same_person_changes_nothing():
    session = s.Session()
    assert session.badge_read(0, BADGE_1) == NOTHING
    assert session.cartridge_arrived(10, CARTRIDGE_1) == (None, OPENED_BY_CARTRIDGE, False)
    assert session.badge_read(20, BADGE_1) == NOTHING
    assert session.badge_read(20, BADGE_1_AGAIN) == NOTHING
    assert session.badge == BADGE_1
    assert session.cartridge_removed(30) == (CLOSED_BY_REMOVAL, None, False)
    assert session.badge == BADGE_1
    assert session.cartridge is None


def test_unreadable_badges_are_compared_by_their_bytes():
    assert s.is_same_person(b"", b"")
    assert not s.is_same_person(b"", b"\x00")
    assert not s.is_same_person(b"", BADGE_1)
    assert not s.is_same_person(BADGE_1, BADGE_2)


def test_another_badge_before_and_after_work():
    session = s.Session()
    session.cartridge_arrived(0, CARTRIDGE_1)
    assert session.badge_read(10, BADGE_1) == (None, None, True)
    assert session.badge_read(20, BADGE_2) == (None, None, True)
    session.happen(s.WORK, 30)
    assert session.badge_read(40, BADGE_1) == (CLOSED_BY_BADGE, OPENED_BY_BADGE, False)
    assert session.cartridge == CARTRIDGE_1


def test_the_same_cartridge_again_and_another_one():
    session = s.Session()
    session.cartridge_arrived(0, CARTRIDGE_1)
    assert session.cartridge_arrived(10, CARTRIDGE_1) == NOTHING
    outcome = session.cartridge_arrived(20, CARTRIDGE_2)
    assert outcome == (CLOSED_BY_CARTRIDGE, OPENED_BY_CARTRIDGE, False)
    assert session.cartridge == CARTRIDGE_2


def test_a_tag_read_late_begins_a_session_of_its_own():
    session = s.Session()
    session.happen(s.MOTOR, 0)
    outcome = session.cartridge_arrived(20, CARTRIDGE_1)
    assert outcome == (CLOSED_BY_CARTRIDGE, OPENED_BY_CARTRIDGE, False)


def test_idle_is_counted_from_the_last_stroke_or_the_opening():
    session = s.Session()
    assert session.idle_close_ms(IDLE_CLOSE_MS * 2) == -1
    session.cartridge_arrived(1000, CARTRIDGE_1)
    assert session.idle_close_ms(1000 + IDLE_CLOSE_MS - 1) == -1
    assert session.idle_close_ms(1000 + IDLE_CLOSE_MS) == 1000 + IDLE_CLOSE_MS
    session.stroke(2000)
    assert session.idle_close_ms(1000 + IDLE_CLOSE_MS) == -1
    assert session.idle_close_ms(9999 + IDLE_CLOSE_MS) == 2000 + IDLE_CLOSE_MS
    assert session.happen(s.IDLE, 2000 + IDLE_CLOSE_MS) == (CLOSED_BY_IDLE, None, False)
    assert session.cartridge == CARTRIDGE_1


def test_motor_start():
    session = s.Session()
    assert not session.is_motor_start(0, False, True)
    assert session.is_motor_start(20, True, False)
    session.happen(s.MOTOR, 20)
    session.stroke(1000)
    session.cartridge_removed(1000)
    assert not session.is_motor_start(1020, True, False), "it runs out"
    assert session.is_motor_start(1040, True, True), "it runs on, on skin"
    session.happen(s.MOTOR, 1040)
    session.stroke(2000)
    session.cartridge_removed(2000)
    assert session.is_motor_start(2101, True, False)


def test_a_session_that_may_not_open_leaves_badge_and_cartridge_in_place():
    session = s.Session()
    session.badge_read(0, BADGE_1)
    session.cartridge_arrived(10, CARTRIDGE_1)
    assert session.happen(s.REFUSED, 10) == NOTHING
    assert not session.is_open()
    assert (session.badge, session.cartridge) == (BADGE_1, CARTRIDGE_1)
    assert session.cartridge_arrived(20, CARTRIDGE_1) == (None, OPENED_BY_CARTRIDGE, False)
