"""The virtual board's timer: a thread on MicroPython that may do no more than an interrupt may.

How late its readings are is for benchmarks/sampling.py to say; here is what must hold on any machine.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROWS = 600
SPEED = 8.0

# Runs on MicroPython: plays a tape by the timer while garbage is made and collected all the time.
PROGRAM = """
import asyncio, gc, json, sys, time
sys.path[:0] = sys.argv[2:4]
from boards import virtual_timer
told = {}
def tell(event, *pairs):
    told[event] = dict(pairs)
async def play():
    kept = [list(range(20)) for _ in range(2000)]  # so that a collection takes a while
    board = virtual_timer.Board(
        sys.argv[1], SPEED, time.ticks_ms, asyncio.sleep, tell, time.ticks_us, time.sleep_us
    )
    CHANGE
    found = []
    events = []
    while await board.next():
        found.append((board.t_ms, board.counts, board.strokes, board.contact_adc))
        event = board.take_event()
        if event is not None:
            events.append((board.t_ms, event[0]))
        if len(found) % 4 == 0:
            gc.collect()
    return found, events, board.lateness()
found, events, late_ms = asyncio.run(play())
print(json.dumps([found, events, late_ms, told["timer"]]))
"""


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A tape whose readings are mostly, but not always, 20 ms apart."""
    lines = ["# tape: t", "# pen: pen-01", "# start: 2026-07-01T09:30:00Z", "# hz: 50"]
    lines.append("t_ms,dial_counts,strokes,contact_adc,event")
    for index in range(ROWS):
        t_ms = 20 * index + (60 if index >= 100 else 0) + index % 2
        event = {7: "badge:d101", 300: "cartridge:d102", 580: "removed:cartridge"}.get(index, "")
        lines.append(f"{t_ms},{index % 4096},{2 * index},{index * 5 % 4096},{event}")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(micropython: Path, tape: Path, change: str = "pass") -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.replace("CHANGE", change).replace("SPEED", str(SPEED))
    folders = str(ROOT / "device"), str(ROOT / "protocol")
    path = tape.with_suffix(".py")
    path.write_text(program)
    return subprocess.run(
        [micropython, "-X", "heapsize=2m", path, tape, *folders],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_reading_is_taken_once_with_its_own_time(micropython: Path, tape: Path) -> None:
    done = run(micropython, tape)
    assert done.returncode == 0, done.stdout + done.stderr
    found, events, late_ms, timer = json.loads(done.stdout)
    rows = [line.split(",") for line in tape.read_text().splitlines()[5:]]
    wanted: list[Any] = [[int(field) for field in row[:4]] for row in rows]
    assert found == wanted
    assert events == [[int(row[0]), row[4].split(":")[0]] for row in rows if row[4]]
    assert timer["samples"] == sum(late_ms) == ROWS
    assert timer["lost"] == 0
    assert timer["late"] == late_ms[5]
    assert timer["p50_us"] <= timer["p99_us"] <= max(timer["latest_us"] + 10, 10)


@pytest.mark.parametrize(
    "change",
    [
        "board.sampler._dial = lambda: int(900 * 1.01)",  # a float is on the heap
        "board.sampler._skin = lambda t_ms: [t_ms][0] % 4096",
        "board._tell = None; board.sampler.guard = object()",  # it has no step
    ],
)
def test_a_timer_that_does_what_no_interrupt_may_is_noticed(
    micropython: Path, tape: Path, change: str
) -> None:
    done = run(micropython, tape, change)
    assert done.returncode == 1
    assert "RuntimeError: the timer stopped" in done.stdout + done.stderr
    assert "Unhandled exception in thread" in done.stdout + done.stderr
