"""Random treatments, recorded to tapes, through everything: verdicts equal an independent oracle."""

from pathlib import Path
from random import Random

import pytest
from bench.random_scripts import random_script
from bench.truth import document, points_of, read_registry

from end_to_end.test_tapes import BREACH_WITHIN_MS, EXACT_KEYS, PEAK_WITHIN_MM
from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.play import answer_for
from needletrail_gateway.bench.recorder import record
from needletrail_gateway.core.registry.model import Registry

SEEDS = range(7000, 7030)


def test_random_treatments_are_judged_as_the_oracle_does(
    registry: Registry, bench: Path, tmp_path: Path
) -> None:
    document_registry = read_registry(bench / "registry.toml")
    cartridges: set[tuple[str, str]] = set()
    reasons: set[str] = set()
    with House(tmp_path, registry, tmp_path / "ledger.sqlite") as house:
        pen = house.pen("pen-01")
        for seed in SEEDS:
            rng = Random(seed)
            script = random_script(rng, document_registry)
            text, truth = record(script, points_of(document_registry, script.pen), rng)
            tape = tmp_path / f"{seed}.csv"
            tape.write_text(text)
            wanted = document(truth, document_registry, cartridges)
            before = house.ledger.last_entry_id()
            pen.play(tape, 0, lambda process: process.wait(60))
            answer = answer_for(house.ledger, script.tape, "pen-01", before)
            told = f"seed {seed}: {answer} but {wanted}"
            for key in EXACT_KEYS:
                assert answer[key] == wanted[key], f"{key}: {told}"
            assert answer["scope_mm"] == wanted["scope_mm"], told
            assert answer["peak_mm"] == pytest.approx(wanted["peak_mm"] or 0, abs=PEAK_WITHIN_MM), told
            assert answer["breach_ms"] == pytest.approx(
                wanted["breach_ms"], abs=BREACH_WITHIN_MS * max(wanted["passes"], 1)
            ), told
            reasons.update(answer["reasons"])
    assert {"DEPTH_EXCEEDED", "DEPTH_AT_LIMIT", "CARTRIDGE_RECALLED", "LICENSE_EXPIRED"} <= reasons
