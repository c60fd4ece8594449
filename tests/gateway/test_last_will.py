"""A pen's last will: it is believed once, for the newest connection, and is nothing but news."""

import pytest
import structlog
from gateway_clinic import badge
from gateway_desk import Desk
from honest_pen import HonestPen
from structlog.testing import capture_logs

from needletrail_protocol import cbor, topics

LOST, OLD = "connections lost", "wills of old connections"


@pytest.fixture
def pen(desk: Desk) -> HonestPen:
    """A pen that is connected."""
    pen = HonestPen()
    desk.take(pen.boot(), pen.hello())
    return pen


def test_a_pen_is_gone_at_once(desk: Desk, pen: HonestPen) -> None:
    structlog.reset_defaults()
    assert not desk.intake.is_gone("pen-01", 1)
    with capture_logs() as logs:
        assert desk.receive(pen.will(), pen.will()) == [], "a will has no answer"
    [gone] = [line for line in logs if line["event"] == "pen gone"]
    assert (gone["pen"], gone["boot"], gone["connection"]) == ("pen-01", 1, 1)
    assert desk.intake.is_gone("pen-01", 1)
    group = desk.commit()
    assert (group.acks, group.entries, group.lanes) == ({}, [], {}), "a will is no record"
    assert desk.ledger.tallies()[LOST] == 1


def test_a_will_of_an_older_connection_says_nothing(desk: Desk, pen: HonestPen) -> None:
    """The broker ends a half-open connection when the pen is already back."""
    old = pen.will()
    desk.take(pen.hello())
    desk.take(old)
    assert not desk.intake.is_gone("pen-01", 1)
    pen.boot()
    desk.take(pen.sent, pen.hello())
    assert pen.connections == 1
    desk.take(old)
    assert not desk.intake.is_gone("pen-01", 1), "the same connection number, of another boot"
    assert LOST not in desk.ledger.tallies()
    assert desk.ledger.tallies()[OLD] == 2


def test_a_pen_that_is_back_is_not_gone(desk: Desk, pen: HonestPen) -> None:
    desk.take(pen.will())
    desk.take(pen.hello())
    assert not desk.intake.is_gone("pen-01", 1)
    desk.take(pen.will())
    assert desk.intake.is_gone("pen-01", 1)
    assert desk.ledger.tallies()[LOST] == 2


def test_a_gateway_that_was_restarted_knows_the_newest_connection(desk: Desk, pen: HonestPen) -> None:
    will = pen.will()
    desk.restart()
    desk.take(will)
    assert desk.intake.is_gone("pen-01", 1)


def test_a_will_without_any_hello_says_nothing(desk: Desk) -> None:
    desk.take(HonestPen("pen-02", boots=1, connections=1).will())
    assert not desk.intake.is_gone("pen-02", 1)
    assert desk.ledger.tallies()[OLD] == 1


@pytest.mark.parametrize("payload", [[1], [1, 0], ["1", 1], [1, None], [2**32, 1]])
def test_a_will_that_says_nothing_is_refused(desk: Desk, pen: HonestPen, payload: list[object]) -> None:
    desk.take(pen.seal(topics.WILL, cbor.encode(payload)))
    assert desk.ledger.quarantined(1)[0]["reason"] == "payload_invalid"
    assert not desk.intake.is_gone("pen-01", 1)


def test_nobody_else_can_say_that_a_pen_is_gone(desk: Desk, pen: HonestPen) -> None:
    forged = HonestPen(key=b"x" * 32, boots=1, connections=1).will()
    desk.take(forged)
    assert desk.ledger.quarantined(1)[0]["reason"] == "mac_invalid"
    assert not desk.intake.is_gone("pen-01", 1)


def test_what_the_pen_still_sends_is_taken(desk: Desk, pen: HonestPen) -> None:
    desk.take(pen.will())
    group = desk.take(pen.open(badge("est-01")), pen.work(300), pen.close())
    assert group.acks == {("pen-01", 1): 4}
    assert desk.verdicts() == {"pen-01-1-1": ("review", ["CARTRIDGE_MISSING"])}
