"""A real InfluxDB, filled from the outbox: complete, none twice, whatever goes away meanwhile."""

import time
from pathlib import Path

from end_to_end.influx_bench import InfluxBench
from end_to_end.reading import readings, statements
from needletrail_gateway.bench.house import House
from needletrail_gateway.core.points import MEASUREMENTS
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Ledger

TAPES = ("02-cosmetic-exceeded", "09-cartridge-reused", "12-no-cartridge-tag")
DRAIN_S = 60


def play(house: House, bench: Path, names: tuple[str, ...]) -> None:
    """Play tapes one after another on one pen."""
    pen = house.pen("pen-01")
    for name in names:
        pen.play(bench / f"{name}.csv", 0, lambda process: process.wait(120))


def assert_complete(influx: InfluxBench, ledger: Ledger) -> None:
    """Every count in InfluxDB equals the one from the ledger."""
    judged = statements(ledger).values()
    samples = sum(len(found) for found in readings(ledger).values())
    assert samples > 0
    assert influx.count("depth", "depth_mm") == samples
    assert influx.count("session", "session") == len(judged)
    assert influx.count("pass", "duration_ms") == sum(found["passes"] for found in judged)
    assert influx.count("alert", "session") == sum(len(found["alerts"]) for found in judged)
    assert influx.count("cartridge_use", "session") == sum(
        found["cartridge"] is not None for found in judged
    )


def test_samples_sessions_passes_alerts_and_cartridges_arrive(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        play(house, bench, TAPES)
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)
        for name, (tags, fields) in MEASUREMENTS.items():
            assert {row["tagKey"] for row in influx.query(f'SHOW TAG KEYS FROM "{name}"')} == set(tags)
            found = {row["fieldKey"] for row in influx.query(f'SHOW FIELD KEYS FROM "{name}"')}
            assert found == set(fields)
        peaks = influx.query('SELECT max("depth_mm") AS peak FROM "depth" WHERE "working" = true')
        statement = max(statements(house.ledger).values(), key=lambda found: found["peak_mm"])
        assert peaks[0]["peak"] == statement["peak_mm"]


def test_influx_away_then_back(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    influx.kill_influxd()
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        play(house, bench, TAPES[:1])
        before = statements(house.ledger)
        assert before["pen-01-1-1"]["verdict"] == "violation"
        waiting = house.await_influx(0)
        assert waiting > 40  # a record a second of treatment, and the verdict
        play(house, bench, TAPES[2:])
        assert house.await_influx(0) > waiting
        influx.start_influxd()
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)


def test_gateway_and_influx_killed_while_it_drains(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    influx.kill_influxd()
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        play(house, bench, ("14-ten-minutes", *TAPES))
        for _ in range(5):
            influx.start_influxd()
            waiting = house.await_influx(0)
            deadline_s = time.monotonic() + DRAIN_S
            while waiting > 0 and house.await_influx(0) == waiting:
                assert time.monotonic() < deadline_s, "the outbox does not drain"
                time.sleep(0.01)
            house.kill_gateway()
            influx.kill_influxd()
            house.start_gateway()
        influx.start_influxd()
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)


def test_outbox_told_again_changes_nothing(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        play(house, bench, TAPES[:1])
        assert house.await_influx(DRAIN_S) == 0
        house.kill_gateway()
        house.ledger.deliver("influx", 0)
        house.start_gateway()
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)
