"""How fast the outbox drains into a real InfluxDB, and what alerts feel of it.

Ours: `Outbox` on a ledger of which InfluxDB has not been told anything yet, in a process of its own, as
in the gateway: read entries, make points, compress, write, move the mark. Its peer writes the very same
lines, in the very same batches, which it has ready in memory, straight with influxdb-client: `plain` as
that library comes, `gzip` with its compression on. All of them into an empty InfluxDB 1.6.7 behind
nginx (tests/end_to_end/influx_bench.py), by the clock on the wall; rounds in alternating order.

`alerts`: the time from a breach's record to its alert, through broker and real gateway, as in
alert_latency.py, with the echo beside it: first idle, then while the gateway's own outbox drains a
backlog. And, for each of the alerts raised meanwhile, how long it took until InfluxDB had its notice.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import structlog
from alert_latency import Breaches, Pen, echo_process
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from parts import fleet, report

from needletrail_gateway.bench.house import House
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Group, Ledger
from needletrail_gateway.series.making import Maker
from needletrail_gateway.series.outbox import Batch, Outbox
from needletrail_gateway.series.sending import Sender
from needletrail_gateway.series.target import Target
from needletrail_gateway.shell.documents import keys_of, read_policy
from needletrail_gateway.shell.intake import Intake
from needletrail_gateway.shell.settings import InfluxSettings
from needletrail_gateway.shell.view import INFLUX

sys.path.append(str(fleet.ROOT / "tests"))

from end_to_end.influx_bench import BUCKET, InfluxBench

GOAL = 0.7
RECORDS_IN_A_COMMIT = 100
PEERS = ("plain", "gzip")
TIMEOUT_S = 300.0


def fill(path: Path, registry: Registry, pens: list[str], quick: bool, repeats: int) -> int:
    """A ledger of what these pens have recorded, straight through the intake. How many samples."""
    ledger = Ledger.open(path)
    ledger.import_registry(registry, keys_of(registry), _now_utc_ms())
    intake = Intake(ledger, read_policy, _now_utc_ms)
    samples = 0
    for pen_id in pens:
        full = fleet.fill(registry, pen_id, fleet.read_tapes(quick), repeats)
        samples += full.samples
        messages = full.messages()
        for at in range(0, len(messages), RECORDS_IN_A_COMMIT):
            for message in messages[at : at + RECORDS_IN_A_COMMIT]:
                intake.receive(full.topic, message)
            group, intake.group = intake.group, Group()
            ledger.commit(group, _now_utc_ms())
    ledger.close()
    return samples


@contextmanager
def database() -> Iterator[InfluxBench]:
    """An empty InfluxDB."""
    with tempfile.TemporaryDirectory() as folder:
        bench = InfluxBench(Path(folder) / "influx")
        bench.start()
        try:
            yield bench
        finally:
            bench.stop()


def settings_of(url: str) -> InfluxSettings:
    return InfluxSettings(url=url, bucket=BUCKET, raw_days=0)


# ---- the rate; each of these runs in a process of its own ----


def drain(path: Path, url: str) -> dict[str, float]:
    """Drain the ledger's outbox."""
    ledger = Ledger.open(path)
    points = 0

    def told(batch: Batch) -> None:
        nonlocal points
        points += batch.points

    with Target(settings_of(url)) as target:
        target.server()
        sender = Sender(ledger, target, _now_utc_ms)
        began_s, cpu_s = time.perf_counter(), time.process_time()
        Outbox(ledger, Maker(ledger), sender, INFLUX, told=told).run(is_until_told=True)
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    ledger.close()
    return {"points": points, "wall_s": wall_s, "cpu_s": cpu_s}


def write_straight(path: Path, url: str, has_gzip: bool) -> dict[str, float]:
    """Write the same batches, made beforehand, with influxdb-client."""
    ledger = Ledger.open(path)
    with Target(settings_of(url)) as target:
        outbox = Outbox(ledger, Maker(ledger), Sender(ledger, target, _now_utc_ms), INFLUX)
        batches = []
        while (batch := outbox.make()) is not None:
            batches += [(target.bucket(part.retention), list(part.lines)) for part in batch.parts]
    with InfluxDBClient(url=url, token="-", org="-", enable_gzip=has_gzip, timeout=30_000) as client:
        write_api = client.write_api(write_options=SYNCHRONOUS)
        client.ping()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for bucket, lines in batches:
            write_api.write(bucket, "-", lines, write_precision=WritePrecision.NS)
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    ledger.close()
    return {"points": sum(len(lines) for _, lines in batches), "wall_s": wall_s, "cpu_s": cpu_s}


