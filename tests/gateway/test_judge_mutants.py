"""The mutants of the judge: the list fits the sources, the page is of the list, and a few are tried.

All of them take minutes: `.venv/bin/python tests/gateway/judge_mutants.py`.
"""

from pathlib import Path

import pytest
from case_folder import names
from judge_mutants import (
    MUTANTS,
    PACKAGE,
    PAGE,
    ROOT,
    Mutant,
    copied,
    found_by,
    on_the_page,
    page,
)

TRIED = MUTANTS[4::16]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package to be broken."""
    return copied(tmp_path_factory.mktemp("mutants"))


def test_there_are_enough_and_each_is_another() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.says for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_place_is_still_there(mutant: Mutant) -> None:
    """Exactly once; else the sources have changed, and the list must follow."""
    text = (ROOT / "gateway" / PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text


def test_the_page_is_of_the_present_list() -> None:
    found = on_the_page()
    assert found.keys() == {mutant.name for mutant in MUTANTS}
    known = set(names())
    for name, cases in found.items():
        assert cases, name
        assert known.issuperset(cases), name
    assert page(found) == PAGE.read_text(encoding="utf-8")


def test_without_a_fault_nothing_is_found(gateway: Path) -> None:
    cases = sorted({on_the_page()[mutant.name][0] for mutant in TRIED})
    assert found_by(None, gateway, cases) == []


@pytest.mark.parametrize("mutant", TRIED, ids=lambda mutant: mutant.name)
def test_the_case_on_the_page_finds_it(mutant: Mutant, gateway: Path) -> None:
    case = on_the_page()[mutant.name][0]
    assert found_by(mutant, gateway, [case]) == [case]
