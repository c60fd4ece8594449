"""A sample of `make torture ARGS=--real-time`: one tape, with its network gone in the middle."""

import json
from pathlib import Path

import pytest

from torture import real_time

OUTAGE_S = 12.0
TAPE = real_time.BENCH / "02-cosmetic-exceeded.csv"


@pytest.mark.timeout(150)
def test_an_outage_in_the_middle_changes_no_answer(tmp_path: Path) -> None:
    (one,) = real_time.play(tmp_path, [TAPE], OUTAGE_S)
    assert one.differences == []
    assert one.answer["verdict"] == "violation"
    assert one.disconnected >= 1
    assert one.live_after_s is not None
    assert one.timer["samples"] == len(TAPE.read_text().splitlines()) - 5


def test_what_differs_is_found() -> None:
    truth = json.loads(TAPE.with_suffix(".truth.json").read_text())
    answer = {
        **{key: truth[key] for key in (*real_time.EXACT, "peak_mm", "breach_ms", "scope_mm")},
        "session_id": "s",
        "alerts": [{"code": code, "reached_pen": True} for code in truth["reasons"]],
    }
    assert list(real_time.compare(answer, truth)) == []
    changes = {
        "verdict": "compliant",
        "passes": truth["passes"] + 1,
        "session_samples": truth["session_samples"] - 1,
        "peak_mm": truth["peak_mm"] + 0.031,
        "breach_ms": truth["breach_ms"] + 120 * truth["passes"] + 1,
        "scope_mm": None,
        "alerts": [],
        "other_sessions": [{}],
    }
    for key, value in changes.items():
        assert len(list(real_time.compare({**answer, key: value}, truth))) == 1, key