def run(name: str, ledger: Path) -> dict[str, float]:
    """One run in a fresh process, on a fresh copy of the ledger, into a fresh InfluxDB."""
    with tempfile.TemporaryDirectory() as folder, database() as influx:
        path = Path(folder) / "ledger.sqlite"
        shutil.copyfile(ledger, path)
        command = [sys.executable, __file__, "--part", name, str(path), influx.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        found = json.loads(done.stdout)
        held = influx.count("depth", "depth_mm", "raw") + influx.count("depth_1s", "samples")
    if not 0 < held <= found["points"]:
        raise RuntimeError(f"{held} readings arrived of {found['points']} points")
    return found | {"points_per_s": found["points"] / found["wall_s"]}


# ---- alerts meanwhile ----


def alerts(ledger: Path, registry: Registry, script: Breaches, is_draining: bool) -> dict[str, Any]:
    """Alerts' and echoes' times in milliseconds, idle or until the outbox has drained."""
    times: dict[str, list[float]] = {"alert": [], "echo": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "ledger.sqlite"
        shutil.copyfile(ledger, path)
        influx = stack.enter_context(database())
        if not is_draining:
            opened = Ledger.open(path)
            opened.deliver(INFLUX, opened.last_entry_id())
            opened.close()
        house = stack.enter_context(House(folder, registry, path, influx.environment()))
        stack.enter_context(echo_process(house.broker.port))
        pen = Pen(house.broker, script)
        stack.callback(pen.close)
        record = script.sealed[script.at[0]]
        deadline_s = time.monotonic() + TIMEOUT_S
        while is_draining and influx.count("depth", "depth_mm", "raw") == 0:
            if time.monotonic() > deadline_s:
                raise TimeoutError("the outbox does not drain")
            time.sleep(0.02)
        backlog = house.ledger.last_entry_id()
        for number in range(len(script.at)):
            is_over = house.ledger.delivered(INFLUX) >= backlog
            if is_draining and is_over and number > 0:  # a quick backlog may be over before the first
                break
            times["alert"].append(pen.session(number))
            time.sleep(0.003)
            times["echo"].append(pen.time("echo/up", record, "echo/down"))
            time.sleep(0.003)
        raised = len(times["alert"])
        is_over = house.ledger.delivered(INFLUX) >= backlog
        delays_s = notice_delays_s(influx, raised) if is_draining and not is_over else []
        if house.await_influx(TIMEOUT_S):
            raise TimeoutError("the outbox did not drain")
    return {
        "raised": raised,
        "p50": {name: report.quantile(found, 0.5) for name, found in times.items()},
        "p99": {name: report.quantile(found, 0.99) for name, found in times.items()},
        "notice_s": max(delays_s, default=None),
    }


def notice_delays_s(influx: InfluxBench, wanted: int) -> list[float]:
    """How old the newest notice is when InfluxDB has it, while the backlog still drains."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        rows = influx.query('SELECT "notices" FROM "notice" WHERE "pen" = \'bench-01\'')
        if len(rows) >= wanted:
            return [time.time() - rows[-1]["time"] / 1e9]
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{len(rows)} of {wanted} notices came")
        time.sleep(0.02)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    quick = arguments.quick
    pens = 2 if quick else arguments.pens
    registry = fleet.clinic(1 + pens)
    names = ["drain", *PEERS]
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger.sqlite"
        samples = fill(ledger, registry, fleet.pen_ids(1 + pens)[1:], quick, 1 if quick else 2)
        for number in range(1 if quick else arguments.rounds):
            order = names if number % 2 == 0 else names[::-1]
            rounds.append({name: run(name, ledger) for name in order})
            if not arguments.json:
                rates = {name: round(rounds[-1][name]["points_per_s"]) for name in names}
                print(f"round {number + 1}  points/s: {rates}", file=sys.stderr)
        script = Breaches(registry, 5 if quick else arguments.breaches)
        latency = {
            "idle": alerts(ledger, registry, script, is_draining=False),
            "draining": alerts(ledger, registry, script, is_draining=True),
        }
    return {
        "goal": GOAL,
        "samples": samples,
        "points": rounds[0]["drain"]["points"],
        "rounds": rounds,
        "median": {
            name: {
                "points_per_s": report.median([one[name]["points_per_s"] for one in rounds]),
                "cpu_us_a_point": report.median(
                    [one[name]["cpu_s"] / one[name]["points"] * 1e6 for one in rounds]
                ),
            }
            for name in names
        },
        "ratio": {
            peer: report.median(
                [one["drain"]["points_per_s"] / one[peer]["points_per_s"] for one in rounds]
            )
            for peer in PEERS
        },
        "alerts": latency,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each of all runs (5)")
    parser.add_argument("--pens", type=int, default=6, help="pens whose records are in the ledger (6)")
    parser.add_argument("--breaches", type=int, default=200, help="alerts, at most (200)")
    parser.add_argument("--part", nargs=3, metavar=("NAME", "LEDGER", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        name, path, url = arguments.part
        found = drain(Path(path), url) if name == "drain" else None
        print(json.dumps(found or write_straight(Path(path), url, name == "gzip")))
        return
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    print(f"{found['points']:,} points, median of {len(found['rounds'])} rounds\n")
    rows = [
        (name, f"{row['points_per_s']:,.0f}", f"{row['cpu_us_a_point']:.1f}")
        for name, row in found["median"].items()
    ]
    print(report.table(("", "points a second", "CPU µs a point"), rows))
    print()
    for peer, ratio in found["ratio"].items():
        met = "met" if ratio >= GOAL else "missed"
        print(f"goal: drain/{peer} at least {GOAL}: {ratio:.2f}, {met}")
    print()
    rows = [
        (
            f"{state} {share}",
            f"{row[share]['alert']:.2f}",
            f"{row[share]['echo']:.2f}",
            f"{row[share]['alert'] / row[share]['echo']:.2f}",
        )
        for state, row in found["alerts"].items()
        for share in ("p50", "p99")
    ]
    print(report.table(("alerts, ms", "alert", "echo", "alert/echo"), rows))
    if found["alerts"]["draining"]["notice_s"] is not None:
        print(
            f"\nthe newest notice was in InfluxDB after {found['alerts']['draining']['notice_s']:.1f} s"
        )


def _now_utc_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()
