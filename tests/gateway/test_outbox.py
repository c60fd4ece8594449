"""The outbox: InfluxDB may fail at any moment; what it has in the end is the same, each point once.

Here InfluxDB is a dictionary, for it must fail at the moment that a test chooses. What a real one does
is in test_influx_sending, test_influx_audit and end_to_end/test_influx.
"""

import gzip
import sqlite3
import threading
import time
from random import Random

import pytest
import structlog
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from sqlalchemy.exc import OperationalError

from needletrail_gateway.core.series.schema import Retention
from needletrail_gateway.record.ledger import Entry
from needletrail_gateway.series import outbox as outboxes
from needletrail_gateway.series import sending
from needletrail_gateway.series.making import Maker
from needletrail_gateway.series.outbox import Ahead, Outbox
from needletrail_gateway.series.sending import Sender
from needletrail_gateway.series.target import Kept, Target
from needletrail_gateway.shell.settings import InfluxSettings
from needletrail_gateway.shell.view import INFLUX


class Database(Target):
    """Takes lines as InfluxDB does: a line with the same series and time replaces the one before."""

    def __init__(self) -> None:
        super().__init__(InfluxSettings(url="http://127.0.0.1:1"))
        self.lines: dict[tuple[str, str, str], str] = {}
        self.written: list[str] = []
        self.answers: list[Kept | None] = []
        self.is_away = False

    def write_body(self, retention: Retention, body: bytes) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None or self.is_away:
            raise answer or Kept("away")
        for line in gzip.decompress(body).decode().split("\n"):
            self.written.append(line)
            self.lines[retention, line.split(" ", 1)[0], line.rsplit(" ", 1)[1]] = line


def morning(serials: tuple[str, ...] = ("S0", "S1")) -> HonestPen:
    """A session for each cartridge."""
    pen = HonestPen()
    pen.boot()
    for serial in serials:
        pen.open(badge("est-01"), cartridge_tag(serial))
        for depth_um in (300, 700, 400, 900):
            pen.work(depth_um, 2000)
            pen.rest(600)
        pen.close()
    return pen


def outbox_of(desk: Desk, database: Database, view: str = INFLUX) -> Outbox:
    return Outbox(
        desk.ledger, Maker(desk.ledger), Sender(desk.ledger, database, lambda: desk.now_utc_ms), view
    )


@pytest.fixture
def expected(desk: Desk) -> dict[tuple[str, str, str], str]:
    """What InfluxDB holds after a morning in which nothing failed."""
    desk.take(morning().sent)
    database = Database()
    outbox_of(desk, database, "another").drain()
    assert len(database.lines) == len(database.written) > 500
    return database.lines


