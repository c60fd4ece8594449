"""What a pen needs: heap, bytes and time for a reading.

Heap: the firmware as `needletrail pen build` makes it for the virtual board plays the ten-minute tape
as fast as it can, with the real broker and gateway. `peak` is the largest `gc.mem_alloc()` that it saw,
which counts garbage not yet collected; `least` is the smallest heap, in steps of 4 KB, with which a pen
boots, plays a tape with a breach and delivers it. This port has words of 64 bits, and a board has 32.

Bytes: all tapes through the firmware's own recorder. In the journal: the frames of all records. On the
wire: all of them sealed, each an MQTT 3.1.1 PUBLISH; acknowledgements and keep-alives are not counted.

Time: CPU time of MicroPython's Unix port for a reading: sampler, ring and recorder, with and without
the guard, no network and no flash. The peer is a loop of asyncio that only lets others go first, once
for each reading. The processes take turns. `whole firmware` has network, journal and reading the tape
in it: CPU time of a run with the ten-minute tape, less that of a run with its first minute, for each
reading more.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from parts import fleet, pens, report, wire

from needletrail_device import frames
from needletrail_gateway.bench.house import House

GOAL_PEAK_BYTES = 96 * 1024  # on the Unix port
ROWS = 12_000
KINDS = ("empty", "plain", "guard")
LOOP = Path(__file__).parent / "parts" / "pen_loop.py"
LONG = fleet.BENCH / "14-ten-minutes.csv"
BREACH = fleet.BENCH / "02-cosmetic-exceeded.csv"
HEAD_LINES = 5
MINUTE_ROWS = 3000
HEAP_KB = 256
STEP_KB = 4
TIMEOUT_S = 120.0
SHORT_S = 20.0  # a tape of 42 s takes two; with too little heap a pen tries again and again


def bytes_a_sample(quick: bool) -> dict[str, float]:
    """Records of all kinds, spread over the readings."""
    registry = fleet.clinic(1)
    pen = fleet.fill(registry, "bench-01", fleet.read_tapes(quick))
    sealed = [pen.sealed(payload) for payload in pen.payloads]
    return {
        "samples": pen.samples,
        "records": len(pen.payloads),
        "journal": sum(frames.HEADER + len(payload) for payload in pen.payloads) / pen.samples,
        "sealed": sum(map(len, sealed)) / pen.samples,
        "with_mqtt": sum(len(wire.publish(pen.topic, 1, one)) for one in sealed) / pen.samples,
    }


def loop_us(micropython: str, kind: str, rows: int) -> float:
    """CPU time of one reading, in microseconds."""
    folders = fleet.ROOT / "device", fleet.ROOT / "protocol"
    done = subprocess.run(
        [micropython, "-O3", "-X", "heapsize=1m", LOOP, kind, LONG, str(rows), *folders],
        capture_output=True,
        text=True,
        check=True,
    )
    found = report.read_json(done.stdout)
    if found.get("lost") or found.get("records", 1) == 0:
        raise RuntimeError(f"the loop recorded nothing: {found}")
    return float(found["us_a_sample"])


class Bench:
    """A house, and pens in it that play tapes one after the other."""

    def __init__(self, folder: Path, house: House, firmware: pens.Firmware) -> None:
        self._folder = folder
        self._house = house
        self._firmware = firmware
        self._runs = 0

    def play(
        self, tape: Path, heap_kb: int, timeout_s: float = TIMEOUT_S
    ) -> tuple[list[dict[str, Any]], float]:
        """(what a new pen told, its CPU seconds). RuntimeError if it did not end well, or in time."""
        self._runs += 1
        pen = self._house.pen("bench-01")
        settings = {"tape": str(tape), "speed": 0, "wait_ready_s": 30}
        flash = self._firmware.flash(pen, settings, self._folder / f"flash-{self._runs}")
        running = self._firmware.start(flash, f"{heap_kb}k")
        events = running.finish(timeout_s)
        return events, running.cpu_s

    def peak_bytes(self, tape: Path) -> int:
        (done,) = pens.told(self.play(tape, HEAP_KB)[0], "done")
        return int(done["heap_peak_bytes"])

    def least_heap_kb(self, lowest_kb: int) -> int:
        """The smallest heap that will do, by halving; from STEP_KB above `lowest_kb` on."""
        too_small, enough = lowest_kb // STEP_KB, HEAP_KB // STEP_KB
        while enough - too_small > 1:
            middle = (enough + too_small) // 2
            try:
                self.play(BREACH, middle * STEP_KB, SHORT_S)
                enough = middle
            except RuntimeError:
                too_small = middle
        return enough * STEP_KB

    def whole_us(self, minute: Path) -> float:
        """CPU time of the whole firmware for a reading, in microseconds."""
        rows = len(LONG.read_text().splitlines()) - HEAD_LINES
        long_s = self.play(LONG, HEAP_KB)[1]
        return (long_s - self.play(minute, HEAP_KB)[1]) * 1e6 / (rows - MINUTE_ROWS)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rounds = 1 if arguments.quick else arguments.rounds
    rows = 2_000 if arguments.quick else ROWS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="needletrail-")))
        registry = fleet.clinic(1)
        house = stack.enter_context(House(folder, registry, folder / "ledger.sqlite"))
        firmware = pens.Firmware(folder / "firmware")
        bench = Bench(folder, house, firmware)
        minute = folder / "minute.csv"
        lines = LONG.read_text().splitlines()[: HEAD_LINES + MINUTE_ROWS]
        minute.write_text("\n".join(lines) + "\n")
        peaks = [bench.peak_bytes(minute if arguments.quick else LONG) for _ in range(rounds)]
        least_kb = None
        if not arguments.quick:
            least_kb = bench.least_heap_kb(32)
        micropython = firmware.micropython
        loops = []
        for number in range(rounds):
            turn = KINDS[number % 3 :] + KINDS[: number % 3]
            loops.append({kind: loop_us(micropython, kind, rows) for kind in turn})
            if not arguments.json:
                print(f"round {number + 1}  {loops[-1]}", file=sys.stderr)
        wholes = [] if arguments.quick else [bench.whole_us(minute) for _ in range(rounds)]
    middle = {kind: report.median([one[kind] for one in loops]) for kind in KINDS}
    if wholes:
        middle["whole firmware"] = report.median(wholes)
    ratio = {kind: report.median([one[kind] / one["empty"] for one in loops]) for kind in KINDS[1:]}
    if wholes:
        ratio["whole firmware"] = middle["whole firmware"] / middle["empty"]
    return {
        "goal_peak_bytes": GOAL_PEAK_BYTES,
        "modules_bytes": firmware.built.total_bytes,
        "peak_bytes": report.median(peaks),
        "least_heap_kb": least_kb,
        "bytes_a_sample": bytes_a_sample(arguments.quick),
        "rounds": loops,
        "us_a_sample": middle,
        "ratio": ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    peak_kb = found["peak_bytes"] / 1024
    met = "met" if found["peak_bytes"] <= GOAL_PEAK_BYTES else "missed"
    print(f"bytecode: {found['modules_bytes']} bytes in the virtual pen's flash")
    print(f"heap: peak {peak_kb:.1f} KB; goal {GOAL_PEAK_BYTES // 1024} KB: {met}")
    if found["least_heap_kb"] is not None:
        print(f"the smallest heap that will do: {found['least_heap_kb']} KB")
    sizes = found["bytes_a_sample"]
    print(
        f"\n{sizes['samples']} samples in {sizes['records']} records; bytes a sample: "
        f"{sizes['journal']:.2f} in the journal, {sizes['sealed']:.2f} sealed, "
        f"{sizes['with_mqtt']:.2f} with MQTT\n"
    )
    rows = [
        (kind, f"{us:.1f}", f"{found['ratio'].get(kind, 1):.1f}")
        for kind, us in found["us_a_sample"].items()
    ]
    print(report.table(("CPU for a reading", "us", "ratio"), rows))
    print(f"\n{os.uname().machine}, words of 64 bits; a board has 32")


if __name__ == "__main__":
    main()
