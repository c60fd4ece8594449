"""`needletrail demo`: the clinic's morning comes out as its scripts say, and fits a small terminal."""

import os
import subprocess
import sys
from pathlib import Path

from end_to_end.reading import statements
from needletrail_gateway.record.ledger import Ledger

REASONS = {
    "pen-01-1-1": [],
    "pen-01-1-2": [],
    "pen-01-1-3": ["DEPTH_EXCEEDED"],
    "pen-02-1-1": [],
    "pen-02-1-2": ["DEPTH_EXCEEDED", "SUPERVISION_MISSING"],
    "pen-02-1-3": ["DEPTH_AT_LIMIT"],
    "pen-03-1-1": ["CARTRIDGE_RECALLED"],
    "pen-03-1-2": ["CARTRIDGE_REUSED"],
    "pen-03-1-3": ["CARTRIDGE_MISSING"],
}


def run_demo(keep: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "needletrail_gateway", "demo", "--speed", "15", "--keep", keep],
        env=os.environ | {"COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_morning_is_judged_as_its_scripts_say(tmp_path: Path) -> None:
    keep = tmp_path / "morning"
    done = run_demo(keep)
    assert done.returncode == 0, done.stderr
    ledger = Ledger.open(keep / "ledger.sqlite")
    found = {name: statement["reasons"] for name, statement in statements(ledger).items()}
    ledger.close()
    assert found == REASONS
    assert "9 of 9 treatments judged" in done.stdout
    assert "9 treatments" in done.stdout
    assert "What to try next" in done.stdout
    for reasons in REASONS.values():
        assert all(reason in done.stdout for reason in reasons)
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("│ pen-0")]
    assert len(verdicts) == 9
    assert all(line.rstrip(" │").endswith(("compliant", "review", "violation")) for line in verdicts)
    assert len(list((keep / "tapes").glob("*.csv"))) == 9


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    done = run_demo(tmp_path)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