@pytest.mark.parametrize("seed", range(8))
def test_an_influxdb_that_fails_now_and_then_holds_the_same_in_the_end(
    seed: int,
    desk: Desk,
    expected: dict[tuple[str, str, str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = Random(seed)
    monkeypatch.setattr(outboxes, "BATCH_POINTS", 1)
    monkeypatch.setattr(outboxes, "_MARK_S", 0.0)
    monkeypatch.setattr(sending, "_RETRY_FIRST_S", 0.0001)
    monkeypatch.setattr(sending, "_RETRY_MOST_S", 0.0001)
    entries = desk.ledger.entries

    def few(after_id: int = 0, kind: str | None = None, most: int = 1_000) -> list[Entry]:
        return entries(after_id, kind, random.randrange(1, min(most, 4) + 1))

    monkeypatch.setattr(desk.ledger, "entries", few)
    database = Database()
    database.answers = [random.choice([None, Kept("now and then")]) for _ in range(80)]
    one = outbox_of(desk, database)
    while desk.ledger.delivered(INFLUX) < desk.ledger.last_entry_id():
        batch = one.make()
        if random.random() < 0.2:
            one = outbox_of(desk, database)  # the gateway was killed and comes back
        elif batch is not None:
            one.deliver(batch)
    assert database.lines == expected


def test_the_mark_stays_while_influxdb_is_away(desk: Desk) -> None:
    desk.take(morning().sent)
    database, stopped = Database(), threading.Event()
    database.is_away = True
    sender = Sender(desk.ledger, database, lambda: desk.now_utc_ms, stopped)
    one = Outbox(desk.ledger, Maker(desk.ledger), sender, INFLUX, stopped=stopped)
    thread = threading.Thread(target=one.run)
    thread.start()
    one.stop()
    thread.join()
    assert desk.ledger.delivered(INFLUX) == 0
    assert database.written == []


def test_a_mark_that_can_not_be_moved_is_said_once_and_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full. Twice a second in the log would not make it emptier."""
    tries: list[int] = []
    deliver = desk.ledger.deliver

    def full(view: str, entry_id: int) -> None:
        tries.append(entry_id)
        if len(tries) < 4:
            raise OperationalError("UPDATE", {}, sqlite3.OperationalError("disk is full"))
        deliver(view, entry_id)

    monkeypatch.setattr(desk.ledger, "deliver", full)
    desk.take(morning().sent)
    one = outbox_of(desk, Database())
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logged:
        for _ in range(4):
            one.drain()
    last_id = desk.ledger.last_entry_id()
    assert tries == [last_id] * 4
    assert desk.ledger.delivered(INFLUX) == last_id
    said = [one for one in logged if "mark" in one["event"]]
    assert [one["error"] for one in said] == ["disk is full"]


def test_a_kept_batch_is_written_as_it_was_and_nothing_is_counted_twice(
    desk: Desk, expected: dict[tuple[str, str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_RETRY_FIRST_S", 0.0001)
    database = Database()
    database.answers = [Kept("away"), Kept("away"), None, Kept("away")]
    one = outbox_of(desk, database)
    one.drain()
    assert database.lines == expected
    assert len(database.written) == len(expected)
    assert desk.ledger.delivered(INFLUX) == desk.ledger.last_entry_id()


def test_an_alert_goes_ahead_of_the_backlog(desk: Desk) -> None:
    desk.take(morning(("S0", "S1", "S2")).sent)
    database = Database()
    sender = Sender(desk.ledger, database, lambda: desk.now_utc_ms)
    ahead = Ahead(desk.ledger, Maker(desk.ledger), sender, lambda: desk.now_utc_ms, 0)
    ahead.notice()
    ahead.write(is_idle=False)
    assert {line.split(",")[0] for line in database.written} >= {"alert", "notice"}
    assert not [line for line in database.written if line.startswith("depth")]
    told = len(database.written)
    ahead.notice()
    ahead.write(is_idle=False)
    assert len(database.written) == told, "it is told ahead once"
    before = dict(database.lines)
    outbox_of(desk, database).drain()
    assert {key: database.lines[key] for key in before} == before, "its turn changes nothing"


def test_an_alert_of_yesterday_waits_for_its_turn(desk: Desk) -> None:
    desk.take(morning().sent)
    database = Database()
    sender = Sender(desk.ledger, database, lambda: desk.now_utc_ms)
    tomorrow_utc_ms = desk.now_utc_ms + 86_400_000
    ahead = Ahead(desk.ledger, Maker(desk.ledger), sender, lambda: tomorrow_utc_ms, 0)
    ahead.notice()
    ahead.write(is_idle=False)
    assert not [line for line in database.written if line.startswith("notice")]


def test_live_points_are_held_while_influxdb_is_away_and_the_oldest_go_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "LIVE_KEPT", 3)
    database = Database()
    database.is_away = True
    sender = Sender(desk.ledger, database, lambda: desk.now_utc_ms)
    ahead = Ahead(desk.ledger, Maker(desk.ledger), sender, lambda: desk.now_utc_ms, 0)
    for number in range(5):
        ahead.add_live([f"pen_health,pen=pen-01 online=1i {number}"])
        with pytest.raises(Kept):
            ahead.write(is_idle=True)
    database.is_away = False
    ahead.write(is_idle=True)
    held = [line[-1] for line in database.written if line.startswith("pen_health")]
    assert held == ["2", "3", "4"]


def test_what_is_committed_while_it_runs_is_told_soon(desk: Desk) -> None:
    database, stopped = Database(), threading.Event()
    sender = Sender(desk.ledger, database, lambda: desk.now_utc_ms, stopped)
    one = Outbox(desk.ledger, Maker(desk.ledger), sender, INFLUX, stopped=stopped)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        desk.take(morning().sent)
        one.notice()
        deadline_s = time.monotonic() + 30
        while desk.ledger.delivered(INFLUX) < desk.ledger.last_entry_id():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    finally:
        one.stop()
        thread.join()
    assert len([line for line in database.lines.values() if line.startswith("session,")]) == 2


def test_readings_that_influxdb_does_not_keep_are_not_made(desk: Desk) -> None:
    desk.take(morning().sent)
    database, whole = Database(), Database()
    outbox_of(desk, whole, "whole").drain()
    half_utc_ms = NOW_UTC_MS + 8_000
    sender = Sender(desk.ledger, database, lambda: desk.now_utc_ms)
    Outbox(desk.ledger, Maker(desk.ledger, lambda: half_utc_ms), sender, INFLUX).drain()
    left = {key for key in whole.lines if key[0] == "long" or int(key[2]) >= half_utc_ms * 1_000_000}
    assert set(database.lines) == left
    assert 0 < len(left) < len(whole.lines)
