"""A timer that is held up leaves holes: the verdict stays, and no depth is wrong.

What a board's flash does to its timer while it erases, told to the tapes: once a second no reading for
so long. docs/explanation/sampling.md has the figures of all fifteen tapes.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from end_to_end.test_tapes import run_play

SEED = 20260703
EVERY_MS = 1000
TYPICAL_MS, LONGEST_MS = 45, 400  # of a 4 KB sector erase, by the data sheets of usual NOR flash
NAMES = ("02-cosmetic-exceeded", "04-sensor-spikes", "07-medical-over-label", "15-inclusive-limit")
PEAK_WITHIN_MM = 0.03
BREACH_WITHIN_MS = 120  # for each pass


def held_up(source: Path, path: Path, stall_ms: int) -> int:
    """Write the tape without the readings that a stall once a second takes. How many are left.

    A tag that was there meanwhile is read afterwards.
    """
    lines = source.read_text().splitlines()
    stall_at_ms = Random(f"{SEED} {source.stem} {stall_ms}").randrange(EVERY_MS)
    kept, waiting = lines[:5], ""
    for line in lines[5:]:
        fields = line.split(",")
        if stall_at_ms <= int(fields[0]) % EVERY_MS < stall_at_ms + stall_ms:
            assert not (waiting and fields[4]), "two tags within one stall"
            waiting = waiting or fields[4]
            continue
        if not fields[4]:
            fields[4], waiting = waiting, ""
        kept.append(",".join(fields))
    assert not waiting
    path.write_text("\n".join(kept) + "\n")
    return len(kept) - 5


@pytest.fixture(scope="module", params=[TYPICAL_MS, LONGEST_MS])
def answers(
    request: pytest.FixtureRequest, bench: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, Any]]:
    """(how long a stall was, the gateway's answers by tape)."""
    folder = tmp_path_factory.mktemp("held-up")
    for name in NAMES:
        rows = len((bench / f"{name}.csv").read_text().splitlines()) - 5
        left = held_up(bench / f"{name}.csv", folder / f"{name}.csv", request.param)
        assert 0.5 * rows < left < 0.97 * rows
    tapes = [folder / f"{name}.csv" for name in NAMES]
    done = run_play(*tapes, "--registry", bench / "registry.toml", "--json")
    assert done.returncode == 0, done.stderr
    return request.param, {answer["tape"]: answer for answer in json.loads(done.stdout)}


@pytest.mark.parametrize("name", NAMES)
def test_a_held_up_timer_changes_no_verdict_and_no_depth(
    answers: tuple[int, dict[str, Any]], bench: Path, name: str
) -> None:
    stall_ms, found = answers
    answer = found[name]
    truth = json.loads((bench / f"{name}.truth.json").read_text())
    for key in ("verdict", "reasons", "strokes", "practitioner"):
        assert answer[key] == truth[key], key
    assert answer["peak_mm"] == pytest.approx(truth["peak_mm"], abs=PEAK_WITHIN_MM)
    if stall_ms == TYPICAL_MS:
        assert answer["passes"] == truth["passes"]
        assert abs(answer["breach_ms"] - truth["breach_ms"]) <= BREACH_WITHIN_MS * truth["passes"]
    else:  # beyond 100 ms nothing is known: less breach than there was, never more
        assert answer["breach_ms"] <= truth["breach_ms"]
        assert (answer["breach_ms"] > 0) == (truth["breach_ms"] > 0)
