"""A year of 20 pens: taken in and judged live, judged again, verified; does the cost stay flat?

parts/year.py makes the year: treatments as the firmware's recorder writes them, sealed under each
pen's key. A real intake takes them in (verify, judge, commit to SQLite with synchronous FULL,
acknowledge); no broker, so the network's part of intake is not counted. When the ledger holds so many
sessions, the last ones' cost is taken, and the whole ledger is judged again under another pack and
verified.

All times are CPU time of this process. `live_ms` is a session's of mean length: the median of the last
rounds before that size, each of every treatment once. `rejudge_ms`, `verify_ms`: a session's, of the
whole ledger, median of the runs. A machine is faster at one time than at another; so each of the three
is done by turns with the same work on a ledger that stays small, and whether the cost grows is read
from the ratio (`beside_small`). `flat` is the highest such ratio beside that of the smallest size.
`restart_ms`: an intake's start on that ledger, in all. `ratio`: samples a second of rejudging beside
those of live intake into an empty ledger (which costs least) right before and after it, median of the
runs. Decoding and counting are the replay's inner parts.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from parts import fleet, report
from parts.again import OTHER_PACK, cpu_s, judge_again
from parts.year import Day, LiveClinic, Year, tapes

from needletrail_gateway.bench.tapes import Tape
from needletrail_gateway.record.proof import prove
from needletrail_gateway.replay import columns
from needletrail_gateway.replay.meter import Work
from needletrail_gateway.shell.documents import read_policy
from needletrail_protocol import messages
from needletrail_protocol.readings import Readings, decode_record

GOALS = {"samples_per_s": 1_000_000, "ratio": 20, "flat": 1.10}
SIZES = (100, 500, 1_000, 5_000)
TURNS = 16  # rounds of treatments that are measured before a size
PAGE = 500


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


class Small:
    """A ledger that stays as small as at the beginning: what the same work costs at this moment."""

    def __init__(self, folder: Path, tapes_of: list[Tape], pens: int, sessions: int) -> None:
        self._folder = folder
        self._tapes = tapes_of
        self._pens = pens
        self.sessions = sessions
        self.location = folder / "small.sqlite"
        year = Year(sessions, pens, tapes_of)
        clinic = LiveClinic(self.location, year)
        for day in year.days():
            clinic.prepare(day)
            clinic.take(day)
        self.ledger = clinic.ledger

    def live_s(self) -> float:
        """CPU of a sample: every treatment once, into an empty ledger."""
        year = Year(len(self._tapes), self._pens, self._tapes)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            clinic = LiveClinic(Path(folder) / "empty.sqlite", year)
            return _take(clinic, list(year.days()))


def _take(clinic: LiveClinic, days: list[Day]) -> float:
    """CPU of a sample."""
    spent_s = 0.0
    for day in days:
        clinic.prepare(day)
        spent_s += cpu_s(lambda day=day: clinic.take(day))  # type: ignore[misc]
    return spent_s / sum(day.samples for day in days)


class Grown:
    """The year's ledger as it grows, and what was measured at each size."""

    def __init__(self, folder: Path, year: Year, small: Small, rounds: int, talk: bool) -> None:
        self._location = folder / "ledger.sqlite"
        self._year = year
        self._small = small
        self._rounds = rounds
        self._talk = talk
        self._clinic = LiveClinic(self._location, year)
        self.sessions = self.samples = 0

    def grow(self, sizes: list[int]) -> list[dict[str, Any]]:
        """At a size, the last days are taken in by turns with the same treatments elsewhere."""
        found: list[dict[str, Any]] = []
        for size, days in self._approaches(sizes):
            live: list[tuple[float, float]] = []
            for some in days:
                before = self._small.live_s() if len(live) % 2 else None
                rate = self._take(some)
                # Days are whole, so a round may have had all its sessions in the one before.
                if some is not days[0] and rate is not None:
                    live.append((rate, before or self._small.live_s()))
            found.append(self._measure(live))
            if self.sessions < size:
                raise RuntimeError(f"{self.sessions} sessions where {size} were wanted")
        ledger = self._clinic.ledger
        judged = sum(row["verdict"] is not None for row in ledger.sessions())
        if judged != self.sessions or ledger.quarantined(1):
            raise RuntimeError(f"{judged} of {self.sessions} sessions judged")
        return found

    def _approaches(self, sizes: list[int]) -> Iterator[tuple[int, list[Iterable[Day]]]]:
        """For each size the days up to it: first those that are not measured, then rounds that are."""
        each = len(self._year.treatments)
        days = self._year.days()
        made = 0

        def until(wanted: int) -> Iterator[Day]:
            nonlocal made
            while made < wanted:
                day = next(days)
                made += day.sessions
                yield day

        for size in sizes:
            first = max(size - TURNS * each, made)
            yield size, [until(wanted) for wanted in (*range(first, size, each), size)]

    def _take(self, days: Iterable[Day]) -> float | None:
        """CPU of a sample; None if there are no days."""
        spent_s, samples = 0.0, 0
        for day in days:
            spent_s += _take(self._clinic, [day]) * day.samples
            samples += day.samples
            self.sessions += day.sessions
        self.samples += samples
        return spent_s / samples if samples else None

    def _measure(self, live: list[tuple[float, float]]) -> dict[str, Any]:
        ledger, sessions = self._clinic.ledger, self.sessions
        policy = read_policy(OTHER_PACK)
        before_mb = resident_mb()
        rejudge_s, verify_s, restart_s, ratios = [], [], [], []
        for _ in range(self._rounds):
            before_s = self._small.live_s()
            again_s = cpu_s(lambda: judge_again(ledger, policy))
            ratios.append((before_s + self._small.live_s()) / 2 * self.samples / again_s)
            rejudge_s.append((again_s, cpu_s(lambda: judge_again(self._small.ledger, policy))))
            restart_s.append(cpu_s(self._clinic.start))
        more_mb = resident_mb() - before_mb
        for _ in range(self._rounds):
            verify_s.append(
                (
                    cpu_s(lambda: _verify(self._location)),
                    cpu_s(lambda: _verify(self._small.location)),
                )
            )
        small = self._small.sessions
        mean = self.samples / sessions
        live_s = report.median([ours for ours, _ in live])
        again_s = report.median([ours for ours, _ in rejudge_s])
        found = {
            "sessions": sessions,
            "samples": self.samples,
            "entries": ledger.last_entry_id(),
            "live_ms": 1000 * live_s * mean,
            "rejudge_ms": 1000 * again_s / sessions,
            "verify_ms": 1000 * report.median([ours for ours, _ in verify_s]) / sessions,
            "live_pairs": len(live),
            "live_beside_small": sum(ours for ours, _ in live) / sum(theirs for _, theirs in live),
            "rejudge_beside_small": report.median(
                [ours / sessions / (theirs / small) for ours, theirs in rejudge_s]
            ),
            "verify_beside_small": report.median(
                [ours / sessions / (theirs / small) for ours, theirs in verify_s]
            ),
            "restart_ms": 1000 * report.median(restart_s),
            "rejudge_more_mb": more_mb,
            "live_samples_per_s": 1 / live_s,
            "rejudge_samples_per_s": self.samples / again_s,
            "ratio": report.median(ratios),
            "ratio_lowest": min(ratios),
        }
        if self._talk:
            print("  ".join(f"{name} {value:,.4g}" for name, value in found.items()), file=sys.stderr)
        return found


def _verify(location: Path) -> None:
    proof = prove(location)
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = Small(folder, made, len(year.pens), sizes[0])
        found = Grown(folder, year, small, rounds, not arguments.json).grow(sizes)
    flat = {
        name: max(row[f"{name}_beside_small"] / found[0][f"{name}_beside_small"] for row in found)
        for name in ("live", "rejudge", "verify")
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
