"""Judging sessions again, beside taking the same sessions in live: samples a second of CPU time.

Live is the whole way of a record, in the gateway's process behind a real Mosquitto: receive, verify,
judge, commit to SQLite (WAL, synchronous FULL), acknowledge (parts/live_intake.py). Then the ledger
that came of it is judged again under another pack, as `needletrail rejudge` does, in this process. So
each round has both on the same sessions; `ratio` is the median of the rounds' ratios.

The treatments are those of the year (parts/year.py), five minutes each on average. The stricter peer,
live intake without its broker, and the cost as a ledger grows are in year.py.
"""

import argparse
import sys
import time
from typing import Any

import structlog
from parts import fleet, report
from parts.again import OTHER_PACK, judge_again
from parts.live_intake import LiveIntake
from parts.year import tapes

from needletrail_gateway.bench.house import House
from needletrail_gateway.shell.documents import read_policy

GOALS = {"samples_per_s": 1_000_000, "ratio": 20}
TREATMENTS = 10
RUNS = 3  # of judging again, in each round


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    quick = arguments.quick
    treatments = fleet.read_tapes(True) if quick else list(tapes(TREATMENTS, arguments.minutes))
    live = LiveIntake(2 if quick else arguments.pens, arguments.window, treatments)
    policy = read_policy(OTHER_PACK)
    rounds = []
    for number in range(1 if quick else arguments.rounds):
        again: list[float] = []

        def judge(house: House, spent: list[float] = again) -> None:
            sessions = len(house.ledger.sessions())
            for _ in range(RUNS):
                began_s = time.process_time()
                judged = judge_again(house.ledger, policy).sessions
                spent.append(time.process_time() - began_s)
                if judged != sessions:
                    raise RuntimeError(f"{judged} of {sessions} sessions judged again")

        taken = live.run(after=judge)
        again_s = report.median(again)
        rounds.append(
            {
                "live_cpu_s": taken["cpu_s"],
                "rejudge_cpu_s": again_s,
                "ratio": taken["cpu_s"] / again_s,
            }
        )
        if not arguments.json:
            print(f"round {number + 1}  {rounds[-1]['ratio']:.1f}", file=sys.stderr)
    live_s, again_s, ratio = (report.median([one[name] for one in rounds]) for name in rounds[0])
    return {
        "goals": GOALS,
        "samples": live.samples,
        "live_samples_per_s": live.samples / live_s,
        "rejudge_samples_per_s": live.samples / again_s,
        "ratio": ratio,
        "ratios": [one["ratio"] for one in rounds],
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it runs")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--pens", type=int, default=8, help="pens at once (8)")
    parser.add_argument("--window", type=int, default=16, help="records under way for each pen (16)")
    parser.add_argument("--minutes", type=float, default=5, help="mean length of a session (5)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    rows = [
        ("taken in live", f"{found['live_samples_per_s']:,.0f}", ""),
        ("judged again", f"{found['rejudge_samples_per_s']:,.0f}", f"{found['ratio']:.1f}"),
    ]
    print(report.table(("samples a second of CPU time", "", "ratio"), rows))
    print(f"\nratios from {min(found['ratios']):.1f} to {max(found['ratios']):.1f}")
    for name, value in (("samples_per_s", "rejudge_samples_per_s"), ("ratio", "ratio")):
        met = "met" if found[value] >= GOALS[name] else "missed"
        print(f"goal: {name} at least {GOALS[name]:,}: {met}")


if __name__ == "__main__":
    main()
