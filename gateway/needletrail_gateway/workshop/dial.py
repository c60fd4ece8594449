"""Where dial readings come from: a pen on a cable, asked through its own driver, or a file.

The pen is asked by its own board file and driver, in the slot that is on it: `boards.NAME.dial()`
gives the dial that the firmware reads, set up, and `read()` its counts or -1. So what is measured is
what will be read in a treatment. A file is CSV, `mark_mm,counts`, a line a reading; a mark that begins
again after another one was approached a second time.
"""

import csv
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from needletrail_gateway.core.registry.model import um
from needletrail_gateway.workshop.errors import ToolError, WorkshopError
from needletrail_gateway.workshop.port import Port

COLUMNS = ["mark_mm", "counts"]
READINGS = 60
_EVERY_MS = 10

READ = """
import json, sys, time
plain = sys.path[:]
dial = None
for slot in ("slots/a", "slots/b", ""):
    sys.path[:] = [slot] + plain
    try:
        __import__("boards." + BOARD)
        dial = sys.modules["boards." + BOARD].dial()
        break
    except ImportError:
        pass
found = []
if dial is not None:
    for _ in range(READINGS):
        found.append(dial.read())
        time.sleep_ms(EVERY_MS)
print(json.dumps({"counts": found, "fault": dial and dial.fault}))
"""


def read_from_pen(port: Port, board: str) -> list[int]:
    """Readings of the ring as it stands now, -1 where the sensor gave none."""
    script = f"BOARD = {board!r}\nREADINGS = {READINGS}\nEVERY_MS = {_EVERY_MS}\n{READ}"
    said = port.ask(script).strip().splitlines()
    try:
        answer = json.loads(said[-1])
        counts = [int(one) for one in answer["counts"]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ToolError(f"the pen answers, but not with dial readings: {said[-1:]}.") from error
    if not counts:
        raise ToolError(
            f"the pen has no firmware for {board} in a slot. Flash it first: needletrail pen flash."
        )
    if max(counts) < 0:
        raise ToolError(f"the pen's dial gives no reading: {answer['fault']}. See device/README.md.")
    return counts


def read_file(path: Path) -> list[tuple[int, list[int]]]:
    """(depth of the mark in micrometres, its readings), in the file's order; WorkshopError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkshopError(f"{path}: can not be read: {error}.") from error
    if not lines or lines[0] != COLUMNS:
        raise WorkshopError(f"{path}:1: the first line must be {','.join(COLUMNS)}.")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            mark_mm, counts = line
            rows.append((um(float(mark_mm)), int(counts)))
        except ValueError as error:
            raise WorkshopError(
                f"{path}:{number}: must be millimetres and whole counts, such as 0.5,1010."
            ) from error
    return [
        (depth, [counts for _, counts in group])
        for depth, group in groupby(rows, key=lambda row: row[0])
    ]


def parse_marks(text: str) -> list[int]:
    """Depths in micrometres of "0,0.5,1": different ones, rising."""
    try:
        marks: Sequence[int] = [um(float(word)) for word in text.split(",")]
    except ValueError as error:
        raise WorkshopError(f"--marks {text}: must be millimetres, such as 0,0.5,1,1.5.") from error
    if sorted(set(marks)) != marks:
        raise WorkshopError(f"--marks {text}: must rise.")
    return list(marks)
