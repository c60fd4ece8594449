"""The tapes with known truth, through firmware, broker and gateway: the answers are right."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "tapes" / "bench"
NAMES = sorted(path.stem for path in BENCH.glob("*.csv"))

PEAK_WITHIN_MM = 0.03
EXACT_KEYS = (
    *("verdict", "reasons", "passes", "session_samples", "session_ms", "strokes", "practitioner"),
)
BREACH_WITHIN_MS = 120  # for each pass


def run_play(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """`needletrail play` as a person would call it."""
    return subprocess.run(
        [sys.executable, "-m", "needletrail_gateway", "play", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def answers(bench: Path) -> dict[str, Any]:
    """All tapes in one run, one ledger, in their order."""
    tapes = [bench / f"{name}.csv" for name in NAMES]
    done = run_play(*tapes, "--registry", bench / "registry.toml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [answer["tape"] for answer in found] == NAMES
    return {answer["tape"]: answer for answer in found}


def test_there_are_fifteen() -> None:
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", NAMES)
def test_answer_agrees_with_truth(answers: dict[str, Any], bench: Path, name: str) -> None:
    truth = json.loads((bench / f"{name}.truth.json").read_text())
    answer = answers[name]
    for key in (
        "verdict",
        "reasons",
        "passes",
        "session_samples",
        "session_ms",
        "strokes",
        "practitioner",
    ):
        assert answer[key] == truth[key], key
    assert answer["peak_mm"] == pytest.approx(truth["peak_mm"], abs=PEAK_WITHIN_MM)
    assert answer["breach_ms"] == pytest.approx(
        truth["breach_ms"], abs=BREACH_WITHIN_MS * truth["passes"]
    )
    assert answer["scope_mm"] == truth["scope_mm"]
    if truth["cartridge"] is None:
        assert answer["cartridge"] is None
    else:
        expires = answer["cartridge"]["expires"]
        assert expires[2:].replace("-", "") == truth["cartridge"]["expires"]
        assert {**answer["cartridge"], "expires": truth["cartridge"]["expires"]} == truth["cartridge"]


@pytest.mark.parametrize("name", NAMES)
def test_violations_reach_the_pen_and_nothing_else_does(answers: dict[str, Any], name: str) -> None:
    answer = answers[name]
    wanted = answer["reasons"] if answer["verdict"] == "violation" else []
    assert sorted(alert["code"] for alert in answer["alerts"]) == wanted
    assert all(alert["reached_pen"] for alert in answer["alerts"])


def test_answer_has_the_documented_keys(answers: dict[str, Any]) -> None:
    answer = answers["02-cosmetic-exceeded"]
    assert list(answer) == [
        *("tape", "session_id", "pen", "practitioner", "cartridge", "started", "session_samples"),
        *("session_ms", "strokes", "passes", "peak_mm", "scope_mm", "scope_inclusive", "limited_by"),
        *("breach_ms", "verdict", "reasons", "policy", "alerts"),
    ]
    assert answer["started"] == "2026-07-01T09:30:01.520Z"
    assert answer["scope_inclusive"] is False
    assert answer["limited_by"] == "tier cosmetic"
    assert list(answer["alerts"][0]) == ["code", "raised", "reached_pen"]


def test_results_do_not_depend_on_speed(answers: dict[str, Any], bench: Path) -> None:
    name = "13-unsupervised-medical"
    done = run_play(
        bench / f"{name}.csv", "--registry", bench / "registry.toml", "--json", "--speed", "3"
    )
    answer = json.loads(done.stdout)[0]
    assert {**answer, "session_id": None} == {**answers[name], "session_id": None}


def test_reuse_is_seen_across_runs_into_one_ledger(bench: Path, tmp_path: Path) -> None:
    arguments = [bench / "10-cartridge-expired.csv", "--registry", bench / "registry.toml"]
    ledger = tmp_path / "kept.sqlite"
    first, second = (
        json.loads(run_play(*arguments, "--ledger", ledger, "--json").stdout)[0] for _ in range(2)
    )
    assert first["reasons"] == ["CARTRIDGE_EXPIRED"]
    assert second["reasons"] == ["CARTRIDGE_EXPIRED", "CARTRIDGE_REUSED"]
    assert first["session_id"] != second["session_id"]


@pytest.mark.parametrize(
    ("line", "text", "cause"),
    [
        (3, "# start: yesterday", "yesterday"),
        (7, "20,many,0,900,", "dial_counts"),
        (8, "40,410,0,900", "field"),
        (9, "60,410,0,900,badge:xyz", "hex"),
    ],
)
def test_malformed_tape_names_file_and_line(
    bench: Path, tmp_path: Path, line: int, text: str, cause: str
) -> None:
    lines = (bench / "10-cartridge-expired.csv").read_text().splitlines()
    lines[line - 1] = text
    tape = tmp_path / "spoiled.csv"
    tape.write_text("\n".join(lines) + "\n")
    done = run_play(tape, "--registry", bench / "registry.toml", "--json")
    assert done.returncode == 2
    assert f"spoiled.csv:{line}:" in done.stderr
    assert cause in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_missing_tape_and_missing_registry(bench: Path, tmp_path: Path) -> None:
    for arguments, name in (
        ((tmp_path / "none.csv", "--registry", bench / "registry.toml"), "none.csv"),
        ((bench / "10-cartridge-expired.csv", "--registry", tmp_path / "none.toml"), "none.toml"),
    ):
        done = run_play(*arguments, "--json")
        assert done.returncode == 2
        assert name in done.stderr
        assert "Traceback" not in done.stderr
