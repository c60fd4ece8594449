"""A real InfluxDB, filled from the outbox: complete, none twice, whatever goes away meanwhile."""

import os
import signal
import time
from pathlib import Path

import pytest

from end_to_end.influx_bench import InfluxBench
from end_to_end.reading import readings, statements
from needletrail_gateway.bench.house import House
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.series.schema import MEASUREMENTS
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.setup import set_up
from needletrail_gateway.series.target import Target
from needletrail_gateway.shell.settings import InfluxSettings
from needletrail_gateway.shell.view import INFLUX

TAPES = ("02-cosmetic-exceeded", "09-cartridge-reused", "12-no-cartridge-tag")
DRAIN_S = 60
CLIENT = "c-7k2m9qxa"
KINDS = {"float": "float", "integer": "integer", "boolean": "boolean", "string": "text"}


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
    assert influx.count("depth", "depth_mm", "raw") == samples
    assert influx.count("session", "sessions") == len(judged)
    assert influx.count("reason", "counted") == sum(len(found["reasons"]) for found in judged)
    assert influx.count("pass", "number") == sum(found["passes"] for found in judged)
    assert influx.count("breach", "breaches") == sum(len(found["breach_spans_ms"]) for found in judged)
    for name, field in (("alert", "alerts"), ("notice", "notices")):
        assert influx.count(name, field) == sum(len(found["alerts"]) for found in judged)
    assert influx.count("cartridge_use", "uses") == sum(
        found["cartridge"] is not None for found in judged
    )
    [seconds] = influx.query(
        'SELECT sum("samples") AS samples, sum("work_ms") AS work_ms FROM depth_1s'
    )
    assert seconds["samples"] == samples
    assert seconds["work_ms"] == sum(found["work_ms"] for found in judged)


def test_everything_of_the_schema_arrives(
    influx: InfluxBench,
    registry: Registry,
    bench: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever settings a gateway that really serves has in the environment; and no client with it."""
    elsewhere = tmp_path / "elsewhere.sqlite"
    monkeypatch.setenv("NEEDLETRAIL_LEDGER__LOCATION", str(elsewhere))
    monkeypatch.setenv("NEEDLETRAIL_INFLUX__ORG", "elsewhere")
    place = tmp_path / "the clinic's ledger" / "a b #1.sqlite"
    place.parent.mkdir()
    with House(tmp_path, registry, place, influx.environment()) as house:
        play(house, bench, TAPES)
        name = next(iter(statements(house.ledger)))
        now_utc_ms = time.time_ns() // 1_000_000
        of_client = {"who": "desk", "at_utc_ms": now_utc_ms, "practitioner": "est-01", "client": CLIENT}
        house.ledger.note("note", of_client | {"session": name, "area": "areamark"}, now_utc_ms)
        word = {"who": "md-01", "session": name, "code": "DEPTH_EXCEEDED", "why": f"for {CLIENT}"}
        house.ledger.note("override", word, now_utc_ms, name)
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)
        assert [row["why"] for row in influx.query('SELECT "why" FROM "override"')] == ["for (client)"]
        assert not elsewhere.exists()
        wanted = {one.name for one in MEASUREMENTS}
        deadline_s = time.monotonic() + DRAIN_S
        while (held := {row["name"] for row in influx.query("SHOW MEASUREMENTS")}) != wanted:
            assert time.monotonic() < deadline_s, wanted - held
            time.sleep(0.05)
        for one in MEASUREMENTS:
            source = f'"raw"."{one.name}"' if one.retention == "raw" else f'"{one.name}"'
            tags = {row["tagKey"] for row in influx.query(f"SHOW TAG KEYS FROM {source}")}
            assert tags <= {tag.name for tag in one.tags}
            kinds = {field.name: field.kind for field in one.fields}
            for row in influx.query(f"SHOW FIELD KEYS FROM {source}"):
                assert KINDS[row["fieldType"]] == kinds[row["fieldKey"]], (one.name, row)
    logged = (tmp_path / "gateway.log").read_text()
    assert "session judged" in logged and "InfluxDB found" in logged
    assert CLIENT not in logged and "areamark" not in logged


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
        health = influx.query('SELECT "outbox" FROM "gateway_health"')
        assert max(row["outbox"] for row in health) > 0, "it was held while InfluxDB was away"


def test_gateway_and_influx_killed_while_it_drains(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    influx.kill_influxd()
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        play(house, bench, ("14-ten-minutes", *TAPES))
        waiting = house.await_influx(0)
        for part in (1, 2):
            influx.start_influxd()
            deadline_s = time.monotonic() + DRAIN_S
            while influx.count("depth", "depth_mm", "raw") < part * 4_000:
                assert time.monotonic() < deadline_s, "the outbox does not drain"
                time.sleep(0.005)
            house.kill_gateway()
            influx.kill_influxd()
            house.start_gateway()
        assert house.await_influx(0) <= waiting
        influx.start_influxd()
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)


def test_the_gateway_starts_its_writer_again(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        assert house.gateway is not None
        [writer] = children(house.gateway.pid)
        os.kill(writer, signal.SIGKILL)
        play(house, bench, TAPES[:1])
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)
        assert children(house.gateway.pid) != [writer]
        [writer] = children(house.gateway.pid)
        house.kill_gateway()
        deadline_s = time.monotonic() + DRAIN_S
        while Path(f"/proc/{writer}").exists():
            assert time.monotonic() < deadline_s, "it outlived its gateway"
            time.sleep(0.02)


def test_buckets_that_are_missing_are_said_and_waited_for(
    registry: Registry, bench: Path, tmp_path: Path
) -> None:
    influx = InfluxBench(tmp_path / "influx")
    influx.start_empty()
    try:
        with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
            play(house, bench, TAPES[:1])
            deadline_s = time.monotonic() + DRAIN_S
            while "needletrail influx setup" not in house.gateway_log():
                assert time.monotonic() < deadline_s, house.gateway_log()
                time.sleep(0.05)
            assert house.await_influx(0) > 40
            with Target(InfluxSettings(url=influx.url, raw_days=0)) as target:
                set_up(target)
            assert house.await_influx(DRAIN_S) == 0
            assert_complete(influx, house.ledger)
    finally:
        influx.stop()


def test_outbox_told_again_changes_nothing(
    influx: InfluxBench, registry: Registry, bench: Path, tmp_path: Path
) -> None:
    with House(tmp_path, registry, tmp_path / "ledger.sqlite", influx.environment()) as house:
        play(house, bench, TAPES[:1])
        assert house.await_influx(DRAIN_S) == 0
        house.kill_gateway()
        house.ledger.deliver(INFLUX, 0)
        house.start_gateway()
        assert house.await_influx(DRAIN_S) == 0
        assert_complete(influx, house.ledger)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sorted({int(child) for task in tasks for child in (task / "children").read_text().split()})
