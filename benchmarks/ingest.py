"""Samples taken in for each second of CPU time, beside a plain bridge to InfluxDB.

Ours is the real gateway, as its own process behind a real Mosquitto: receive, verify, judge, commit
to SQLite (WAL, synchronous FULL), acknowledge. Pens that have all the tapes in their journals empty
them, each with the firmware's window of records beyond the last durable acknowledgement. What is
measured is the user and system time of the gateway's process from before the first record to the
last durable acknowledgement; load, broker and sink are processes of their own and not counted.

The peers are parts/bridge.py: paho-mqtt, json and influxdb-client, writing batches of 1,000 points to
an HTTP server that answers 204. They verify, judge and keep nothing. `bridge` takes a message a
sample and leaves the batching to influxdb-client, which is that library's default; `bridge-sync` makes
the batches itself, which costs less; `bridge-50` does so too, and takes a list of 50 samples a message.
Their time counts until the last point was written.

`gateway+influx` is ours once more, writing the time series to the same HTTP server as well; the process
that does so is counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parts import fleet, report
from parts.live_intake import LiveIntake, rates
from parts.load import Journal, PlainLoad
from parts.sink import Sink

from needletrail_gateway.bench.broker import Broker
from needletrail_protocol.readings import Readings

GOAL = 20.0
BATCH_POINTS = 1_000
PLAIN_WINDOW = 100  # messages that the broker has not yet acknowledged, for each plain device

Run = Callable[[], dict[str, float]]


class Clinic(LiveIntake):
    """The load, made once: pens with full journals, and the same samples as JSON."""

    def __init__(self, pens: int, window: int, plain_samples: int, quick: bool) -> None:
        super().__init__(pens, window, fleet.read_tapes(quick))
        # Whole batches of 1,000 points, so that the bridge has written the last of them.
        self.plain_samples = (
            min(plain_samples, self.samples) // (BATCH_POINTS * pens) * BATCH_POINTS * pens
        )

    def bridge(self, batch: int, wanted: int, *options: str) -> dict[str, float]:
        """One run of the bridge, with so many samples a message."""
        each = wanted // len(self.pens)
        journals = []
        for pen in self.pens:
            calibration = self.registry.pen[0].counts_to_depth()
            samples = list(_plain(pen, calibration.depth_um, each))
            sealed = [
                json.dumps(samples[at] if batch == 1 else samples[at : at + batch]).encode()
                for at in range(0, each, batch)
            ]
            journals.append(Journal(pen.id, f"pens/{pen.id}/sample", "", sealed))
        with (
            tempfile.TemporaryDirectory() as folder,
            Broker(Path(folder)) as broker,
            Sink() as sink,
            _bridge(broker.port, sink.url, options) as process,
            PlainLoad(broker.host, broker.port, journals, PLAIN_WINDOW) as load,
        ):
            before_s = report.cpu_s(process.pid)
            load.go()
            told = load.result()
            sink.await_lines(each * len(self.pens))
            spent_s = report.cpu_s(process.pid) - before_s
        return rates(each * len(self.pens), spent_s, told["wall_s"])


def _plain(pen: fleet.FullPen, depth_um: Callable[[int], int], wanted: int) -> Iterator[dict[str, Any]]:
    """Readings of a pen as simple pens would send them; each has a time of its own."""
    number = 0
    for _, record in fleet.sample_records(pen):
        found = Readings(record)
        for counts, strokes, contact in zip(found.dial, found.strokes, found.contact, strict=True):
            if number == wanted:
                return
            yield {
                "t": 1_782_896_400_000 + number * 20,
                "depth_mm": depth_um(counts) / 1000,
                "strokes": strokes,
                "contact": contact,
            }
            number += 1


@contextmanager
def _bridge(port: int, url: str, options: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    program = Path(__file__).parent / "parts" / "bridge.py"
    command = [sys.executable, str(program), "--port", str(port), "--url", url, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not process.stdout.readline().startswith("ready"):
                raise RuntimeError("the bridge did not start")
            yield process
        finally:
            process.kill()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    quick = arguments.quick
    clinic = Clinic(
        pens=2 if quick else arguments.pens,
        window=arguments.window,
        plain_samples=2_000 if quick else arguments.plain_samples,
        quick=quick,
    )
    plain = clinic.plain_samples
    # The toughest peer is several times as fast: it gets more to do, so that its time can be read.
    runs: dict[str, Run] = {
        "gateway": clinic.run,
        "bridge": lambda: clinic.bridge(1, plain),
        "bridge-sync": lambda: clinic.bridge(1, plain, "--sync"),
        "bridge-50": lambda: clinic.bridge(50, plain if quick else 4 * plain, "--sync", "--many"),
    }

    def with_influx() -> dict[str, float]:
        with Sink() as sink:
            return clinic.run(sink.url)

    if quick:
        del runs["bridge-sync"]
    else:
        runs["gateway+influx"] = with_influx
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(1 if quick else arguments.rounds):
        order = list(runs) if number % 2 == 0 else list(reversed(runs))
        found = {}
        for name in order:
            found[name] = runs[name]()
            if not arguments.json:
                rate = found[name]["samples_per_cpu_s"]
                print(f"round {number + 1}  {name:15} {rate:9,.0f}", file=sys.stderr)
        rounds.append(found)
    return summary(rounds, list(runs), clinic)


def summary(
    rounds: list[dict[str, dict[str, float]]], names: list[str], clinic: Clinic
) -> dict[str, Any]:
    def middle(name: str, key: str) -> float:
        return report.median([found[name][key] for found in rounds])

    def ratio(name: str, peer: str) -> float:
        key = "samples_per_cpu_s"
        return report.median([found[name][key] / found[peer][key] for found in rounds])

    return {
        "goal": GOAL,
        "pens": len(clinic.pens),
        "window": clinic.window,
        "rounds": rounds,
        "median": {
            name: {
                key: middle(name, key) for key in ("samples_per_cpu_s", "cpu_s", "wall_s", "samples")
            }
            for name in names
        },
        "ratio": {
            f"{ours}/{peer}": ratio(ours, peer)
            for ours in names
            if ours.startswith("gateway")
            for peer in names
            if peer.startswith("bridge")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each of all runs (5)")
    parser.add_argument("--pens", type=int, default=8, help="pens at once (8)")
    parser.add_argument("--window", type=int, default=16, help="records under way for each pen (16)")
    parser.add_argument(
        "--plain-samples", type=int, default=40_000, help="samples for a bridge (40,000)"
    )
    arguments = parser.parse_args()
    least = BATCH_POINTS * arguments.pens  # a whole batch of each pen, or its last points never leave
    if arguments.plain_samples < least:
        parser.error(f"--plain-samples: with {arguments.pens} pens it takes {least:,} at least")
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    print(f"{found['pens']} pens, window {found['window']}, median of {len(found['rounds'])} rounds\n")
    rows = [
        (name, f"{row['samples_per_cpu_s']:,.0f}", f"{row['samples']:,.0f}", f"{row['cpu_s']:.2f}")
        for name, row in found["median"].items()
    ]
    print(report.table(("", "samples per CPU s", "samples", "CPU s"), rows))
    print()
    rows = [(name, f"{value:.1f}") for name, value in found["ratio"].items()]
    print(report.table(("ratio, median of the rounds' ratios", ""), rows))
    print()
    for name, value in found["ratio"].items():
        if name in ("gateway/bridge", "gateway/bridge-sync"):
            met = "met" if value >= GOAL else "missed"
            print(f"goal: {name} at least {GOAL:.0f}: {met}")


if __name__ == "__main__":
    main()
