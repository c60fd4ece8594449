"""How late the pen's readings are, whatever else it is busy with.

The firmware, as `needletrail pen build` makes it, plays a tape in real time by its timer, 50 readings a
second, on the Unix port of MicroPython; broker and gateway are the real ones. Beside each pen, at the
same time, runs its peer: a MicroPython loop that does nothing but sleep until the next 20 ms. How late
that is, is the machine's own part.

quiet           nothing is wrong
slow network    everything arrives a second late, in single bytes
losses          the connection is reset every second or two, and the network is away for a second
tls             the same without the wait, with TLS: one handshake after the other
slow disk       each write to flash holds the main task up for 100 ms
garbage         a collection every few milliseconds, and a small heap
all at once     all of these, TLS included

Each run is also checked: every reading must have been taken, none lost from the ring, and the ledger
must hold all of them with the tape's own times. Times are of the wall's clock.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from getpass import getuser
from itertools import count
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen
from typing import Any

from parts import authority, fleet, pens, report

sys.path.append(str(fleet.ROOT / "tests"))  # the rough network is one for tests and benchmarks

from end_to_end.reading import readings
from end_to_end.rough_proxy import DELAY, RESET, Mishap, RoughProxy

from needletrail_gateway.bench.broker import Broker, free_port
from needletrail_gateway.bench.house import House
from needletrail_gateway.core.registry.model import Registry

GOAL_MS = 5
PERIOD_MS = 20
TAPE = fleet.BENCH / "14-ten-minutes.csv"
HEAD_LINES = 5
SLOW_WRITE_MS = 100
SMALL_HEAP = "144k"
DRAIN_S = 60.0
FIGURES = ("p50_us", "p99_us", "latest_us", "late")
BARE = Path(__file__).parent / "parts" / "bare_timer.py"


@dataclass(frozen=True)
class Situation:
    """What a pen has to live with. `network`: mishaps follow each other after so many bytes."""

    name: str
    network: str = ""
    is_tls: bool = False
    slow_write_ms: int = 0
    is_littering: bool = False
    heap: str = pens.HEAP


SITUATIONS = (
    Situation("quiet"),
    Situation("slow network", network="slow"),
    Situation("losses", network="losses"),
    Situation("tls", network="cuts", is_tls=True),
    Situation("slow disk", slow_write_ms=SLOW_WRITE_MS),
    Situation("garbage", is_littering=True, heap=SMALL_HEAP),
    Situation("all at once", "all", True, SLOW_WRITE_MS, True, SMALL_HEAP),
)


def mishaps(network: str, until_s: float) -> Iterator[Mishap]:
    """One after the other until that time, then a good network."""
    random = Random(network)
    for number in count():
        if time.monotonic() >= until_s or not network:
            return
        if network == "slow" or (network == "all" and number % 2):
            yield Mishap(1, DELAY, 1.0)
        elif network == "cuts":
            yield Mishap(random.randrange(1500, 4000), RESET, 0.0)
        else:
            yield Mishap(random.randrange(500, 2500), RESET, 1.0)


def cut_tape(seconds: int, path: Path) -> list[tuple[int, int, int]]:
    """The beginning of a real tape; (t_ms, dial counts, strokes) of each reading in its session."""
    lines = TAPE.read_text().splitlines()
    rows = lines[HEAD_LINES : HEAD_LINES + seconds * 1000 // PERIOD_MS]
    path.write_text("\n".join([*lines[:HEAD_LINES], *rows]) + "\n")
    first = next(index for index, row in enumerate(rows) if ",cartridge:" in row)
    wanted = []
    for row in rows[first:]:
        t_ms, counts, strokes, _ = row.split(",", 3)
        wanted.append((int(t_ms), int(counts), int(strokes)))
    return wanted


class Trial:
    """One house, in which the situations come one after the other, each with a pen of its own."""

    def __init__(self, folder: Path, firmware: pens.Firmware, seconds: int) -> None:
        self._firmware = firmware
        self._seconds = seconds
        self._tape = folder / "cut.csv"
        self._wanted = cut_tape(seconds, self._tape)
        self._registry: Registry = fleet.clinic(len(SITUATIONS))
        self._tls_port = free_port()
        self._house = House(folder, self._registry, folder / "ledger.sqlite")
        lines, self._ca = authority.listener(self._tls_port, folder)
        self._house.broker = Broker(folder, f"user {getuser()}\n{lines}")

    def run(self) -> dict[str, Any]:
        with self._house:
            return {
                one.name: self._situation(one, self._house.registry.pen[index].id)
                for index, one in enumerate(SITUATIONS)
            }

    def _situation(self, one: Situation, pen_id: str) -> dict[str, Any]:
        port = self._tls_port if one.is_tls else self._house.broker.port
        plan = mishaps(one.network, time.monotonic() + self._seconds)
        is_slow = one.network in ("slow", "all")
        with ExitStack() as stack:
            proxy = stack.enter_context(RoughProxy(port, plan, is_fragmented=lambda: is_slow))
            settings = {
                "tape": str(self._tape),
                "speed": 1,
                "timer": 1,
                "wait_ready_s": 1,
                "slow_write_ms": one.slow_write_ms,
                "host": proxy.host,
                "port": proxy.port,
            }
            pen = self._house.pen(pen_id)
            flash = self._firmware.flash(pen, settings, pen.flash, self._ca if one.is_tls else None)
            running = self._firmware.start(flash, one.heap, one.is_littering)
            stack.callback(running.kill)
            command = [self._firmware.micropython, BARE, str(PERIOD_MS), str(self._samples())]
            bare = stack.enter_context(Popen(command, stdout=PIPE, text=True))
            stack.callback(bare.kill)
            events = running.finish(self._seconds + DRAIN_S)
            peer = report.read_json(bare.communicate(timeout=DRAIN_S)[0])
            troubles = len(proxy.happened)
        (timer,) = pens.told(events, "timer")
        found = {
            "pen": {name: timer[name] for name in ("samples", "lost", *FIGURES)},
            "bare": {name: peer[name] for name in ("samples", *FIGURES)},
            "connections": len(pens.told(events, "connected")),
            "mishaps": troubles,
        }
        self._check(one, pen_id, found)
        return found

    def _samples(self) -> int:
        return self._seconds * 1000 // PERIOD_MS

    def _check(self, one: Situation, pen_id: str, found: dict[str, Any]) -> None:
        """RuntimeError unless every reading is in the ledger as it was."""
        if found["pen"]["samples"] != self._samples() or found["pen"]["lost"]:
            raise RuntimeError(f"{one.name}: readings were lost: {found}")
        mine = {row["session_id"] for row in self._house.ledger.sessions() if row["pen"] == pen_id}
        recorded = [
            (t_ms, counts, strokes)
            for session, rows in readings(self._house.ledger).items()
            if session in mine
            for t_ms, counts, strokes, _ in rows
        ]
        if recorded != self._wanted:
            raise RuntimeError(f"{one.name}: the ledger has {len(recorded)} other readings")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    seconds = 4 if arguments.quick else arguments.seconds
    rounds = []
    with tempfile.TemporaryDirectory(prefix="needletrail-") as name:
        folder = Path(name)
        firmware = pens.Firmware(folder / "firmware")
        for number in range(1 if arguments.quick else arguments.rounds):
            place = folder / str(number)
            place.mkdir()
            rounds.append(Trial(place, firmware, seconds).run())
            if not arguments.json:
                worst = {name: one["pen"]["latest_us"] for name, one in rounds[-1].items()}
                print(f"round {number + 1}  latest: {worst}", file=sys.stderr)
    return {
        "goal_ms": GOAL_MS,
        "seconds": seconds,
        "rounds": rounds,
        "median": {one.name: summary([found[one.name] for found in rounds]) for one in SITUATIONS},
        "samples": total(rounds, "pen", "samples"),
        "late": total(rounds, "pen", "late"),
        "bare_late": total(rounds, "bare", "late"),
    }


def total(rounds: list[dict[str, Any]], whose: str, name: str) -> int:
    """Over all situations of all rounds."""
    return sum(one[whose][name] for found in rounds for one in found.values())


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    middle: dict[str, Any] = {
        whose: {name: report.median([one[whose][name] for one in found]) for name in FIGURES}
        for whose in ("pen", "bare")
    }
    middle["ratio"] = {
        name: report.median([one["pen"][name] / max(one["bare"][name], 1) for one in found])
        for name in FIGURES[:3]
    }
    middle["late"] = {whose: sum(one[whose]["late"] for one in found) for whose in ("pen", "bare")}
    middle["connections"] = report.median([one["connections"] for one in found])
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    parser.add_argument("--seconds", type=int, default=20, help="of each situation in a round (20)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    print(f"{found['seconds']} s of each in {len(found['rounds'])} rounds; medians, ms; (bare loop)\n")
    rows = []
    for name, one in found["median"].items():
        both = [f"{one['pen'][key] / 1000:.2f} ({one['bare'][key] / 1000:.2f})" for key in FIGURES[:3]]
        late = f"{one['late']['pen']} ({one['late']['bare']})"
        rows.append((name, f"{one['connections']:.0f}", *both, f"{one['ratio']['p99_us']:.2f}", late))
    head = ("", "connected", "p50", "p99", "latest", "p99 ratio", f"{GOAL_MS} ms late")
    print(report.table(head, rows))
    met = "met" if found["late"] == 0 else "missed"
    print(
        f"\ngoal: no reading later than {GOAL_MS} ms: {met}; of {found['samples']} readings "
        f"{found['late']} were, and of the bare loop's {found['bare_late']}"
    )


if __name__ == "__main__":
    main()
