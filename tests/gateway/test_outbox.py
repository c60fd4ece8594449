"""The outbox: InfluxDB may fail at any moment; what it has in the end is the same, each point once."""

from random import Random

import pytest
from gateway_clinic import badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from influxdb_client.rest import ApiException

from needletrail_gateway.record.ledger import Entry
from needletrail_gateway.shell import influx
from needletrail_gateway.shell.influx import InfluxWriter
from needletrail_gateway.shell.settings import InfluxSettings


class Database:
    """Takes lines as InfluxDB does: a line with the same series and time replaces the one before."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], str] = {}
        self.written: list[str] = []
        self.answers: list[Exception | None] = []

    def write(self, lines: list[str]) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None and getattr(answer, "status", 0) == 0:
            raise answer
        bad = [line for line in lines if "S-refused" in line]
        if bad:
            raise ApiException(status=400, reason="field type")  # type: ignore[no-untyped-call]
        self.written.extend(lines)
        for line in lines:
            self.lines[line.split(" ", 1)[0], line.rsplit(" ", 1)[1]] = line


def morning(desk: Desk) -> HonestPen:
    """Two sessions, of which one record is committed at a time."""
    pen = HonestPen()
    pen.boot()
    for number in range(2):
        pen.open(badge("est-01"), cartridge_tag(f"S{number}"))
        for depth_um in (300, 700, 400, 900):
            pen.work(depth_um, 2000)
            pen.rest(600)
        pen.close()
    return pen


def writer(desk: Desk) -> InfluxWriter:
    settings = InfluxSettings(url="http://127.0.0.1:1")
    return InfluxWriter(desk.ledger, desk.intake.rules, settings)


def drain(one: InfluxWriter, database: Database) -> None:
    """Until nothing is left; a failure is tried again, as the thread does."""
    while True:
        try:
            if not one.drain_once(database.write):
                return
        except OSError:
            continue


@pytest.fixture
def expected(desk: Desk) -> dict[tuple[str, str], str]:
    """What InfluxDB holds after a morning in which nothing failed."""
    desk.take(morning(desk).sent)
    database = Database()
    drain(writer(desk), database)
    desk.ledger.deliver(influx.VIEW, 0)
    assert len(database.lines) == len(database.written) > 500
    return database.lines


@pytest.mark.parametrize("seed", range(8))
def test_an_influxdb_that_fails_now_and_then_holds_the_same_in_the_end(
    seed: int,
    desk: Desk,
    expected: dict[tuple[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = Random(seed)
    monkeypatch.setattr(influx, "BATCH_POINTS", 1)
    entries = desk.ledger.entries

    def few(after_id: int, most: int) -> list[Entry]:
        return entries(after_id, most=random.randrange(1, min(most, 4)))

    monkeypatch.setattr(desk.ledger, "entries", few)
    database = Database()
    database.answers = [random.choice([None, OSError()]) for _ in range(60)]
    one = writer(desk)
    while desk.ledger.delivered(influx.VIEW) < desk.ledger.last_entry_id():
        drain(one, database)
        if random.random() < 0.2:
            one = writer(desk)  # the gateway was restarted
    assert database.lines == expected
    assert len(database.written) == len(expected), "what was refused is written once, not twice"


def test_what_influxdb_refuses_for_good_is_set_aside_and_the_rest_goes_on(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    for serial in ("S-refused", "S-taken"):
        pen.open(badge("est-01"), cartridge_tag(serial))
        pen.work(300)
        pen.close()
    desk.take(pen.sent)
    database = Database()
    drain(writer(desk), database)
    [row] = desk.ledger.quarantined()
    assert row["reason"] == "influx_refused"
    assert b"S-refused" in row["message"]
    assert desk.ledger.delivered(influx.VIEW) == desk.ledger.last_entry_id()
    assert sum(line.startswith("depth") for line in database.written) == 100
    assert sum(line.startswith("cartridge_use") for line in database.written) == 1


def test_the_mark_stays_while_influxdb_is_away(desk: Desk) -> None:
    desk.take(morning(desk).sent)
    database = Database()
    database.answers = [OSError("away")]
    with pytest.raises(OSError, match="away"):
        writer(desk).drain_once(database.write)
    assert desk.ledger.delivered(influx.VIEW) == 0
