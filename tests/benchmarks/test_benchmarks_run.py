"""Each benchmark runs, small, and prints what docs/performance.md reads from it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

KEYS = {
    "dashboards": {"goal_s", "sizes", "slowest", "stored", "shown"},
    "drain": {"goal", "samples", "points", "rounds", "median", "ratio", "alerts"},
    "ingest": {"goal", "pens", "window", "rounds", "median", "ratio"},
    "alert_latency": {
        "goal",
        "breaches",
        "pens_at_work",
        "rounds",
        "median_ms",
        "ratio",
        "gateway_cpu_share",
    },
    "pen": {
        "goal_peak_bytes",
        "modules_bytes",
        "peak_bytes",
        "least_heap_kb",
        "bytes_a_sample",
        "rounds",
        "us_a_sample",
        "ratio",
    },
    "replay": {
        "goals",
        "samples",
        "live_samples_per_s",
        "rejudge_samples_per_s",
        "ratio",
        "ratios",
        "rounds",
    },
    "sampling": {"goal_ms", "seconds", "rounds", "median", "samples", "late", "bare_late"},
    "series": {"clinics", "of_a_clinic", "computed", "counted", "influxdb"},
    "wire": {"goal", "forms"},
    "year": {"goals", "pens", "parts", "sizes", "flat"},
}


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_benchmark_runs_and_prints_its_keys(name: str) -> None:
    found = json.loads(_run(name, "--quick", "--json"))
    assert found.keys() == KEYS[name]


def test_a_benchmark_explains_itself() -> None:
    assert "--quick" in _run("wire", "--help")


def test_every_benchmark_is_tried_here() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == KEYS.keys()


def _run(name: str, *options: str) -> str:
    program = ROOT / "benchmarks" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, program, *options], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
