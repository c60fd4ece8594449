"""The plain device tests take at least 95 % of the branches of needletrail_device, on CPython.

Each file runs once more, by the runner that MicroPython uses, in a process that coverage.py watches.
Left out are files that try one story at every byte: watched they take minutes, and no branch is
theirs alone.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "device" / "needletrail_device"
RUNNER = ROOT / "tests" / "on_micropython.py"
LEAST_PERCENT = 95
TAPE = ROOT / "tapes" / "bench" / "01-cosmetic-within.csv"
UNDELIVERED = 3
LEFT_OUT = ("test_pen_connection_rough.py", "test_pen_update_cuts.py")


def coverage(folder: Path, *arguments: object, code: int = 0) -> str:
    """Run coverage.py; what it printed. Its data are in the folder."""
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COVERAGE_FILE": str(folder / ".coverage")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, f"{arguments}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def offline_pen(flash: Path, timer: int) -> Path:
    """The flash of a pen whose broker is not there."""
    flash.mkdir()
    settings = {
        "clinic": "harbor",
        "pen": "pen-01",
        "epoch": 2,
        "key": "22" * 32,
        "previous": [{"epoch": 1, "key": "11" * 32}],
        "broker": {"host": "127.0.0.1", "port": 9},
        "calibration": [[0, 0], [4095, 2500]],
        "reading_tolerance_um": 30,
        "drain_timeout_s": 0.2,
        "board": "virtual",
        "virtual": {
            "tape": str(TAPE),
            "speed": 40 * timer,
            "wait_ready_s": 0.2,
            "timer": timer,
            "slow_write_ms": timer,
        },
    }
    (flash / "pen.json").write_text(json.dumps(settings), encoding="utf-8")
    return flash


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """coverage.py's report on all files together."""
    folder = tmp_path_factory.mktemp("coverage")
    files = sorted(
        path for path in (ROOT / "tests" / "device").glob("test_*.py") if path.name not in LEFT_OUT
    )
    assert len(files) > 20

    def watch(path: Path) -> None:
        coverage(folder, "run", "--branch", "--parallel-mode", f"--source={SOURCE}", RUNNER, path)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(watch, files))
    for timer in (0, 1):  # the whole firmware: it plays a tape, and nobody is there to hear it
        flash = offline_pen(folder / f"flash-{timer}", timer)
        run = ("run", "--branch", "--parallel-mode", f"--source={SOURCE}")
        coverage(folder, *run, ROOT / "device" / "main.py", flash, code=UNDELIVERED)
    coverage(folder, "combine")
    coverage(folder, "json", "-o", folder / "report.json")
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@pytest.mark.timeout(600)
def test_the_branches_of_the_firmware_are_taken(report: dict[str, Any]) -> None:
    totals = report["totals"]
    taken = 100 * totals["covered_branches"] / totals["num_branches"]
    missing = {
        Path(name).name: sorted({line for branch in found["missing_branches"] for line in branch[:1]})
        for name, found in report["files"].items()
        if found["missing_branches"]
    }
    assert totals["num_branches"] > 900
    assert taken >= LEAST_PERCENT, (
        f"{taken:.1f} %; from these lines not everything is reached: {missing}"
    )
    assert totals["percent_covered"] >= LEAST_PERCENT


def test_every_module_is_among_them(report: dict[str, Any]) -> None:
    """A file that no test imports counts, too: coverage.py is told the folder, not what was run."""
    measured = {Path(name).name for name in report["files"]}
    assert measured >= {path.name for path in SOURCE.rglob("*.py") if path.read_text().strip()}
