"""Health as dashboards see it: what the gateway knows of its pens, and when it says so."""

from dataclasses import replace
from datetime import date

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen

from needletrail_gateway.core.series.point import Point
from needletrail_gateway.core.series.schema import GATEWAY_HEALTH, PEN_HEALTH
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.health import Pulse, gateway_point, pen_point
from needletrail_gateway.shell.health import ONLINE_HEARD_S, GatewayState, PenState
from needletrail_gateway.shell.view import INFLUX

PEN = PenState(
    pen="pen-01",
    is_gone=False,
    in_session=False,
    silent_s=3,
    backlog=7,
    battery_percent=80,
    clock_offset_ms=-250,
    firmware="0.2.0",
    calibrated=date(2026, 6, 1),
    faults=("motor", "skin"),
)


def state_of(desk: Desk, pen_id: str = "pen-01") -> PenState:
    return next(one for one in desk.intake.pen_states() if one.pen == pen_id)


def fields(point: Point) -> dict[str, object]:
    return dict(point.fields)


# ---- what the intake knows ----


def test_a_pen_that_was_never_heard_is_offline_and_nothing_is_made_up(desk: Desk) -> None:
    state = state_of(desk)
    assert not state.is_online
    told = fields(pen_point("harbor", state, NOW_UTC_MS))
    assert told == {"online": 0, "in_session": 0, "faults": ""}


def test_a_pen_at_work(desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot()
    desk.take(pen.hello(oldest_seq=1, next_seq=40, t_ms=0, utc_ms=NOW_UTC_MS + 1_500), boot)
    desk.now_utc_ms += 4_000
    pen.open(badge("est-01"), cartridge_tag("S0"))
    pen.fault("skin")
    desk.take(pen.sent[2:])
    desk.now_utc_ms += 2_000
    state = state_of(desk)
    assert state.is_online and state.in_session
    assert state.silent_s == 2
    assert state.backlog == 36, "it said 39 records; three have come"
    assert state.clock_offset_ms == 1_500
    assert state.firmware == "test"
    assert state.battery_percent is None, "this pen does not say"
    assert state.faults == ("skin",)
    pen.close()
    desk.take(pen.sent[-1])
    assert not state_of(desk).in_session


def test_a_pen_whose_connection_broke_is_offline_until_it_comes_again(desk: Desk) -> None:
    pen = HonestPen()
    boot = pen.boot()
    desk.take(pen.hello(oldest_seq=1), boot, pen.will())
    assert not state_of(desk).is_online
    desk.now_utc_ms += 10_000
    assert state_of(desk).silent_s == 10, "the last will is the broker's word"
    desk.take(pen.hello())
    assert state_of(desk).is_online


def test_a_pen_that_has_been_silent_for_long_is_not_online(desk: Desk) -> None:
    pen = HonestPen()
    desk.take(pen.boot())
    desk.now_utc_ms += (ONLINE_HEARD_S - 1) * 1_000
    assert state_of(desk).is_online
    desk.now_utc_ms += 1_000
    assert not state_of(desk).is_online


# ---- points ----


def test_every_field_of_the_schema_is_told() -> None:
    point = pen_point("harbor", PEN, NOW_UTC_MS)
    assert point.tags == (("clinic", "harbor"), ("pen", "pen-01"))
    assert fields(point).keys() == {one.name for one in PEN_HEALTH.fields}
    assert fields(point)["calibrated_days"] == 30
    assert fields(point)["faults"] == "motor skin"


def test_the_gateway_says_how_long_the_outbox_waits(desk: Desk) -> None:
    ledger = desk.ledger
    desk.take(HonestPen().boot())
    state = GatewayState("harbor", 5, 2, 1.5, (PEN, replace(PEN, pen="pen-02", is_gone=True)))
    point = gateway_point(ledger, state, 12.5, desk.now_utc_ms + 30_000)
    told = fields(point)
    assert told.keys() == {one.name for one in GATEWAY_HEALTH.fields}
    assert (told["outbox"], told["entries"]) == (ledger.last_entry_id(),) * 2
    assert told["outbox_s"] == 30
    assert (told["pens"], told["pens_online"], told["commit_ms"]) == (2, 1, 12.5)
    ledger.deliver(INFLUX, ledger.last_entry_id())
    told = fields(gateway_point(ledger, state, None, desk.now_utc_ms + 30_000))
    assert (told["outbox"], told["outbox_s"]) == (0, 0)
    assert "commit_ms" not in told, "there was none"


def test_points_come_in_their_time_and_at_each_change(ledger: Ledger) -> None:
    pulse = Pulse(ledger)

    def told(seconds: float, pen: PenState = PEN, commit_ms: float | None = None) -> list[str]:
        state = GatewayState("harbor", 0, 0, commit_ms, (pen,))
        found = list(pulse.points(state, NOW_UTC_MS + round(seconds * 1000)))
        for point in found:
            commits.extend(value for name, value in point.fields if name == "commit_ms")
        return [point.measurement for point in found]

    commits: list[object] = []
    assert told(0) == ["pen_health", "gateway_health"]
    assert told(1, commit_ms=30.0) == []
    assert told(2, replace(PEN, in_session=True), 4.0) == ["pen_health"]
    assert told(3, replace(PEN, in_session=True)) == []
    assert told(15, replace(PEN, in_session=True)) == ["gateway_health"]
    assert commits == [30.0], "the longest since the point before"
    assert told(16) == ["pen_health"]
    assert told(45.9) == ["gateway_health"]
    assert told(46) == ["pen_health"]
    assert told(10) == ["pen_health", "gateway_health"], "the clock was set back"


@pytest.mark.parametrize("silent_s", [None, ONLINE_HEARD_S])
def test_who_is_online(silent_s: int | None) -> None:
    assert PEN.is_online
    assert not replace(PEN, silent_s=silent_s).is_online
    assert not replace(PEN, is_gone=True).is_online
