"""What `needletrail explain` prints: whole texts, kept in `explained/`, for people to read.

Each is of the case folder of its name. If the words change, read the difference, and if it is meant,
write the new text into the file.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from case_folder import read_case
from case_stage import Stage
from pack_files import SHIPPED

from needletrail_gateway.core.judging.explain import WIDTH, in_words
from needletrail_gateway.shell.documents import read_policy

EXPLAINED = Path(__file__).parent / "explained"
NAMES = sorted(path.stem for path in EXPLAINED.glob("*.txt"))
DIAL = "Every depth here is what the dial was set to, not how deep the needles went."


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the cases are played."""
    one = Stage(tmp_path_factory.mktemp("explained"), {name: read_policy(name) for name in SHIPPED})
    yield one
    one.close()


def statement(stage: Stage, name: str) -> dict[str, Any]:
    staged = stage.play(read_case(name))
    return dict(staged.live[staged.last_session])


@pytest.mark.parametrize("name", NAMES)
def test_the_words_are_those_of_the_file(name: str, stage: Stage) -> None:
    path = EXPLAINED / f"{name}.txt"
    wanted, got = path.read_text(encoding="utf-8"), in_words(statement(stage, name))
    told = difflib.unified_diff(wanted.splitlines(), got.splitlines(), path.name, "now", lineterm="")
    assert wanted == got, "\n".join(told)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_that_a_depth_is_a_setting_and_keeps_to_its_width(name: str, stage: Stage) -> None:
    lines = in_words(statement(stage, name)).splitlines()
    assert any(DIAL in line for line in lines)
    assert max(map(len, lines)) <= WIDTH
    assert all(line == line.rstrip() for line in lines)


def test_every_reason_brings_its_rule_its_citations_and_who_may_set_it_aside(stage: Stage) -> None:
    said = statement(stage, "everything-at-once")
    words = " ".join(in_words(said).split())
    for rule in said["rules"]:
        may = "nobody may override it" if rule["severity"] == "hard" else "may be overridden"
        assert f"{rule['code']} ({rule['outcome']}; {may}" in words
        assert rule["text"] in words
        for citation in rule["citation"]:
            assert " ".join(citation.split()) in words


def test_all_limits_are_shown_and_each_that_binds_is_marked(stage: Stage) -> None:
    lines = in_words(statement(stage, "limits-equal-ones-are-all-named")).splitlines()
    marked = [line.split("→")[1].split("  ")[0].strip() for line in lines if "→" in line]
    assert marked == ["tier medical", "pen label", "cartridge"]


def test_what_an_older_ledger_does_not_say_is_left_out(stage: Stage) -> None:
    """Statements of the first ledgers had no outcomes, overrides, clocks or entries."""
    said = statement(stage, "everything-at-once")
    for name in ("overridden", "clock", "grant", "faults", "registry_entry", "note_entry", "alerts"):
        said.pop(name, None)
    said["rules"] = [{key: rule[key] for key in ("code", "text", "citation")} for rule in said["rules"]]
    words = in_words(said)
    assert "  ✗ LICENSE_EXPIRED\n" in words
    assert words.rstrip().endswith("policy default 2026.12.1")


def test_each_pass_is_told_with_its_beginning_and_its_length(stage: Stage) -> None:
    said = statement(stage, "everything-at-once")
    begin = said["started_t_ms"]
    spans = [(begin + 500 + 70_000 * number, begin + 9_500 + 70_000 * number) for number in range(9)]
    words = in_words(said | {"pass_spans_ms": spans, "passes": 9})
    lines = words.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("    passes: "))
    told = " ".join(line.strip() for line in lines[first : first + 3])
    assert told.startswith("passes: 1 at 0.50 s for 9.00 s; 2 at 1 min 10.50 s for 9.00 s; 3 at 2 min")
    assert "9 at 9 min 20.50 s for 9.00 s" in told
    assert "passes: " not in in_words(said | {"pass_spans_ms": []})
