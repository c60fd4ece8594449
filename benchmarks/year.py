"""A year of 20 pens: taken in and judged live, judged again, verified; does the cost stay flat?

parts/year.py makes the year: treatments as the firmware's recorder writes them, sealed under each
pen's key. A real intake takes them in (verify, judge, commit to SQLite with synchronous FULL,
acknowledge); no broker, so the network's part of intake is not counted. When the ledger holds so many
sessions, the last ones' cost is taken, and the whole ledger is judged again under another pack and
verified.

All times are CPU time of this process. `live`: a session's, median over the last rounds of treatments
(each round is every treatment once, so rounds are alike). `rejudge`, `verify`: a session's, of the
whole ledger, median of the runs. `restart`: an intake's start on that ledger, in all. `ratio`: samples
a second of rejudging beside live intake. Decoding and counting are the replay's inner parts. Cost is
flat if at no size it is more than 10 % above the cost at the smallest one.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from parts import fleet, report
from parts.year import LiveClinic, Year, tapes

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.replay import columns
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.meter import Work
from needletrail_gateway.replay.rejudge import Summary, rejudge
from needletrail_gateway.shell.documents import read_policy
from needletrail_gateway.shell.ledger import Ledger
from needletrail_gateway.shell.proof import prove
from needletrail_protocol import messages
from needletrail_protocol.readings import Readings, decode_record

GOALS = {"samples_per_s": 1_000_000, "ratio": 20, "flat": 1.10}
SIZES = (100, 500, 1_000, 5_000)
ROUNDS_OF_TREATMENTS = 10  # of which the cost at a size is the median
OTHER_PACK = "us-ca"
PAGE = 500


def cpu_s(what: Callable[[], Any]) -> float:
    """CPU time of this process while it does that."""
    began_s = time.process_time()
    what()
    return time.process_time() - began_s


def judge_again(ledger: Ledger, policy: Policy) -> Summary:
    """The whole ledger under a pack, as `needletrail rejudge` does it."""
    knowledge = Knowledge(ledger)
    summary = Summary()
    for one in rejudge(ledger, lambda row: knowledge.rules_by(policy, row), knowledge):
        summary.add(one)
    return summary


def resident_mb() -> float:
    """This process's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def inner_parts(year: Year, rounds: int) -> dict[str, float]:
    """Samples a second of decoding, of counting, and of both; and of the protocol's own reader."""
    treatment = max(year.treatments, key=lambda one: one.samples)
    pen = replace(year.pens[0], session=1)
    payloads = [
        treatment.payload(step, seq, pen, 0, 0)
        for seq, step in enumerate(treatment.steps, 1)
        if step.items[0] == messages.SAMPLES
    ]
    pages = [payloads[at : at + PAGE] for at in range(0, len(payloads), PAGE)]
    whole = columns.joined([columns.decode(page) for page in pages])
    repeats = max(1, 500_000 // len(whole))
    found: dict[str, list[float]] = {"decode": [], "meter": [], "one by one": []}
    runs: dict[str, Callable[[], Any]] = {
        "decode": lambda: [columns.decode(page) for _ in range(repeats) for page in pages],
        "meter": lambda: [
            Work(whole, [], 0).over(1_000).of_at_least(200).total_ms for _ in range(repeats)
        ],
        "one by one": lambda: [Readings(decode_record(payload)) for payload in payloads],
    }
    for _ in range(rounds):
        for name, run in runs.items():
            times = repeats if name != "one by one" else 1
            found[name].append(times * len(whole) / cpu_s(run))
    rates = {name: report.median(values) for name, values in found.items()}
    rates["decode and meter"] = 1 / (1 / rates["decode"] + 1 / rates["meter"])
    return rates


class Grown:
    """The year's ledger as it grows, and what was measured at each size."""

    def __init__(self, folder: Path, year: Year, rounds: int, talk: bool) -> None:
        self._location = folder / "ledger.sqlite"
        self._year = year
        self._rounds = rounds
        self._talk = talk
        self._clinic = LiveClinic(self._location, year)
        self.sessions = self.samples = 0
        self._costs: list[tuple[int, int, float]] = []  # of each day: sessions, samples, CPU

    def grow(self, sizes: list[int]) -> list[dict[str, Any]]:
        found = []
        left = [*sizes]
        for day in self._year.days():
            self._clinic.prepare(day)
            spent_s = cpu_s(lambda day=day: self._clinic.take(day))  # type: ignore[misc]
            self._costs.append((day.sessions, day.samples, spent_s))
            self.sessions += day.sessions
            self.samples += day.samples
            while left and self.sessions >= left[0]:
                found.append(self._measure())
                left.pop(0)
        judged = sum(row["verdict"] is not None for row in self._clinic.ledger.sessions())
        if judged != self.sessions or self._clinic.ledger.quarantined(1):
            raise RuntimeError(f"{judged} of {self.sessions} sessions judged")
        return found

    def _measure(self) -> dict[str, Any]:
        ledger, sessions = self._clinic.ledger, self.sessions
        policy = read_policy(OTHER_PACK)
        before_mb = resident_mb()
        rejudge_s = [cpu_s(lambda: judge_again(ledger, policy)) for _ in range(self._rounds)]
        more_mb = resident_mb() - before_mb
        verify_s = [cpu_s(self._verify) for _ in range(1 if sessions > 1_000 else self._rounds)]
        restart_s = [cpu_s(self._clinic.start) for _ in range(self._rounds)]
        live_s = self._live_cost()
        mean = self.samples / sessions
        found = {
            "sessions": sessions,
            "samples": self.samples,
            "entries": ledger.last_entry_id(),
            "live_ms": 1000 * live_s,
            "rejudge_ms": 1000 * report.median(rejudge_s) / sessions,
            "verify_ms": 1000 * report.median(verify_s) / sessions,
            "restart_ms": 1000 * report.median(restart_s),
            "rejudge_more_mb": more_mb,
            "live_samples_per_s": mean / live_s,
            "rejudge_samples_per_s": self.samples / report.median(rejudge_s),
        }
        found["ratio"] = found["rejudge_samples_per_s"] / found["live_samples_per_s"]
        if self._talk:
            print("  ".join(f"{name} {value:,.4g}" for name, value in found.items()), file=sys.stderr)
        return found

    def _live_cost(self) -> float:
        """CPU of a session of mean length: the median over the last rounds of treatments."""
        mean = self.samples / self.sessions
        costs = []
        sessions = samples = 0
        spent_s = 0.0
        for of_day in reversed(self._costs):
            sessions, samples, spent_s = sessions + of_day[0], samples + of_day[1], spent_s + of_day[2]
            if sessions >= len(self._year.treatments):
                costs.append(spent_s / samples * mean)
                sessions, samples, spent_s = 0, 0, 0.0
            if len(costs) == ROUNDS_OF_TREATMENTS:
                break
        return report.median(costs or [spent_s / max(samples, 1) * mean])

    def _verify(self) -> None:
        proof = prove(self._location)
        if not proof.is_intact:
            raise RuntimeError(f"the ledger does not verify: {proof.findings[:3]}")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    quick = arguments.quick
    sessions = 60 if quick else arguments.sessions
    sizes = [20, 60] if quick else [size for size in SIZES if size <= sessions]
    made = fleet.read_tapes(True) if quick else list(tapes(10, arguments.minutes))
    year = Year(sessions, 3 if quick else arguments.pens, made)
    rounds = 1 if quick else arguments.rounds
    parts = inner_parts(year, rounds)
    with tempfile.TemporaryDirectory() as folder:
        found = Grown(Path(folder), year, rounds, not arguments.json).grow(sizes)
    flat = {
        name: max(row[name] / found[0][name] for row in found)
        for name in ("live_ms", "rejudge_ms", "verify_ms")
    }
    return {"goals": GOALS, "pens": len(year.pens), "parts": parts, "sizes": found, "flat": flat}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="60 short sessions, to see that it runs")
    parser.add_argument("--sessions", type=int, default=5_000, help="sessions in the year (5,000)")
    parser.add_argument("--minutes", type=float, default=5, help="mean length of a session (5)")
    parser.add_argument("--pens", type=int, default=20, help="pens (20)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of rejudge and verify (3)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    rows: list[tuple[str, ...]] = [(name, f"{rate:,.0f}") for name, rate in found["parts"].items()]
    print(report.table(("samples for each CPU second", ""), rows) + "\n")
    names = [name for name in found["sizes"][0] if name != "sessions"]
    rows = [(name, *(f"{row[name]:,.4g}" for row in found["sizes"])) for name in names]
    head = ("sessions", *(f"{row['sessions']:,}" for row in found["sizes"]))
    print(report.table(head, rows) + "\n")
    rows = [(name, f"{value:.2f}") for name, value in found["flat"].items()]
    print(report.table(("highest cost, beside that of the smallest ledger", ""), rows))


if __name__ == "__main__":
    main()
